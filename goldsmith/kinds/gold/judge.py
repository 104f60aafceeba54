"""A language model's opinion of answers that passed the gates: K1, K2, K7 and K9 by a written rubric. It is examined first.

The examination has pairs whose better text is known. Each pair is asked in both orders and each of its texts is scored alone,
`samples` times. Of a criterion that the judge does not tell apart there, no score counts: no row is dropped for it, and the
result says so. What an opinion is worth beyond that is not known: no person's ratings are behind it.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from goldsmith import gates
from goldsmith.kinds.gold.answers import Outcome
from goldsmith.kinds.gold.schema import CriterionReport, GoldConfig, JudgeConfig, JudgeReport
from goldsmith.teacher import BudgetReached, NotAnswered, Teacher, Waiting
from goldsmith.teacher.bounded import for_each

CRITERIA = ("K1", "K2", "K7", "K9")
PASS_MARK = 5  # of 10: what the devserver's own evaluation takes for passed
TELLS_APART = 0.8  # of the planted pairs of a criterion, in both orders and by the scores
MAX_TOKENS = 300

_SCORES = {
    "type": "object",
    "properties": {**{name: {"type": "integer"} for name in CRITERIA}, "why": {"type": "string"}},
    "required": [*CRITERIA, "why"],
    "additionalProperties": False,
}
_BETTER = {
    "type": "object",
    "properties": {"better": {"type": "string", "enum": ["A", "B"]}, "why": {"type": "string"}},
    "required": ["better", "why"],
    "additionalProperties": False,
}


class Planted(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    criterion: Literal["K1", "K2", "K7", "K9"]
    context: str
    input: str
    good: str
    bad: str


class Rubric(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(ge=1)
    system: str
    score: str
    pair: str
    planted: tuple[Planted, ...] = Field(min_length=1)


@lru_cache
def rubric() -> Rubric:
    return Rubric.model_validate(tomllib.loads(Path(__file__).with_name("judge.toml").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Scores:
    """Of one text: the readable samples, for each criterion."""

    samples: list[dict[str, int]]
    why: list[str]

    def mean(self, criterion: str) -> float | None:
        return fmean(sample[criterion] for sample in self.samples) if self.samples else None

    def passes(self, criterion: str) -> bool:
        """The majority of the samples; a tie passes, and so does a text that was never readably judged."""
        below = sum(sample[criterion] < PASS_MARK for sample in self.samples)
        return 2 * below <= len(self.samples)


@dataclass
class _Question:
    item: str
    prompt: str
    schema: dict[str, Any]
    recorded: bool | None
    read: Callable[[dict[str, Any]], None]
    """Takes the parsed answer in; raises `KeyError`, `TypeError` or `ValueError` when it is not of that shape."""


@dataclass
class _Asked:
    unreadable: int = 0
    waiting: int = 0
    out_of_budget: bool = False
    texts: dict[str, Scores] = field(default_factory=dict)


async def judge(passed: Sequence[Outcome], teacher: Teacher, config: GoldConfig, *, batch: bool) -> JudgeReport:
    """Examine the judge, then let it score every outcome; those that a majority finds below the mark get a `failed`.

    Raises `Requeue` while answers of a batch are outstanding. Within the job's budget: where it ends, what is not judged stays.
    """
    assert config.judge is not None
    asked = _Asked()
    counts, examined = await _examine(teacher, config, config.judge, asked, batch=batch)
    scores: list[Scores] = []
    if any(counts.values()) and not asked.out_of_budget:
        scores = await _score(
            [(f"judging/{one.row.source}/{one.row.config_id}", _of(one), one.row.private) for one in passed],
            teacher, config, config.judge, asked, batch=batch,
        )  # fmt: skip
    for outcome, said in zip(passed, scores, strict=False):
        outcome.scores = {name: said.mean(name) for name in CRITERIA}
        below = [name for name in CRITERIA if counts[name] and not said.passes(name)]
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


def _of(outcome: Outcome) -> dict[str, str]:
    assert outcome.answer is not None
    _, context = gates.prompt_parts(outcome.row.messages[0].content, outcome.row.input)
    return {"context": context or "(not known)", "input": outcome.row.input, "text": outcome.answer.text.strip()}


async def _examine(
    teacher: Teacher, config: GoldConfig, wanted: JudgeConfig, asked: _Asked, *, batch: bool
) -> tuple[dict[str, bool], dict[str, CriterionReport]]:
    """Which criteria count, and the numbers behind that."""
    planted = rubric().planted
    picked: list[Counter[str]] = [Counter() for _ in range(2 * len(planted))]  # by order: good first, good second
    questions = []
    for number, pair in enumerate(planted):
        for order, (a, b) in enumerate([(pair.good, pair.bad), (pair.bad, pair.good)]):

            def read(said: dict[str, Any], votes: Counter[str] = picked[2 * number + order]) -> None:
                if said["better"] not in ("A", "B"):
                    raise ValueError(said["better"])
                votes[said["better"]] += 1

            prompt = rubric().pair.format(criterion=pair.criterion, context=pair.context, input=pair.input, a=a, b=b)
            questions.append(_Question(f"judge/pair-{number}-{order}", prompt.strip(), _BETTER, False, read))
    await _ask(questions, teacher, config, wanted, asked, batch=batch)
    texts = [
        (f"judge/planted-{number}-{which}", {"context": pair.context, "input": pair.input, "text": text}, False)
        for number, pair in enumerate(planted)
        for which, text in (("good", pair.good), ("bad", pair.bad))
    ]
    scores = await _score(texts, teacher, config, wanted, asked, batch=batch)

    reports: dict[str, CriterionReport] = {}
    for name in CRITERIA:
        numbers = [number for number, pair in enumerate(planted) if pair.criterion == name]
        right = [
            picked[2 * number]["A"] > picked[2 * number]["B"] and picked[2 * number + 1]["B"] > picked[2 * number + 1]["A"]
            for number in numbers
        ]
        apart = [_apart(scores[2 * number], scores[2 * number + 1], name) for number in numbers]
        tells = fmean(right) >= TELLS_APART and fmean(apart) >= TELLS_APART
        votes = sum((picked[2 * number + order] for number in numbers for order in (0, 1)), Counter[str]())
        reports[name] = CriterionReport(
            counts=tells and not asked.out_of_budget,
            pairs=len(numbers),
            pairs_right=sum(right),
            scores_apart=sum(apart),
            first_preferred=votes["A"] / votes.total() if votes else None,
        )
    return {name: report.counts for name, report in reports.items()}, reports


def _apart(good: Scores, bad: Scores, criterion: str) -> bool:
    high, low = good.mean(criterion), bad.mean(criterion)
    return high is not None and low is not None and high >= PASS_MARK and high > low


async def _score(
    texts: Sequence[tuple[str, dict[str, str], bool]],
    teacher: Teacher,
    config: GoldConfig,
    wanted: JudgeConfig,
    asked: _Asked,
    *,
    batch: bool,
) -> list[Scores]:
    """In the order of the texts: (item, parts of the prompt, whether a person's words are in it)."""
    scores = [Scores([], []) for _ in texts]
    questions = []
    for found, (item, parts, private) in zip(scores, texts, strict=True):

        def read(said: dict[str, Any], found: Scores = found) -> None:
            sample = {name: said[name] for name in CRITERIA}
            if not all(isinstance(value, int) and 0 <= value <= 10 for value in sample.values()):
                raise ValueError(sample)
            found.samples.append(sample)
            found.why.append(" ".join(str(said["why"]).split())[:300])

        questions.append(_Question(item, rubric().score.format(**parts).strip(), _SCORES, private, read))
    await _ask(questions, teacher, config, wanted, asked, batch=batch)
    return scores


async def _ask(
    questions: Sequence[_Question], teacher: Teacher, config: GoldConfig, wanted: JudgeConfig, asked: _Asked, *, batch: bool
) -> None:
    """Every question `samples` times; answers that cannot be read are counted, not repeated."""

    async def one(numbered: tuple[int, _Question]) -> bool:
        ordinal, question = numbered
        try:
            got = await teacher.ask(
                item=question.item,
                system=rubric().system.strip(),
                prompt=question.prompt,
                max_tokens=MAX_TOKENS,
                json_schema=question.schema,
                ordinal=ordinal,
                recorded=question.recorded,
                batch=batch,
            )
            question.read(json.loads(got.text))
        except BudgetReached:
            asked.out_of_budget = True
        except Waiting:
            asked.waiting += 1
        except (NotAnswered, KeyError, TypeError, ValueError):
            asked.unreadable += 1
        return not asked.out_of_budget

    samples = ((ordinal, question) for question in questions for ordinal in range(wanted.samples))
    await for_each(samples, one, concurrency=config.concurrency)
    if asked.waiting:
        await teacher.send()  # comes back only when there is no money for what waits
        asked.out_of_budget = True


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
