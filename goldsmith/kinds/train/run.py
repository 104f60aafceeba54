"""A LoRA adapter, from gold to registered weights."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from goldsmith.adapters import NewAdapter
from goldsmith.context import JobContext
from goldsmith.datasets import DatasetVersion
from goldsmith.kinds.train import backends, rows
from goldsmith.kinds.train.schema import TrainConfig, TrainResult
from goldsmith.student import Student
from goldsmith.student.conversation import Tokens

if TYPE_CHECKING:
    from goldsmith.kinds.train.fit import Fitted


def run(config: TrainConfig, ctx: JobContext) -> TrainResult:
    backend = backends.choose(config)  # before anything imports transformers
    dataset = ctx.dataset(config.dataset)
    splits = rows.checked(dataset.ref, ctx.examples(config.dataset))
    if config.shuffle_answers:
        splits["train"] = rows.with_shuffled_answers(splits["train"], config.seed)

    ctx.progress(1, f"loading {config.base_model}")
    student = ctx.student(config.base_model)
    data = rows.tokenized(student.tokenizer, splits, config.max_length)
    model = _fresh(backend, student, config)

    ctx.progress(5, f"measuring {len(data.heldout)} held-out answers before training")
    before = _loss(model, data.heldout)
    fitted = _fit(model, student, data.train, config, ctx)
    ctx.progress(91, "measuring the held-out answers after training", heldout_loss_before=before)
    after = _loss(model, data.heldout)

    result = TrainResult(
        adapter="",
        dataset=dataset.ref,
        base_model=config.base_model,
        backend=backend,
        shuffled=config.shuffle_answers,
        rehearsal=dataset.rehearsal,
        label="REHEARSAL" if dataset.rehearsal else "",
        examples=len(data.train),
        heldout_examples=len(data.heldout),
        too_long=data.too_long,
        steps=fitted.steps,
        epochs=fitted.epochs,
        train_loss=fitted.train_loss,
        heldout_loss_before=before,
        heldout_loss_after=after,
        perplexity_before=math.exp(before),
        perplexity_after=math.exp(after),
        tokens_per_s=fitted.tokens / fitted.seconds,
        seconds=fitted.seconds,
        resumed_at=fitted.resumed_at,
    )
    return _report(model, student, dataset, config, fitted, result, ctx)


def _fresh(backend: backends.Backend, student: Student, config: TrainConfig) -> Any:
    from transformers import set_seed

    set_seed(config.seed)
    return backends.adapted(backend, student, config)


def _fit(model: Any, student: Student, train: Sequence[Tokens], config: TrainConfig, ctx: JobContext) -> Fitted:
    from goldsmith.kinds.train.fit import fit

    return fit(model, student, train, config, ctx)


def _loss(model: Any, heldout: Sequence[Tokens]) -> float:
    """Mean over all tokens of the held-out answers, nats."""
    from goldsmith.student.local import likelihood

    parts = likelihood(model, heldout)
    return sum(loss for loss, _ in parts) / sum(number for _, number in parts)


def _report(
    model: Any, student: Student, dataset: DatasetVersion, config: TrainConfig, fitted: Fitted, result: TrainResult, ctx: JobContext
) -> TrainResult:
    """Save the weights with what explains them, and register them."""
    told = {
        "config": config.model_dump(mode="json"),
        "dataset": {"ref": dataset.ref, "content_sha256": dataset.content_sha256},
        "base_sha256": student.base_sha256,
        "tokenizer_sha256": student.tokenizer_sha256,
        "template_sha256": student.template_sha256,
        "result": result.model_dump(mode="json", exclude={"adapter"}),
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate", "datasets")},
        "hardware": _hardware(),
    }
    folder = ctx.scratch / "adapter"
    _save(model, folder, config.base_model)
    (folder / "train.json").write_text(json.dumps(told, indent=2, ensure_ascii=False))
    ctx.save_artifact("train.json", folder / "train.json", "application/json")
    lines = "".join(json.dumps(entry) + "\n" for entry in fitted.metrics)
    ctx.save_artifact("metrics.jsonl", lines.encode(), "application/x-ndjson")
    ctx.progress(95, "registering the adapter", heldout_loss_after=result.heldout_loss_after)
    adapter = ctx.register_adapter(
        NewAdapter(
            name=config.name,
            folder=folder,
            base_model=config.base_model,
            base_sha256=student.base_sha256,
            tokenizer_sha256=student.tokenizer_sha256,
            template_sha256=student.template_sha256,
            dataset=dataset.ref,
            method={
                **config.model_dump(mode="json", exclude={"kind", "name", "alias"}),
                "backend": result.backend,
                "shuffled": result.shuffled,
            },
            metrics=result.model_dump(
                mode="json",
                include={"steps", "epochs", "train_loss", "heldout_loss_before", "heldout_loss_after", "perplexity_after", "seconds"},
            ),
            rehearsal=dataset.rehearsal,
            alias=config.alias,
        )
    )
    return result.model_copy(update={"adapter": adapter.ref})


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
