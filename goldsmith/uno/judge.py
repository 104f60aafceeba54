"""A language model's grade of an answer, 1 to 10, by the rules that its user taught. An opinion: no person's grade is behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, TypedDict

from goldsmith.teacher import Answer, NotAnswered, Teacher
from goldsmith.uno import prompts

LOWEST, HIGHEST = 1, 10
SEED = 42  # of sample 0, as in the reference
MAX_TOKENS = 512  # a sentence or two and a number; the reference allows 4,096 and uses a fraction
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "score": {"type": "integer"}},
    "required": ["reason", "score"],
    "additionalProperties": False,
}

REJECTED = "\n\nRejected answer:\n"
"""What stands before an answer that could not be read; the rehearsal teacher knows it."""


@dataclass
class Grade:
    """The readable samples of one answer."""

    scores: list[int] = field(default_factory=list)
    """Clamped to 1 to 10."""
    reasons: list[str] = field(default_factory=list)
    bad: int = 0
    """Answers that were not the JSON asked for; each is asked for again once."""
    clamped: int = 0
    """Scores below 1 or above 10."""
    unanswered: int = 0
    """Samples that the teacher gave no answer to."""

    @property
    def mean(self) -> float | None:
        """Of the samples that could be read, as one bad one must not make a good answer worthless; None: there is none."""
        return fmean(self.scores) if self.scores else None


class Sampling(TypedDict, total=False):
    temperature: float
    top_p: float
    seed: int


def greedy(teacher: Teacher) -> Sampling:
    """How `Teacher.ask` is told to answer the same again; nothing where the model takes no temperature."""
    return {"temperature": 0.0} if teacher.takes_temperature else {}


def sampled(teacher: Teacher, sample: int) -> Sampling:
    """How it is told to vary, with a seed for each sample, as a server that always begins with the same one would not; a model
    that takes no temperature varies as it likes."""
    return {"temperature": 1.0, "top_p": 0.9, "seed": SEED + sample} if teacher.takes_temperature else {}


async def grade(
    teacher: Teacher,
    *,
    item: str,
    question: str,
    rules: Sequence[str],
    answer: str,
    language: str | None,
    samples: int = 1,
    recorded: bool = True,
) -> Grade:
    """Ask for `samples` grades: the first greedily, the others sampled, as in UNO's reference.

    `rules`: those from feedback; where there are none the model's own; with neither the prompt says one for all. Raises
    `BudgetReached` and what else `Teacher.ask` raises, but not `NotAnswered`.
    """
    found = Grade()
    prompt = prompts.judge_prompt(question, rules, answer, language)
    for sample in range(samples):
        await _sample(found, teacher, item, prompts.JUDGE[prompts.language_of_prompts(language)], prompt, sample, recorded)
    return found


async def _sample(found: Grade, teacher: Teacher, item: str, system: str, prompt: str, sample: int, recorded: bool) -> None:
    asked = prompt
    for _ in range(2):
        try:
            got = await teacher.ask(
                item=item,
                system=system,
                prompt=asked,
                max_tokens=MAX_TOKENS,
                json_schema=SCHEMA,
                ordinal=sample,
                recorded=recorded,
                **(sampled(teacher, sample) if sample else greedy(teacher)),
            )
        except NotAnswered:
            found.unanswered += 1
            return
        try:
            score, reason = read(got)
        except ValueError as error:
            found.bad += 1
            asked = repair(prompt, got.text, str(error), '{"reason": "…", "score": 1 to 10}')
        else:
            found.scores.append(min(HIGHEST, max(LOWEST, score)))
            found.reasons.append(reason)
            found.clamped += not LOWEST <= score <= HIGHEST
            return


def read(got: Answer) -> tuple[int, str]:
    """Score and reason as they were given; raises `ValueError` that says what is wrong with the answer."""
    data = loaded(got)
    score, reason = data.get("score"), data.get("reason")
    if isinstance(score, bool) or not isinstance(score, int | float) or score != score // 1:
        raise ValueError('"score" is no whole number')
    if not isinstance(reason, str):
        raise ValueError('"reason" is no text')
    return int(score), reason


def loaded(got: Answer) -> dict[str, Any]:
    """The JSON object of an answer; raises `ValueError` that says what is wrong with it."""
    if got.stop_reason != "end_turn":
        raise ValueError(f"the answer ended by {got.stop_reason}")
    try:
        data = json.loads(got.text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise ValueError("this is no JSON object")
    return data


def repair(prompt: str, answer: str, reason: str, form: str) -> str:
    """The question once more, with what was wrong with the answer."""
    return f"{prompt}{REJECTED}{prompts.block('rejected', answer)}\n\n{reason}. Answer anew with JSON of the form {form}."
