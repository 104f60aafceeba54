"""The base model and the epochs answer; what is answered and graded is kept, item by item."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.kinds.verify.schema import VerifyConfig
from goldsmith.kinds.verify.trained import Row
from goldsmith.student import Student
from goldsmith.uno.judge import Grade

CHUNK = 16  # questions answered at once, and lost at most when a run is killed
STATE = "answered.json"
BASE = "base"


@dataclass
class Item:
    """An arm's answer to one question."""

    answer: str
    grade: Grade | None = None
    """None: not graded yet."""


@dataclass
class Answered:
    """By arm (`base`, or an epoch's number) and row."""

    arms: dict[str, dict[str, Item]] = field(default_factory=dict)

    def of(self, arm: str) -> dict[str, Item]:
        return self.arms.setdefault(arm, {})

    def keep(self, ctx: JobContext) -> None:
        folder = ctx.scratch / "kept"
        folder.mkdir(exist_ok=True)
        told = {arm: {key: asdict(item) for key, item in items.items()} for arm, items in self.arms.items()}
        (folder / STATE).write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
        ctx.checkpoint(folder)
        shutil.rmtree(folder)


def restored(ctx: JobContext) -> Answered:
    """What an earlier attempt of this job kept."""
    folder = ctx.restore()
    if folder is None:
        return Answered()
    told: dict[str, dict[str, Any]] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return Answered({arm: {key: _item(one) for key, one in items.items()} for arm, items in told.items()})


def _item(one: dict[str, Any]) -> Item:
    return Item(one["answer"], Grade(**one["grade"]) if one["grade"] else None)


def answer(
    student: Student,
    arms: Sequence[tuple[str, AdapterVersion | None]],
    rows: Sequence[Row],
    answered: Answered,
    config: VerifyConfig,
    ctx: JobContext,
    progress: tuple[float, float],
) -> None:
    """Fill in what is missing. Every chunk has a seed of its own, the same for all arms: who resumes gets the answers that he would
    have got, and an adapter that changes nothing the answers of the base model."""
    begin, end = progress
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    for number, (arm, adapter) in enumerate(arms):
        items = answered.of(arm)
        student.use(adapter)
        for at, chunk in enumerate(chunks):
            if all(row.key in items for row in chunk):
                continue
            step = (end - begin) / (len(arms) * len(chunks))
            now = begin + step * (number * len(chunks) + at)

            def told(share: float, now: float = now, step: float = step, arm: str = arm) -> None:
                ctx.progress(now + step * share, f"{arm if arm == BASE else f'epoch {arm}'} answers {len(rows)} questions")

            texts = student.generate(
                [row.messages for row in chunk],
                config.max_new_tokens,
                temperature=config.temperature,
                seed=config.seed + int(chunk[0].key),
                told=told,
            )
            items.update({row.key: Item(text) for row, text in zip(chunk, texts, strict=True)})
            answered.keep(ctx)
