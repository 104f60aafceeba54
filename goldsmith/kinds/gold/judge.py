"""A language model's opinion of answers that passed the gates, by the written rubric of `goldsmith.judge`, which examines it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from goldsmith import gates
from goldsmith.judge import CRITERIA, Judge, Scores, Text, rubric
from goldsmith.kinds.gold.answers import Outcome
from goldsmith.kinds.gold.schema import GoldConfig, JudgeReport
from goldsmith.teacher import Teacher


async def judge(passed: Sequence[Outcome], teacher: Teacher, config: GoldConfig, *, batch: bool) -> JudgeReport:
    """Examine the judge, then let it score every outcome; those that a majority finds below the mark get a `failed`.

    Raises `Requeue` while answers of a batch are outstanding. Within the job's budget: where it ends, what is not judged stays.
    """
    assert config.judge is not None
    asked = Judge(teacher, samples=config.judge.samples, concurrency=config.concurrency, batch=batch)
    examined = await asked.examine()
    counting = [name for name in CRITERIA if examined[name].counts]
    scores: list[Scores] = []
    if counting and not asked.out_of_budget:
        scores = await asked.score([_text(one) for one in passed])
    for outcome, said in zip(passed, scores, strict=False):
        outcome.scores = {name: said.mean(name) for name in CRITERIA}
        below = [name for name in counting if not said.passes(name)]
        if config.judge.drop:
            outcome.failed = {f"judge_{name}": f"{said.mean(name):.1f} of 10; {said.why[0]}" for name in below}
    return JudgeReport(
        rubric=rubric().version,
        model=teacher.model,
        judged=sum(bool(said.samples) for said in scores),
        unreadable=asked.unreadable,
        stopped_by="budget" if asked.out_of_budget else None,
        criteria={
            name: examined[name].model_copy(
                update={
                    "mean": _mean([mean for said in scores if (mean := said.mean(name)) is not None]),
                    "below": sum(not said.passes(name) for said in scores),
                }
            )
            for name in CRITERIA
        },
    )


def _text(outcome: Outcome) -> Text:
    assert outcome.answer is not None
    row = outcome.row
    _, context = gates.prompt_parts(row.messages[0].content, row.input)
    item = f"judging/{row.source}/{row.config_id}"
    return Text(item, context or "(not known)", row.input, outcome.answer.text.strip(), row.private)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
