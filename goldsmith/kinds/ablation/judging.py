"""The judge grades every text once, within the job's budget."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from goldsmith.kinds.ablation.answering import Kept
from goldsmith.kinds.ablation.heldout import Question
from goldsmith.kinds.ablation.schema import AblationConfig
from goldsmith.teacher import BudgetReached
from goldsmith.teacher.bounded import for_each
from goldsmith.uno.judge import grade

if TYPE_CHECKING:
    from goldsmith.context import JobContext

KEEP_EVERY = 20  # grades; the ledger has those in between, too


@dataclass
class Judge:
    """Who graded, as the job's teacher says it."""

    provider: str
    model: str
    rehearsal: bool
    spent_usd: float = 0.0
    out_of_budget: bool = False


def judge(wanted: Sequence[tuple[Question, str]], kept: Kept, config: AblationConfig, ctx: JobContext) -> Judge:
    """Session by session, so that a budget that ends leaves whole sessions."""
    return asyncio.run(_judge(wanted, kept, config, ctx))


async def _judge(wanted: Sequence[tuple[Question, str]], kept: Kept, config: AblationConfig, ctx: JobContext) -> Judge:
    missing = [(question, text) for question, text in wanted if text not in kept.grades.get(question.key, {})]
    recorded = any(question.session.private for question, _ in wanted)
    opened = ctx.teacher(config.teacher, model=config.model, budget_usd=config.budget_usd, recorded=recorded)
    async with aclosing(opened) as teacher:
        found = Judge(teacher.provider, teacher.model, teacher.rehearsal)
        done = 0

        async def one(which: tuple[Question, str]) -> bool:
            nonlocal done
            question, text = which
            session = question.session
            try:
                graded = await grade(
                    teacher,
                    item=f"{session.run_id or session.session_id}/ablation",  # found when somebody's data is erased
                    question=session.query_text,
                    rules=question.rules,
                    answer=text,
                    language=session.language,
                    samples=config.judge_samples,
                    recorded=session.private,
                )
            except BudgetReached:
                found.out_of_budget = True
                return False
            kept.grades.setdefault(question.key, {})[text] = graded
            done += 1
            if done % KEEP_EVERY == 0:
                kept.keep(ctx)
            ctx.progress(65 + 30 * done / len(missing), f"{done} of {len(missing)} texts graded", spent_usd=teacher.spent_usd)
            return True

        await for_each(missing, one, concurrency=config.concurrency)
        if done:
            kept.keep(ctx)
        found.spent_usd = teacher.spent_usd
        return found
