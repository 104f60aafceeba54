"""The judge grades the answers, within the job's budget."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from goldsmith.context import JobContext
from goldsmith.kinds.verify.answering import Answered, Item
from goldsmith.kinds.verify.schema import VerifyConfig
from goldsmith.kinds.verify.trained import Row
from goldsmith.teacher import BudgetReached, Teacher
from goldsmith.teacher.bounded import for_each
from goldsmith.uno.judge import grade

KEEP_EVERY = 20  # grades; the ledger has those in between, too


@dataclass
class Judge:
    """Who graded, as the job's teacher says it."""

    model: str
    rehearsal: bool
    spent_usd: float = 0.0
    out_of_budget: bool = False


def judge(
    arms: Sequence[str],
    rows: Sequence[Row],
    answered: Answered,
    config: VerifyConfig,
    ctx: JobContext,
    progress: tuple[float, float],
) -> Judge:
    """Grade what is not graded yet. Where the budget ends, the rest stays so."""
    missing = [(row, arm) for row in rows for arm in arms if answered.of(arm)[row.key].grade is None]
    recorded = any(row.example.private for row in rows)
    return asyncio.run(_judge(missing, answered, config, ctx, progress, recorded=recorded))


async def _judge(
    missing: Sequence[tuple[Row, str]],
    answered: Answered,
    config: VerifyConfig,
    ctx: JobContext,
    progress: tuple[float, float],
    *,
    recorded: bool,
) -> Judge:
    begin, end = progress
    opened = ctx.teacher(config.teacher, model=config.model, budget_usd=config.budget_usd, recorded=recorded)
    async with aclosing(opened) as teacher:
        found = Judge(teacher.model, teacher.rehearsal)
        done = 0

        async def one(which: tuple[Row, str]) -> bool:
            nonlocal done
            row, arm = which
            try:
                await _grade(row, arm, answered.of(arm)[row.key], teacher, config)
            except BudgetReached:
                found.out_of_budget = True
                return False
            done += 1
            if done % KEEP_EVERY == 0:
                answered.keep(ctx)
            share = done / len(missing)
            ctx.progress(begin + (end - begin) * share, f"{done} of {len(missing)} answers graded", spent_usd=teacher.spent_usd)
            return True

        await for_each(missing, one, concurrency=config.concurrency)
        if done:
            answered.keep(ctx)
        found.spent_usd = teacher.spent_usd
        return found


async def _grade(row: Row, arm: str, item: Item, teacher: Teacher, config: VerifyConfig) -> None:
    item.grade = await grade(
        teacher,
        item=f"{row.example.source}/verify/{arm}",  # by its source it is found when somebody's data is erased
        question=row.question,
        rules=row.rules,
        answer=item.answer,
        language=row.example.language,
        samples=config.judge_samples,
        recorded=row.example.private,
    )
