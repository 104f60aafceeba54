"""What a language model thinks of the answers, by the rubric of `goldsmith.judge`, blind to whose they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING

from goldsmith import privacy
from goldsmith.judge import CRITERIA, Judge, Text, Two, rubric
from goldsmith.judge.pairs import Votes, first_preferred
from goldsmith.judge.report import CriterionReport
from goldsmith.kinds.evaluate.heldout import Row
from goldsmith.kinds.evaluate.schema import EvaluateConfig, JudgeReport
from goldsmith.kinds.evaluate.scorers import HAS_A_SAY, Scored

if TYPE_CHECKING:
    from goldsmith.context import JobContext
    from goldsmith.teacher import Teacher

NOTHING = "(nothing was written)"


@dataclass
class Opinions:
    """Of every arm and row, 0 to 1; None where there is no readable opinion."""

    by_arm: dict[str, list[float | None]] = field(default_factory=dict)
    criteria: dict[str, CriterionReport] = field(default_factory=dict)
    teacher: str = ""
    model: str = ""
    rehearsal: bool = False
    unreadable: int = 0
    held_back: int = 0
    """Rows that the judge was not shown, because it works elsewhere and they hold personal data."""
    spent_usd: float = 0.0
    out_of_budget: bool = False
    first_preferred: float | None = None

    @property
    def counting(self) -> list[str]:
        return [name for name in CRITERIA if self.criteria and self.criteria[name].counts]

    def judged(self) -> int:
        return sum(all(one is not None for one in row) for row in zip(*self.by_arm.values(), strict=True))

    def why_not(self, rows: Sequence[Row]) -> str | None:
        """Why not all that was to be judged is judged."""
        if self.out_of_budget:
            return "the budget ended before everything was judged; raise budget_usd"
        if not self.counting:
            return "the judge did not tell the planted pairs of its examination apart by any criterion, so it was not heard"
        shown = sum(map(HAS_A_SAY["judge"], rows)) - self.held_back
        if not shown:
            return f"all {self.held_back} rows hold personal data, which only a judge on this machine or its network is shown"
        missing = shown - self.judged()
        return f"{missing} rows have no readable opinion of every arm" if missing else None

    def report(self, config: EvaluateConfig) -> JudgeReport:
        assert config.judge is not None
        return JudgeReport(
            mode=config.judge,
            rubric=rubric().version,
            teacher=self.teacher,
            model=self.model,
            criteria=self.criteria,
            judged=self.judged(),
            first_preferred=self.first_preferred,
            unreadable=self.unreadable,
            held_back=self.held_back,
            spent_usd=self.spent_usd,
            stopped_by="budget" if self.out_of_budget else None,
        )


def examine(rows: Sequence[Row], config: EvaluateConfig, ctx: JobContext) -> Opinions:
    """Before anything is answered: a judge that cannot be asked, or is not worth hearing, shall say so first."""
    found = Opinions()

    async def ask(judge: Judge) -> None:
        found.criteria = await judge.examine()

    _with_judge(ask, rows, found, config, ctx, lambda: ctx.progress(2, "examining the judge"))
    return found


def judge(arms: Sequence[Scored], rows: Sequence[Row], found: Opinions, config: EvaluateConfig, ctx: JobContext) -> None:
    """Fill `found.by_arm`. What an earlier attempt was told is not paid again: the ledger has it."""
    found.by_arm = {arm.arm: [None] * len(rows) for arm in arms}
    places = [place for place, row in enumerate(rows) if HAS_A_SAY["judge"](row)]
    if not found.counting or found.out_of_budget:
        return
    asked = 0

    def told() -> None:
        nonlocal asked
        asked += 1
        ctx.progress(min(95.9, 90 + asked / 1000), f"the judge has answered {asked} questions about {len(places)} prompts")

    async def ask(judge: Judge) -> None:
        shown = [place for place in places if judge.teacher.local or not _personal(rows[place], arms, place)]
        found.held_back = len(places) - len(shown)
        if found.held_back:
            ctx.log(f"{found.held_back} rows hold personal data and are not shown to {judge.teacher.provider}")
        if config.judge == "graded":
            await _graded(judge, arms, rows, shown, found)
        else:
            await _pairs(judge, arms, rows, shown, found)

    _with_judge(ask, rows, found, config, ctx, told)


async def _graded(judge: Judge, arms: Sequence[Scored], rows: Sequence[Row], places: Sequence[int], found: Opinions) -> None:
    """Row by row, so that a budget that ends leaves whole rows."""
    wanted = list(product(places, arms))
    scores = await judge.score(
        [
            Text(_item(rows[place], arm.arm), rows[place].context, rows[place].example.input, _said(arm, place), _private(rows[place]))
            for place, arm in wanted
        ]
    )  # fmt: skip
    for (place, arm), said in zip(wanted, scores, strict=True):
        if said.samples:
            means = [mean for name in found.counting if (mean := said.mean(name)) is not None]
            found.by_arm[arm.arm][place] = fmean(means) / 10


async def _pairs(judge: Judge, arms: Sequence[Scored], rows: Sequence[Row], places: Sequence[int], found: Opinions) -> None:
    """Every arm against base, in both orders: 1 where it is preferred, 0 where base is, mean over the criteria that count."""
    base, *others = arms
    different = [(place, arm) for place, arm in product(places, others) if _said(arm, place) != _said(base, place)]
    wanted = [(place, arm, name) for place, arm in different for name in found.counting]
    votes = await judge.prefer(
        [
            (
                Two(
                    f"{_item(rows[place], arm.arm)}/{name}", rows[place].context, rows[place].example.input,
                    _said(arm, place), _said(base, place), _private(rows[place]),
                ),
                name,
            )
            for place, arm, name in wanted
        ]
    )  # fmt: skip
    found.first_preferred = first_preferred(votes)
    by_row: dict[tuple[int, str], list[Votes]] = {}
    for (place, arm, _), said in zip(wanted, votes, strict=True):
        by_row.setdefault((place, arm.arm), []).append(said)
    points = {"one": 1.0, "neither": 0.5, "other": 0.0}
    for place in places:
        found.by_arm[base.arm][place] = 0.5
        for arm in others:
            heard = by_row.get((place, arm.arm))
            if heard is None:  # word for word what base wrote
                found.by_arm[arm.arm][place] = 0.5
            elif all(one.both_orders for one in heard):
                found.by_arm[arm.arm][place] = fmean(points[one.prefers] for one in heard)


def _with_judge(
    ask: Callable[[Judge], Awaitable[None]],
    rows: Sequence[Row],
    found: Opinions,
    config: EvaluateConfig,
    ctx: JobContext,
    told: Callable[[], None],
) -> None:
    assert config.teacher is not None
    assert config.budget_usd is not None
    recorded = any(map(_private, rows))
    teacher = ctx.teacher(config.teacher, model=config.model, budget_usd=config.budget_usd, recorded=recorded)
    asyncio.run(_ask(ask, teacher, found, config, told))


async def _ask(
    ask: Callable[[Judge], Awaitable[None]], teacher: Teacher, found: Opinions, config: EvaluateConfig, told: Callable[[], None]
) -> None:
    async with aclosing(teacher):
        judge = Judge(teacher, samples=config.judge_samples, concurrency=config.concurrency, told=told)
        await ask(judge)
        found.teacher, found.model, found.rehearsal = teacher.provider, teacher.model, teacher.rehearsal
        found.unreadable += judge.unreadable
        found.out_of_budget |= judge.out_of_budget
        found.spent_usd = teacher.spent_usd


def _item(row: Row, arm: str) -> str:
    return f"{row.example.source}/evaluate/{arm}"  # by its source it is found when somebody's data is erased


def _said(arm: Scored, place: int) -> str:
    return arm.answers.texts[place].strip() or NOTHING


def _personal(row: Row, arms: Sequence[Scored], place: int) -> bool:
    """Whether personal data is in what somebody typed, or in what a model made of it."""
    texts = (row.example.input, *(_said(arm, place) for arm in arms)) if _private(row) else ()
    return privacy.personal(texts, row.example.language) is not None


def _private(row: Row) -> bool:
    return row.example.private
