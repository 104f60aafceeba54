"""A LoRA adapter, from gold to registered weights."""

from __future__ import annotations

import json
import math
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.context import JobContext
from goldsmith.datasets import DatasetVersion
from goldsmith.kinds.train import backends, rows
from goldsmith.kinds.train.schema import TrainConfig, TrainResult
from goldsmith.student import Student


def run(config: TrainConfig, ctx: JobContext) -> TrainResult:
    backend = backends.choose(config)
    from goldsmith.kinds.train import memory
    from goldsmith.kinds.train.fit import fit, heldout_loss  # imports transformers, which Unsloth must precede

    dataset = ctx.dataset(config.dataset)
    splits = rows.checked(dataset.ref, ctx.examples(config.dataset))
    if config.shuffle_answers:
        splits["train"] = rows.with_shuffled_answers(splits["train"], config.seed)

    ctx.progress(1, f"loading {config.base_model}")
    student = ctx.student(config.base_model)
    data = rows.tokenized(student.tokenizer, splits, config.max_length)
    memory.make_room(config, student, backend, data, ctx)
    left_out = {"max_length": config.max_length, "rows": data.too_long}
    too_long_report = ctx.save_artifact("too-long.json", json.dumps(left_out, indent=1).encode(), "application/json")
    model = backends.adapted(backend, student, config)

    measuring = f"measuring {len(data.heldout)} held-out answers"
    before = heldout_loss(model, data.heldout, lambda share: ctx.progress(4 + share, f"{measuring} before training"))
    fitted = fit(model, student, data.train, config, ctx)
    ctx.progress(91, f"{measuring} after training", heldout_loss_before=before)
    after = heldout_loss(model, data.heldout, lambda share: ctx.progress(91 + 4 * share, f"{measuring} after training"))

    numbers = {
        "dataset": dataset.ref,
        "base_model": config.base_model,
        "backend": backend,
        "shuffled": config.shuffle_answers,
        "rehearsal": dataset.rehearsal,
        "label": "REHEARSAL" if dataset.rehearsal else "",
        "examples": len(data.train),
        "heldout_examples": len(data.heldout),
        "too_long": len(data.too_long),
        "steps": fitted.steps,
        "epochs": fitted.epochs,
        "train_loss": fitted.train_loss,
        "heldout_loss_before": before,
        "heldout_loss_after": after,
        "perplexity_before": math.exp(before),
        "perplexity_after": math.exp(after),
        "tokens_per_s": fitted.tokens / fitted.seconds,
        "seconds": fitted.seconds,
        "resumed_at": fitted.resumed_at,
    }
    ctx.progress(95, "registering the adapter", heldout_loss_after=after)
    ctx.save_artifact("metrics.jsonl", "".join(f"{json.dumps(entry)}\n" for entry in fitted.metrics).encode())
    adapter = _register(model, student, dataset, config, numbers, ctx)
    return TrainResult(adapter=adapter.ref, too_long_report=too_long_report, **numbers)


def _register(
    model: Any, student: Student, dataset: DatasetVersion, config: TrainConfig, numbers: dict[str, Any], ctx: JobContext
) -> AdapterVersion:
    """The weights as an adapter version, and beside them what explains them."""
    hashes: dict[str, Any] = {
        "base_sha256": student.base_sha256,
        "tokenizer_sha256": student.tokenizer_sha256,
        "template_sha256": student.template_sha256,
    }
    method = {
        **config.model_dump(mode="json", exclude={"kind", "name", "alias"}),
        "backend": numbers["backend"],
        "shuffled": config.shuffle_answers,
    }
    told = {
        "method": method,
        "dataset_sha256": dataset.content_sha256,
        **hashes,
        "result": numbers,
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate", "datasets")},
        "hardware": _hardware(),
    }
    folder = ctx.scratch / "adapter"
    _save(model, folder, config.base_model)
    (folder / "train.json").write_text(json.dumps(told, indent=2, ensure_ascii=False), encoding="utf-8")
    ctx.save_artifact("train.json", folder / "train.json")
    return ctx.register_adapter(
        NewAdapter(
            name=config.name,
            folder=folder,
            base_model=config.base_model,
            **hashes,
            dataset=dataset.ref,
            method=method,
            metrics={key: value for key, value in numbers.items() if type(value) in (int, float)},
            rehearsal=dataset.rehearsal,
            alias=config.alias,
        )
    )


def _save(model: Any, folder: Path, base_model: str) -> None:
    """The adapter's two files. It names its base model as jobs do, not by a path of this machine; loading checks the sha256."""
    model.peft_config["default"].base_model_name_or_path = base_model
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty form


def _hardware() -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(0) if cuda else "cpu",
        "python": platform.python_version(),
    }
