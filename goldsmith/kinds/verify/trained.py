"""What a training left: its epochs as adapters that a student can use, and the questions that it was not trained on."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.datasets import DatasetVersion, Example
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.storage import sha256_file
from goldsmith.student import Student
from goldsmith.student.conversation import prompt_ids
from goldsmith.uno.taught import rules_jobs, taught


@dataclass(frozen=True)
class Trained:
    last: AdapterVersion
    """What the training registered."""
    epochs: dict[int, AdapterVersion]
    """By number; not registered, but a student can use them."""


@dataclass(frozen=True)
class Row:
    """One held-out question. `key` is its place among the dataset's held-out rows."""

    key: str
    example: Example
    rules: list[str]
    """What its user taught, to judge by."""

    @property
    def messages(self) -> list[dict[str, str]]:
        return [message.model_dump() for message in self.example.messages[:-1]]

    @property
    def question(self) -> str:
        return "\n\n".join(message.content for message in self.example.messages[:-1])


def read(train: str, ctx: JobContext) -> Trained:
    try:
        told = json.loads(ctx.artifact(f"{train}/epochs.json").read_bytes())
    except NotFound:
        raise InvalidInput(
            f"train: {train} kept no epochs; train with role: expert, or with keep_epochs: true",
            errors=[{"field": "train", "value": train, "message": "must be a train job with keep_epochs: true"}],
        ) from None
    last = ctx.adapter(told["adapter"])
    if last.role == "critic":
        raise InvalidInput(
            f"train: {train} made a critic, which answers no questions; a gate is for experts",
            errors=[{"field": "train", "value": train, "message": "must have made an expert"}],
        )
    last.verify()
    epochs = {each["epoch"]: _epoch(each, told["config"], last, ctx) for each in told["epochs"]}
    return Trained(last, epochs)


def _epoch(kept: dict[str, Any], config: str, last: AdapterVersion, ctx: JobContext) -> AdapterVersion:
    folder = ctx.scratch / f"epoch-{kept['epoch']}"
    folder.mkdir()
    copyfile(ctx.artifact(kept["artifact"]), folder / "adapter_model.safetensors")
    copyfile(ctx.artifact(config), folder / "adapter_config.json")
    if (last.folder / "train.json").is_file():
        copyfile(last.folder / "train.json", folder / "train.json")
    files = {path.name: sha256_file(path) for path in folder.iterdir()}
    unsealed = {"seal": None, "public_key": None}  # an artifact of this very training, not yet registered
    return last.model_copy(
        update={"name": f"{last.name}-epoch", "version": kept["epoch"], "folder": folder, "files": files, **unsealed}
    )


def heldout(dataset: DatasetVersion, ctx: JobContext) -> list[Row]:
    rules = _rules(dataset, ctx)
    return [
        Row(str(place), example, rules.get(example.group, []))
        for place, example in enumerate(ctx.examples(dataset.ref, "heldout"))
    ]


def fitting(rows: Sequence[Row], student: Student, longest_answer: int) -> list[Row]:
    """Those whose question and answer together are not more than the base model can read."""
    room = _positions(student.folder) - longest_answer
    return [row for row in rows if len(prompt_ids(student.tokenizer, row.messages)) <= room]


def _rules(dataset: DatasetVersion, ctx: JobContext) -> dict[str, list[str]]:
    """By session: the rules from feedback that the pairs were made by, else the model's own; none for a dataset that no `pairs`
    job made. A row's group is its session."""
    clusters = ctx.config(f"job:{dataset.job_id}").get("clusters") if dataset.job_id else None
    found: dict[str, list[str]] = {}
    for ref in rules_jobs(ctx, clusters) if clusters else ():
        found |= {session: one.rules or one.own for session, one in taught(ctx.rules(ref)).items()}
    return found


def _positions(folder: Path) -> int:
    """Of the base model; of one that names no such number, more than anybody has."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return int(config.get("text_config", config).get("max_position_embeddings") or sys.maxsize)
