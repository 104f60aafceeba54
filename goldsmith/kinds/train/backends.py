"""Who wraps the base model for training: PEFT anywhere, Unsloth on CUDA. Unsloth must be imported before transformers."""

from __future__ import annotations

import importlib.util
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
    if config.load_in_4bit and not cuda:
        raise InvalidInput("load_in_4bit: true needs a CUDA device, and this worker has none; set it to false")
    if config.backend == "unsloth" and not (cuda and installed):
        missing = "the extra goldsmith[unsloth], which is not installed" if cuda else "a CUDA device, and this worker has none"
        raise InvalidInput(f"backend: unsloth needs {missing}; choose peft or auto")
    if config.backend == "peft" or not (cuda and installed):
        return "peft"
    import unsloth  # noqa: F401

    return "unsloth"


def adapted(backend: Backend, student: Student, config: TrainConfig) -> Any:
    """The base model with fresh LoRA weights that the seed decides and that change nothing yet."""
    from transformers import set_seed

    wrap: Callable[[Student, TrainConfig], Any] = _unsloth if backend == "unsloth" else _peft
    _check_layers(student, config)
    set_seed(config.seed)
    try:
        return wrap(student, config)
    except ValueError as error:
        if "target modules" not in str(error).lower():
            raise
        raise InvalidInput(f"lora_target_modules: {config.lora_target_modules}: {error}") from error


def _peft(student: Student, config: TrainConfig) -> Any:
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    model = student.model
    if config.load_in_4bit:
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        quantized = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        model = prepare_model_for_kbit_training(  # type: ignore[no-untyped-call]
            AutoModelForCausalLM.from_pretrained(student.folder, quantization_config=quantized, local_files_only=True)
        )
    return get_peft_model(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=config.lora_target_modules,
            layers_to_transform=config.layers_to_transform,
        ),
    )


def _unsloth(student: Student, config: TrainConfig) -> Any:
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        str(student.folder), max_seq_length=config.max_length, load_in_4bit=config.load_in_4bit, local_files_only=True
    )
    return FastLanguageModel.get_peft_model(
        model,
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=config.lora_target_modules,
        layers_to_transform=config.layers_to_transform,
        max_seq_length=config.max_length,
        random_state=config.seed,
        use_gradient_checkpointing="unsloth",
    )


def _check_layers(student: Student, config: TrainConfig) -> None:
    from transformers import AutoConfig

    layers: int = AutoConfig.from_pretrained(student.folder, local_files_only=True).get_text_config().num_hidden_layers
    wrong = [layer for layer in config.layers_to_transform or [] if layer >= layers]
    if wrong:
        raise InvalidInput(f"layers_to_transform: {wrong[0]} is no layer of {student.base_model}; it has 0 to {layers - 1}")
