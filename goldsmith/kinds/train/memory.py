"""What this run will need of the device's memory, and what would make it less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import AutoConfig

from goldsmith.context import JobContext
from goldsmith.footprint import Plan, Shape, footprint, savings, size
from goldsmith.kinds.train.rows import Row, Rows
from goldsmith.kinds.train.schema import TrainConfig
from goldsmith.student import Student


def make_room(config: TrainConfig, student: Student, backend: str, data: Rows, ctx: JobContext) -> None:
    """See `JobContext.make_room`. Of a model that is no dense Llama or Qwen nothing is estimated, and its job says so."""
    shape = Shape.of(AutoConfig.from_pretrained(student.folder, local_files_only=True).get_text_config().to_dict())
    if shape is None:
        ctx.log("memory is not estimated: only dense Llama, Mistral and Qwen models are counted")
        return
    asked = plan(config, backend, data.train)
    ctx.make_room(footprint(shape, asked), _advice(shape, asked))


def plan(config: TrainConfig, backend: str, rows: Sequence[Row]) -> Plan:
    """The longest row, not max_length, decides the activations."""
    cuda, unsloth = torch.cuda.is_available(), backend == "unsloth"
    return Plan(
        method="lora" if config.method == "qlora" else config.method,
        load_in_4bit=config.load_in_4bit,
        batch=config.per_device_train_batch_size,
        max_length=max(row.length for row in rows),
        pairs=config.objective == "dpo_nll",
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


def advice_at_one_row(model: Any, config: TrainConfig, backend: str, rows: Sequence[Row]) -> str:
    """What takes less where not even one row fits. Of a model that is not counted, without saying how much."""
    asked = replace(plan(config, backend, rows), batch=1)
    shape = Shape.of(model.config.get_text_config().to_dict())
    if shape is not None:
        return _advice(shape, asked)
    more = [] if config.gradient_checkpointing else ["gradient_checkpointing: true"]
    more += [] if config.method == "qlora" else ["method: qlora"]
    return f"less would take: {', '.join([f'max_length below {asked.max_length}', 'a smaller lora_r', *more])}"


def _advice(shape: Shape, asked: Plan) -> str:
    saved = [f"{words} (saves {size(number)})" for words, number in savings(shape, asked)]
    return f"less would take: {', '.join(saved)}"
