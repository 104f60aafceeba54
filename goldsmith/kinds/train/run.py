"""A LoRA adapter, from gold to registered weights."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.context import JobContext
from goldsmith.datasets import DatasetVersion
from goldsmith.errors import InvalidInput
from goldsmith.kinds.train import backends, board, rows, searched
from goldsmith.kinds.train.schema import TrainConfig, TrainResult
from goldsmith.student import Student, Told


def run(config: TrainConfig, ctx: JobContext) -> TrainResult:
    backend = backends.choose(config)
    # imports transformers, which Unsloth must precede
    from goldsmith.kinds.train import ending, epochs, memory
    from goldsmith.kinds.train.checkpoints import Run
    from goldsmith.kinds.train.fit import fit, heldout_nll, mean, rejected_nll
    from goldsmith.kinds.train.trainer import Diverged

    pairs = config.objective == "dpo_nll"
    dataset = ctx.dataset(config.dataset)
    splits = rows.checked(dataset.ref, ctx.examples(config.dataset), pairs=pairs)
    if config.shuffle_answers:
        splits["train"] = rows.with_shuffled_answers(splits["train"], config.seed)

    ctx.progress(1, f"loading {config.base_model}")
    student = ctx.student(config.base_model)
    longest = min(config.max_length, backends.positions(student))
    data = rows.tokenized(student.tokenizer, splits, longest, pairs=pairs)
    ctx.log(
        f"{len(data.too_long)} of {sum(map(len, splits.values()))} rows are longer than max_length {longest} and left out;"
        f" the longest has {data.longest} tokens",
        longer_than=data.longer_than,
    )
    memory.make_room(config, student, backend, data, ctx)
    left_out = {"max_length": longest, "rows": data.too_long}
    too_long_report = ctx.save_artifact("too-long.json", json.dumps(left_out, indent=1).encode(), "application/json")
    model = backends.adapted(backend, student, config)

    def told(begin: float, width: float, what: str) -> Told:
        return lambda share: ctx.progress(begin + width * share, what)

    measuring = f"measuring {len(data.heldout)} held-out answers"
    prompts = data.heldout_examples[: config.samples]
    before = heldout_nll(model, data.heldout, told(2, 2, f"{measuring} before training"), backend=backend)
    if not math.isfinite(mean(before)):
        raise InvalidInput(f"base_model: {config.base_model} gives the held-out answers no finite loss")
    turned_from = rejected_nll(model, data.heldout) if pairs else []
    first = ending.greedy(model, student.tokenizer, prompts, config.max_new_tokens, told(4, 2, "answering before training"))
    reference: list[tuple[float, float]] = []
    if pairs:  # under the base model, which the fresh weights do not change yet: no second model is needed
        said = told(6, 4, f"the base model reads {len(data.train)} pairs")
        chosen, rejected = heldout_nll(model, data.train, said), rejected_nll(model, data.train)
        reference = [(good, bad) for (good, _), (bad, _) in zip(chosen, rejected, strict=True)]

    hashes = {
        "base_sha256": student.base_sha256,
        "tokenizer_sha256": student.tokenizer_sha256,
        "template_sha256": student.template_sha256,
    }
    this = Run(config, {"dataset_sha256": dataset.content_sha256, **hashes}, backend)

    def save_epoch(number: int) -> str:
        folder = ctx.scratch / f"epoch-{number}"
        _save(model, student, config, folder)
        ctx.save_artifact(epochs.CONFIG, folder / epochs.CONFIG)
        ref = ctx.save_artifact(f"epoch-{number}.safetensors", folder / epochs.WEIGHTS)
        shutil.rmtree(folder)
        return ref

    fitted = fit(model, data, this, ctx, reference=reference, backend=backend, save_epoch=save_epoch)

    ctx.progress(90, f"{measuring} after training", heldout_loss_before=mean(before))
    after = heldout_nll(model, data.heldout, told(90, 2, f"{measuring} after training"), backend=backend)
    if not math.isfinite(mean(after)):
        raise Diverged(
            "the held-out loss after training is no finite number; a lower learning_rate or a longer warm-up often helps"
        )
    last = ending.greedy(model, student.tokenizer, prompts, config.max_new_tokens, told(92, 3, "answering after training"))
    change = ending.change(before, after, config.seed)
    samples, lines = ending.side_by_side(prompts, first, last)

    numbers = {
        "dataset": dataset.ref,
        "base_model": student.base_model,
        "base_revision": student.revision,
        **hashes,
        "backend": backend,
        "objective": config.objective,
        "method": config.method,
        "role": config.role,
        "shuffled": config.shuffle_answers,
        "rehearsal": dataset.rehearsal,
        "label": "REHEARSAL" if dataset.rehearsal else "",
        "examples": len(data.train),
        "heldout_examples": len(data.heldout),
        "too_long": len(data.too_long),
        "longer_than": data.longer_than,
        "longest": data.longest,
        "steps": fitted.steps,
        "epochs": fitted.epochs,
        "stopped_early": fitted.stopped_early,
        "best_step": fitted.best_step,
        "kept_epochs": [each.model_dump() for each in fitted.kept_epochs],
        "per_device_train_batch_size": fitted.batch_size,
        "gradient_accumulation_steps": fitted.accumulation,
        "train_loss": fitted.train_loss,
        "heldout_loss_before": mean(before),
        "heldout_loss_after": mean(after),
        "heldout_loss_change": change.interval,
        "perplexity_before": ending.perplexity(mean(before)),
        "perplexity_after": ending.perplexity(mean(after)),
        "perplexity_ratio": change.perplexity_ratio,
        "improved": change.improved,
        "reward_accuracy": (
            ending.reward_accuracy((before, turned_from), (after, rejected_nll(model, data.heldout))) if pairs else None
        ),
        "tokens_per_s": fitted.tokens / fitted.seconds,
        "seconds": fitted.seconds,
        "peak_memory_gb": fitted.peak_memory_gb,
        "resumed_at": fitted.resumed_at,
    }
    ctx.progress(95, "registering the adapter", heldout_loss_after=mean(after))
    ctx.save_artifact("metrics.jsonl", "".join(f"{json.dumps(entry)}\n" for entry in fitted.metrics).encode())
    heldout = {0: mean(before), fitted.best_step or fitted.steps: mean(after)}
    ctx.save_artifact(board.NAME, board.write_events(fitted.metrics, heldout, Path(mkdtemp(dir=ctx.scratch))))
    ctx.save_artifact("samples.jsonl", lines)
    found = {"result": numbers, "trained_on": searched.report(splits)}
    adapter = _register(model, student, dataset, config, found, ctx)
    if fitted.kept_epochs:
        ctx.save_artifact(epochs.NAME, epochs.told(adapter, fitted.kept_epochs))
    return TrainResult(adapter=adapter.ref, too_long_report=too_long_report, samples=samples, **numbers)


def _register(
    model: Any, student: Student, dataset: DatasetVersion, config: TrainConfig, found: dict[str, Any], ctx: JobContext
) -> AdapterVersion:
    """The weights as an adapter version, and beside them what explains them."""
    numbers = found["result"]
    hashes: dict[str, Any] = {key: numbers[key] for key in ("base_sha256", "tokenizer_sha256", "template_sha256")}
    method = {
        **config.model_dump(mode="json", exclude={"kind", "name", "alias", "continue_from", "report_to"}),
        "backend": numbers["backend"],
        "base_revision": student.revision,
        "shuffled": config.shuffle_answers,
    }
    told = {
        "method": method,
        "dataset_sha256": dataset.content_sha256,
        **hashes,
        **found,
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "accelerate", "tokenizers")},
        "hardware": _hardware(),
    }
    folder = ctx.scratch / "adapter"
    _save(model, student, config, folder)
    (folder / "train.json").write_text(json.dumps(told, indent=2, ensure_ascii=False), encoding="utf-8")
    ctx.save_artifact("train.json", folder / "train.json")
    return ctx.register_adapter(
        NewAdapter(
            name=config.name,
            folder=folder,
            base_model=student.base_model,
            base_revision=student.revision,
            base_files=student.base_files,
            **hashes,
            dataset=dataset.ref,
            method=method,
            metrics={key: value for key, value in numbers.items() if type(value) in (int, float)},
            rehearsal=dataset.rehearsal,
            alias=config.alias,
        )
    )


def _save(model: Any, student: Student, config: TrainConfig, folder: Path) -> None:
    """An adapter's two files, or with method `full` a whole model's.

    The adapter names its base model as jobs do, not by a path of this machine; loading checks the sha256.
    """
    if config.method == "full":
        model.save_pretrained(folder)
        student.tokenizer.save_pretrained(folder)
        return
    model.peft_config["default"].base_model_name_or_path = student.base_model
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
