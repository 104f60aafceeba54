"""Every model's answers, written once and kept after each chunk, so that an attempt goes on where the last one was killed."""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from goldsmith.adapters import AdapterVersion
from goldsmith.kinds.evaluate.heldout import Row
from goldsmith.kinds.evaluate.schema import EvaluateConfig

if TYPE_CHECKING:
    from goldsmith.context import JobContext
    from goldsmith.student import Student

CHUNK = 32  # prompts answered, then scored, at once; lost at most when a run is killed
ANSWERING = 0.7  # its share of the time, measured on a CPU with 96 tokens an answer; for the progress only
STATE = "answered.json"
UNLIKELIEST = 700.0
"""Nats of a token, beyond which `exp` ends; also where the likelihood is no number, as weights that diverged make it."""


@dataclass
class Answers:
    """What one model made of the rows, in their order, as far as it has come."""

    texts: list[str] = field(default_factory=list)
    nll: list[tuple[float, int] | None] = field(default_factory=list)
    """Nats and tokens of the expected answer; None where there is none."""
    tokens: int = 0
    answering_s: float = 0.0
    seconds: float = 0.0
    alone: list[tuple[float, float | None]] = field(default_factory=list)
    """Of prompts that were answered one by one: seconds until the first token, and tokens a second from then on."""

    @property
    def first_token_s(self) -> float | None:
        return statistics.median(first for first, _ in self.alone) if self.alone else None

    @property
    def tokens_per_s_alone(self) -> float | None:
        rates = [rate for _, rate in self.alone if rate is not None]
        return statistics.median(rates) if rates else None


class Kept:
    """The answers of all arms; of an earlier attempt those to the same prompts."""

    def __init__(self, rows: Sequence[Row], config: EvaluateConfig, ctx: JobContext) -> None:
        asked = json.dumps([[row.prompt for row in rows], config.max_new_tokens], ensure_ascii=False)
        self._of = hashlib.sha256(asked.encode()).hexdigest()
        self._ctx = ctx
        self.arms: dict[str, Answers] = {}
        folder = ctx.restore()
        told = json.loads((folder / STATE).read_text(encoding="utf-8")) if folder is not None else {}
        if told.get("of") == self._of:
            for arm, one in told["arms"].items():
                one["nll"] = [None if pair is None else (pair[0], pair[1]) for pair in one["nll"]]
                one["alone"] = [(first, rate) for first, rate in one["alone"]]
                self.arms[arm] = Answers(**one)
        self.resumed = sum(len(one.texts) for one in self.arms.values())

    def keep(self) -> None:
        folder = self._ctx.scratch / "kept"
        folder.mkdir(exist_ok=True)
        told = {"of": self._of, "arms": {arm: asdict(one) for arm, one in self.arms.items()}}
        (folder / STATE).write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
        self._ctx.checkpoint(folder)
        shutil.rmtree(folder)


def answer(
    student: Student,
    rows: Sequence[Row],
    arm: str,
    adapter: AdapterVersion | None,
    kept: Kept,
    config: EvaluateConfig,
    ctx: JobContext,
    progress: tuple[float, float],
) -> Answers:
    """Greedy answers, the likelihood of what was expected, and a few prompts one by one for the speed."""
    found = kept.arms.setdefault(arm, Answers())
    begin, end = progress
    step = (end - begin) / len(rows)
    if len(found.texts) < len(rows) or len(found.alone) < min(config.speed_prompts, len(rows)):
        student.use(adapter)
    for start in range(len(found.texts), len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        which = f"prompts {start + 1} to {start + len(chunk)} of {len(rows)}"
        answered_at = begin + step * start
        scored_at = answered_at + ANSWERING * step * len(chunk)

        def answering(share: float, low: float = answered_at, high: float = scored_at, which: str = which) -> None:
            ctx.progress(low + (high - low) * share, f"{arm} answers {which}")

        began = time.monotonic()
        texts = student.generate([row.prompt for row in chunk], config.max_new_tokens, told=answering)
        answered = time.monotonic()
        nll = _nll(student, chunk, ctx, (scored_at, answered_at + step * len(chunk)), f"{arm} is scored on what {which} expect")
        found.texts += texts
        found.nll += nll
        found.tokens += sum(_tokens(student, text) for text in texts)
        found.answering_s += answered - began
        found.seconds += time.monotonic() - began
        kept.keep()
    for row in rows[len(found.alone) : config.speed_prompts]:
        ctx.progress(end, f"{arm} answers one prompt alone, to be timed")
        found.alone.append(_timed(student, row, config.max_new_tokens))
    return found


def _nll(
    student: Student, chunk: Sequence[Row], ctx: JobContext, progress: tuple[float, float], message: str
) -> list[tuple[float, int] | None]:
    begin, end = progress
    expected = [gold for row in chunk if (gold := row.gold) is not None]
    if not expected:
        return [None] * len(chunk)
    found = student.nll(expected, lambda share: ctx.progress(begin + (end - begin) * share, message))
    likely = iter([(nats if nats < UNLIKELIEST * tokens else UNLIKELIEST * tokens, tokens) for nats, tokens in found])
    return [next(likely) if row.gold is not None else None for row in chunk]


def _timed(student: Student, row: Row, max_new_tokens: int) -> tuple[float, float | None]:
    told: list[float] = []
    began = time.monotonic()
    (text,) = student.generate([row.prompt], max_new_tokens, told=lambda share: told.append(time.monotonic()))
    ended = time.monotonic()
    first = told[0] if told else ended
    tokens = _tokens(student, text)
    return first - began, (tokens - 1) / (ended - first) if tokens > 1 and ended > first else None


def _tokens(student: Student, text: str) -> int:
    return len(student.tokenizer(text, add_special_tokens=False)["input_ids"])
