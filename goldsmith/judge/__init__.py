"""A language model's opinion of texts by a written rubric: K1, K2, K7 and K9. It is examined before it is heard.

The examination has pairs whose better text is known. Each pair is asked in both orders and each of its texts is scored alone,
`samples` times. Of a criterion that the judge does not tell apart there, nothing that it says counts. What an opinion is worth
beyond that is not known: no person's ratings are behind it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from goldsmith.judge.pairs import Votes, first_preferred
from goldsmith.judge.report import CriterionReport
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
    return Rubric.model_validate(tomllib.loads(Path(__file__).with_name("rubric.toml").read_text(encoding="utf-8")))


class Text(NamedTuple):
    """One text that is scored alone."""

    item: str
    """What it stands for in the ledger."""
    context: str
    input: str
    text: str
    private: bool
    """Whether a person's words may be in it."""


class Two(NamedTuple):
    """Two texts of which the better one is asked for."""

    item: str
    context: str
    input: str
    one: str
    other: str
    private: bool


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
    read: Callable[[int, dict[str, Any]], None]
    """Takes the parsed answer of a sample in; raises `KeyError`, `TypeError` or `ValueError` when it is not of that shape."""


@dataclass
class Judge:
    """Every question is asked `samples` times; answers that cannot be read are counted, not repeated."""

    teacher: Teacher
    samples: int
    concurrency: int
    batch: bool = False
    told: Callable[[], None] = lambda: None
    """Called after every answer; what it raises ends the judging."""
    unreadable: int = 0
    out_of_budget: bool = False
    _waiting: int = 0

    async def examine(self) -> dict[str, CriterionReport]:
        """By criterion, whether it counts and the numbers behind that."""
        planted = rubric().planted
        votes = await self.prefer(
            [(Two(f"judge/pair-{n}", p.context, p.input, p.good, p.bad, False), p.criterion) for n, p in enumerate(planted)]
        )
        texts = [
            Text(f"judge/planted-{number}-{which}", pair.context, pair.input, text, False)
            for number, pair in enumerate(planted)
            for which, text in (("good", pair.good), ("bad", pair.bad))
        ]
        scores = await self.score(texts)
        reports: dict[str, CriterionReport] = {}
        for name in CRITERIA:
            numbers = [number for number, pair in enumerate(planted) if pair.criterion == name]
            right = [votes[number].prefers == "one" for number in numbers]
            apart = [_apart(scores[2 * number], scores[2 * number + 1], name) for number in numbers]
            tells = fmean(right) >= TELLS_APART and fmean(apart) >= TELLS_APART
            reports[name] = CriterionReport(
                counts=tells and not self.out_of_budget,
                pairs=len(numbers),
                pairs_right=sum(right),
                scores_apart=sum(apart),
                first_preferred=first_preferred([votes[number] for number in numbers]),
            )
        return reports

    async def score(self, texts: Sequence[Text]) -> list[Scores]:
        """In the order of the texts; a text without a readable answer has no samples."""
        scores = [Scores([], []) for _ in texts]
        questions = []
        for found, one in zip(scores, texts, strict=True):

            def read(_: int, said: dict[str, Any], found: Scores = found) -> None:
                sample = {name: said[name] for name in CRITERIA}
                if not all(isinstance(value, int) and 0 <= value <= 10 for value in sample.values()):
                    raise ValueError(sample)
                found.samples.append(sample)
                found.why.append(_line(said["why"]))

            prompt = rubric().score.format(context=one.context, input=one.input, text=one.text)
            questions.append(_Question(one.item, prompt.strip(), _SCORES, one.private, read))
        await self._ask(questions)
        return scores

    async def prefer(self, pairs: Sequence[tuple[Two, str]]) -> list[Votes]:
        """Which of two texts does better by a criterion, in both orders; in the order of the pairs."""
        found = [Votes() for _ in pairs]
        questions = []
        for votes, (two, criterion) in zip(found, pairs, strict=True):
            for order, (a, b) in enumerate(((two.one, two.other), (two.other, two.one))):

                def read(sample: int, said: dict[str, Any], votes: Votes = votes, order: int = order) -> None:
                    if said["better"] not in ("A", "B"):
                        raise ValueError(said["better"])
                    votes.said[order, sample] = said["better"]
                    votes.why.append(_line(said.get("why", "")))

                prompt = rubric().pair.format(criterion=criterion, context=two.context, input=two.input, a=a, b=b)
                questions.append(_Question(f"{two.item}-{order}", prompt.strip(), _BETTER, two.private, read))
        await self._ask(questions)
        return found

    async def _ask(self, questions: Sequence[_Question]) -> None:
        async def one(numbered: tuple[int, _Question]) -> bool:
            ordinal, question = numbered
            try:
                got = await self.teacher.ask(
                    item=question.item,
                    system=rubric().system.strip(),
                    prompt=question.prompt,
                    max_tokens=MAX_TOKENS,
                    json_schema=question.schema,
                    ordinal=ordinal,
                    recorded=question.recorded,
                    batch=self.batch,
                )
            except BudgetReached:
                self.out_of_budget = True
            except Waiting:
                self._waiting += 1
            except NotAnswered:
                self.unreadable += 1
            else:
                try:
                    question.read(ordinal, json.loads(got.text))
                except (KeyError, TypeError, ValueError):
                    self.unreadable += 1
            self.told()
            return not self.out_of_budget

        samples = ((ordinal, question) for question in questions for ordinal in range(self.samples))
        await for_each(samples, one, concurrency=self.concurrency)
        if self._waiting:
            await self.teacher.send()  # comes back only when there is no money for what waits
            self.out_of_budget = True


def _apart(good: Scores, bad: Scores, criterion: str) -> bool:
    high, low = good.mean(criterion), bad.mean(criterion)
    return high is not None and low is not None and high >= PASS_MARK and high > low


def _line(why: object) -> str:
    return " ".join(str(why).split())[:300]
