"""What this run will need of the device's memory, and what would make it less."""

from __future__ import annotations

import torch
from transformers import AutoConfig

from goldsmith.context import JobContext
from goldsmith.footprint import Plan, Shape, footprint, savings
from goldsmith.kinds.train.rows import Rows
from goldsmith.kinds.train.schema import TrainConfig
from goldsmith.student import Student


def make_room(config: TrainConfig, student: Student, backend: str, data: Rows, ctx: JobContext) -> None:
    """See `JobContext.make_room`. Of a model that is no dense Llama or Qwen nothing is estimated, and its job says so."""
    shape = shape_of(student)
    if shape is None:
        ctx.log("memory is not estimated: only dense Llama, Mistral and Qwen models are counted")
        return
    asked = plan(config, backend, data)
    ctx.make_room(footprint(shape, asked), advice(shape, asked))


def shape_of(student: Student) -> Shape | None:
    config = AutoConfig.from_pretrained(student.folder, local_files_only=True).get_text_config()
    return Shape.of(config.to_dict())


def plan(config: TrainConfig, backend: str, data: Rows) -> Plan:
    """The longest row, not max_length, decides the activations."""
    cuda, unsloth = torch.cuda.is_available(), backend == "unsloth"
    return Plan(
        method="lora" if config.method == "qlora" else config.method,
        load_in_4bit=config.load_in_4bit,
        batch=config.per_device_train_batch_size * (2 if config.objective == "dpo_nll" else 1),
        max_length=max(row.length for row in data.train),
        checkpointing="none" if not config.gradient_checkpointing else "offloaded" if unsloth else "layers",
        lora_r=config.lora_r,
        targets=tuple(config.lora_target_modules),
        adapted_layers=None if config.layers_to_transform is None else len(set(config.layers_to_transform)),
        dropout=config.lora_dropout > 0,
        weight_bytes=2 if cuda and config.method != "full" else 4,
        kept_bytes=2 if unsloth else 4,  # PEFT's preparation makes float32 of what is not quantised
        compute_bytes=2 if cuda else 4,
        device="cuda" if cuda else "cpu",
    )


def advice(shape: Shape, asked: Plan) -> str:
    """What would take less, the largest saving first."""
    saved = [f"{words} (saves {number / 1e9:.1f} GB)" for words, number in savings(shape, asked)]
    return f"less would take: {', '.join(saved)}" if saved else "only a smaller base model would take less"
