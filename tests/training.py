"""What tests of training begin with: a context with gold, and a config that a tiny model learns by in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import torch
from safetensors.torch import load_file

from goldsmith.datasets import Example
from goldsmith.kinds.train.schema import TrainConfig
from tests.fakes import FakeContext
from tests.tiny import gold, student_factory


def context(
    tmp_path: Path, examples: list[Example] | None = None, *, job_id: UUID | None = None, attempt: int = 1
) -> FakeContext:
    ctx = FakeContext(tmp_path, job_id=job_id, kind="train", attempt=attempt)
    ctx.student_factory = student_factory(tmp_path)
    ctx.save_dataset("gold", gold() if examples is None else examples, manifest={}, parents=[], rehearsal=False)
    return ctx


def config(model_folder: Path, **more: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "dataset": "dataset:gold@1",
        "name": "prose",
        "base_model": str(model_folder),
        "num_train_epochs": 8,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "learning_rate": 2e-2,
        "lora_r": 16,
        "lora_alpha": 32,
        "samples": 0,
        "gradient_checkpointing": False,
    }
    return TrainConfig(**(values | more))


def weights(ctx: FakeContext) -> dict[str, torch.Tensor]:
    return load_file(ctx.adapters["prose"][-1].folder / "adapter_model.safetensors")
