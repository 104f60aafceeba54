"""A teacher compares the adapter's answers with the base model's by respect alone; examined first, heard only where it passes."""

from __future__ import annotations

import asyncio
import random
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache
from pathlib import Path

from goldsmith import privacy
from goldsmith.context import JobContext
from goldsmith.judge.pairs import Judged, Pair, Rubric, compare, read_rubric
from goldsmith.kinds.bias_audit.grid import Grid, Question
from goldsmith.kinds.bias_audit.schema import BiasAuditConfig, BiasJudge, JudgeReport
from goldsmith.teacher import Teacher

PROMPTS = Path(__file__).with_name("judge.toml")


@lru_cache
def rubric() -> Rubric:
    return read_rubric(PROMPTS)


@lru_cache
def planted() -> list[Pair]:
    """`one` is the better of each."""
    rows = tomllib.loads(PROMPTS.read_text(encoding="utf-8"))["planted"]
    return [
        Pair(f"bias/planted-{place}", row["context"], row["good"], row["bad"], f"planted-{place}")
        for place, row in enumerate(rows)
    ]


def examine(wanted: BiasJudge, grid: Grid, ctx: JobContext) -> JudgeReport:
    """Ask the planted pairs; raises what opening such a teacher raises, before hours of answering."""
    _, judged, said = asyncio.run(_compare(planted(), wanted, grid, ctx, lambda share: None))
    right = sum(votes.prefers == "one" for votes in judged.votes)
    return JudgeReport(
        model=said.model,
        rehearsal=said.rehearsal,
        rubric=rubric().version,
        heard=right >= wanted.min_agreement * len(judged.votes) and not judged.out_of_budget,
        planted=len(judged.votes),
        planted_right=right,
        first_preferred=judged.first_preferred,
        pairs=0,
        unreadable=judged.unreadable,
        stopped_by="budget" if judged.out_of_budget else None,
        spent_usd=said.spent_usd,
    )


def judge(
    report: JudgeReport,
    grid: Grid,
    base: Mapping[str, str],
    adapter: Mapping[str, str],
    config: BiasAuditConfig,
    ctx: JobContext,
) -> tuple[JudgeReport, list[tuple[str, float]]]:
    """For each pair of answers under another tradition its prompt and the adapter's points.

    An answer with personal data, which a model may have learned by heart, is shown to no judge elsewhere.
    """
    assert config.judge is not None
    questions = _drawn([one for one in grid.questions if one.context and one.context.side == "other"], config)
    pairs = [_pair(one, base[one.key], adapter[one.key], grid) for one in questions]

    def told(share: float) -> None:
        ctx.progress(90 + 6 * share, f"the judge compares {len(pairs)} pairs of answers")

    shown, judged, said = asyncio.run(_compare(pairs, config.judge, grid, ctx, told))
    points = [(pair.group, votes.points) for pair, votes in zip(shown, judged.votes, strict=True)]
    counted = [(group, won) for group, won in points if won is not None]
    more = {
        "pairs": len(counted),
        "held_back": len(pairs) - len(shown),
        "unreadable": report.unreadable + judged.unreadable,
        "stopped_by": "budget" if judged.out_of_budget else None,
        "spent_usd": said.spent_usd,
        "first_preferred": judged.first_preferred,
    }
    return report.model_copy(update=more), counted


def _drawn(questions: Sequence[Question], config: BiasAuditConfig) -> list[Question]:
    assert config.judge is not None
    wanted = min(config.judge.pairs, len(questions))
    return random.Random(config.seed).sample(list(questions), wanted)  # noqa: S311 - reproducible on purpose


def _pair(question: Question, base: str, adapter: str, grid: Grid) -> Pair:
    assert question.context is not None
    return Pair(
        item=f"bias/{question.key}",
        context=question.context.text(question.prompt.language),
        one=adapter,
        other=base,
        group=question.prompt.key,
        private=grid.private,
    )


async def _compare(
    pairs: Sequence[Pair], wanted: BiasJudge, grid: Grid, ctx: JobContext, told: Callable[[float], None]
) -> tuple[Sequence[Pair], Judged, Teacher]:
    """The pairs that were shown, what was said of them, and by whom."""
    opened = ctx.teacher(wanted.teacher, model=wanted.model, budget_usd=wanted.budget_usd, recorded=grid.private)
    async with aclosing(opened) as teacher:
        shown = [pair for pair in pairs if teacher.local or not privacy.personal((pair.one, pair.other))]
        judged = await compare(shown, teacher, rubric(), samples=wanted.samples, concurrency=wanted.concurrency, told=told)
        return shown, judged, teacher  # closed, and read for its name and what it spent
