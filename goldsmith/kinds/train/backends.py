"""Who wraps the base model for training: PEFT anywhere, Unsloth on CUDA. Unsloth must be imported before transformers."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any, Literal

import torch

from goldsmith.errors import InvalidInput
from goldsmith.kinds.train.schema import TrainConfig
from goldsmith.student import Student

Backend = Literal["peft", "unsloth"]


def choose(config: TrainConfig) -> Backend:
    """The backend of this run; raises `InvalidInput` when the config asks for one that this machine cannot run.

    Imports Unsloth if that is chosen: it patches transformers, TRL and PEFT, so nothing may import them earlier.
    """
    cuda = torch.cuda.is_available()
    installed = importlib.util.find_spec("unsloth") is not None
    fits = config.objective != "dpo_nll" and config.method in ("lora", "qlora")
    if config.method == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        raise InvalidInput("method: qlora needs the package bitsandbytes, which is not installed on this worker")
    if config.backend == "unsloth" and not fits:
        raise InvalidInput(
            f"backend: unsloth trains sft and critic by lora or qlora, not {config.objective} by {config.method}; choose peft or auto"
        )
    if config.backend == "unsloth" and not (cuda and installed):
        missing = "the extra goldsmith[unsloth], which is not installed" if cuda else "a CUDA device, and this worker has none"
        raise InvalidInput(f"backend: unsloth needs {missing}; choose peft or auto")
    for tracker in config.report_to:
        if importlib.util.find_spec("tensorboardX" if tracker == "tensorboard" else tracker) is None:
            raise InvalidInput(f"report_to: the package {tracker} is not installed on this worker; pip install {tracker}")
    if config.backend == "peft" or not (cuda and installed and fits):
        return "peft"
    import unsloth  # noqa: F401

    return "unsloth"


def adapted(backend: Backend, student: Student, config: TrainConfig) -> Any:
    """The base model with what is to be trained: fresh LoRA weights that the seed decides and that change nothing yet, or all."""
    from transformers import set_seed

    wrap: Callable[[Student, TrainConfig], Any] = _unsloth if backend == "unsloth" else _peft
    _check_layers(student, config)
    set_seed(config.seed)
    return wrap(student, config)


def _peft(student: Student, config: TrainConfig) -> Any:
    from peft import LoraConfig, get_peft_model

    model = _in_4_bits(student, config) if config.method == "qlora" else student.model
    _check_modules(model, student, config)
    if config.method == "full":
        model = model.float().requires_grad_(True)  # the weights of an update of 2e-4 are too small for bfloat16
    else:
        model = get_peft_model(
            model,
            LoraConfig(
                task_type="CAUSAL_LM",
                r=config.lora_r,
                lora_alpha=config.lora_alpha,
                lora_dropout=config.lora_dropout,
                target_modules=config.lora_target_modules,
                layers_to_transform=config.layers_to_transform,
                use_dora=config.method == "dora",
            ),
        )
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _in_4_bits(student: Student, config: TrainConfig) -> Any:
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    cuda = torch.cuda.is_available()
    quantized = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if cuda else torch.float32,
    )
    model: Any = AutoModelForCausalLM.from_pretrained(
        student.folder, quantization_config=quantized, local_files_only=True, dtype=None if cuda else torch.float32
    )
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # Once it has packed its weights for a CPU's inference, bitsandbytes 0.50 computes on without a gradient.
            module.support_avx512bf16_for_cpu = False
    # Checkpointing is switched on for every method in one place.
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)  # type: ignore[no-untyped-call]


def _check_modules(model: Any, student: Student, config: TrainConfig) -> None:
    """PEFT is content when one of the names fits; the others would silently not be trained."""
    there = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)})
    unknown = [name for name in config.lora_target_modules if name not in there]
    if unknown and config.method != "full":
        raise InvalidInput(
            f"lora_target_modules: {', '.join(unknown)}: {student.base_model} has no such linear map; it has {', '.join(there)}",
            errors=[
                {"field": "lora_target_modules", "value": name, "message": f"unknown; allowed are {', '.join(there)}"}
                for name in unknown
            ],
        )


def _unsloth(student: Student, config: TrainConfig) -> Any:
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        str(student.folder), max_seq_length=config.max_length, load_in_4bit=config.method == "qlora", local_files_only=True
    )
    _check_modules(model, student, config)
    model = FastLanguageModel.get_peft_model(
        model,
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=config.lora_target_modules,
        layers_to_transform=config.layers_to_transform,
        max_seq_length=config.max_length,
        random_state=config.seed,
        use_gradient_checkpointing="unsloth" if config.gradient_checkpointing else False,
    )
    if config.packing:
        from unsloth.utils.packing import mark_allow_overlength

        mark_allow_overlength(model)  # several rows end to end may be longer than one row may
    return model


def positions(student: Student) -> int:
    """Tokens that the base model can tell apart by their place; of a model that names no such number, more than anybody has."""
    return int(getattr(_text_config(student), "max_position_embeddings", None) or sys.maxsize)


def _text_config(student: Student) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(student.folder, local_files_only=True).get_text_config()


def _check_layers(student: Student, config: TrainConfig) -> None:
    layers: int = _text_config(student).num_hidden_layers
    wrong = [layer for layer in config.layers_to_transform or [] if layer >= layers]
    if wrong:
        raise InvalidInput(f"layers_to_transform: {wrong[0]} is no layer of {student.base_model}; it has 0 to {layers - 1}")
