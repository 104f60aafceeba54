"""One row: ask, check, tell the teacher what was wrong, check again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from goldsmith import gates
from goldsmith.datasets import Example, Message
from goldsmith.kinds.gold.questions import REPAIR, SYSTEM, beginning, shared
from goldsmith.kinds.gold.schema import GoldConfig
from goldsmith.teacher import Answer, BudgetReached, NotAnswered, Teacher, Waiting
from goldsmith.teacher.bounded import for_each

LOOKED_UP_AT_ONCE = 500  # rows, where no question waits for its answer


@dataclass
class Outcome:
    """What became of a row. It is in the dataset when `failed` is empty and `answer` is there."""

    row: Example
    answer: Answer | None = None
    failed: dict[str, str] = field(default_factory=dict)
    """Of the last answer: rule and reason, the first broken rule first."""
    first_failed: dict[str, str] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    scores: dict[str, float | None] = field(default_factory=dict)
    """A judge's, by criterion; empty without one."""
    missing: Literal["", "waiting", "budget"] = ""
    """Why its next answer, the first or the repaired one, is not there."""

    @property
    def asked(self) -> bool:
        return bool(self.answers or self.failed)

    @property
    def passed(self) -> bool:
        return self.answer is not None and not self.failed

    @property
    def repaired(self) -> bool:
        return self.passed and bool(self.first_failed)

    def example(self) -> Example:
        assert self.answer is not None
        return self.row.model_copy(
            update={
                "messages": [*self.row.messages, Message(role="assistant", content=self.answer.text.strip())],
                "rehearsal": self.row.rehearsal or self.answer.rehearsal,
                "gates": {
                    **dict.fromkeys(gates.RULES),
                    "repaired": sorted(self.first_failed) if self.repaired else [],
                    "model": self.answer.model,
                    **({"judge": self.scores} if self.scores else {}),
                },
            }
        )


async def answer(row: Example, teacher: Teacher, config: GoldConfig, *, batch: bool, sharing: int) -> Outcome:
    """`sharing`: rows whose prompts begin as this one does. A repair that no longer fits the budget drops the row."""
    outcome = Outcome(row)
    await _ask(outcome, row.messages[0].content, teacher, config, batch=batch, sharing=sharing, recorded=row.private)
    outcome.first_failed = outcome.failed
    if outcome.failed and outcome.answer is not None and config.repair:
        await repair(
            outcome, list(outcome.failed.values()), teacher, config, batch=batch, sharing=sharing, recorded=row.private
        )
    return outcome


async def repair(
    outcome: Outcome,
    reasons: Sequence[str],
    teacher: Teacher,
    config: GoldConfig,
    *,
    batch: bool,
    sharing: int,
    recorded: bool,
) -> None:
    """Ask once more with the reasons. `failed` is then that of the new answer; as it was where none came."""
    assert outcome.answer is not None
    told = "\n".join(f"- {reason}" for reason in reasons)
    prompt = REPAIR.format(prompt=outcome.row.messages[0].content, answer=outcome.answer.text, reasons=told)
    await _ask(outcome, prompt, teacher, config, batch=batch, sharing=sharing, recorded=recorded)


async def _ask(
    outcome: Outcome, prompt: str, teacher: Teacher, config: GoldConfig, *, batch: bool, sharing: int, recorded: bool
) -> None:
    row = outcome.row
    try:
        got = await teacher.ask(
            item=f"{row.source}/{row.config_id}",
            system=SYSTEM,
            prompt=prompt,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            recorded=recorded,
            batch=batch,
            shared=shared(row),
            sharing=sharing,
        )
    except BudgetReached:
        outcome.missing = "budget"
    except Waiting:
        outcome.missing = "waiting"
    except NotAnswered as error:
        outcome.failed = {"no_answer": error.detail}
    else:
        outcome.answers.append(got)
        outcome.answer = got
        outcome.failed = check(got, row, config)


def at_once(config: GoldConfig, *, batch: bool) -> int:
    return LOOKED_UP_AT_ONCE if batch else config.concurrency


def check(got: Answer, row: Example, config: GoldConfig) -> dict[str, str]:
    """The broken rules of an answer with their reasons; what the provider says of its end counts first."""
    task, context = gates.prompt_parts(row.messages[0].content, row.input)
    found = gates.check(
        got.text,
        input=row.input,
        context=context,
        language=row.language,
        min_words=config.min_words,
        max_words=config.max_words,
        task=task,
    )
    said: dict[str, str] = {}
    if got.stop_reason == "refusal":
        said["refusal"] = "the teacher declined to answer"
    elif got.stop_reason != "end_turn":
        said["truncated"] = f"the answer was cut ({got.stop_reason}) at {config.max_tokens} tokens"
    return {**said, **{rule: reason for rule, reason in found.items() if reason is not None and rule not in said}}


def find_near_duplicates(outcomes: Sequence[Outcome], threshold: float) -> list[tuple[Outcome, Outcome]]:
    """Of the rows that passed, those whose answer repeats an earlier one get a `failed`; each with the one that it repeats.

    Answers that were asked for again because they did count after all others: they push nothing out.
    """
    passed = sorted((one for one in outcomes if one.passed), key=lambda one: gates.NEAR_DUPLICATE in one.first_failed)
    texts = [outcome.answer.text if outcome.answer else "" for outcome in passed]
    found = [(passed[number], passed[first]) for number, first in gates.near_duplicates(texts, threshold).items()]
    for outcome, first in found:
        outcome.failed = {gates.NEAR_DUPLICATE: f"nearly the answer of {first.row.source} under {first.row.config_id}"}
        outcome.first_failed = outcome.first_failed or outcome.failed
    return found


async def vary(
    outcomes: Sequence[Outcome], threshold: float, teacher: Teacher, config: GoldConfig, *, batch: bool, sharing: Counter[str]
) -> None:
    """Ask once more, with what it repeats, for each answer that repeats an earlier one; one that still does is dropped.

    An answer that is a repaired one already is dropped at once. `sharing`: how many prompts begin in each way.
    """
    repeats = find_near_duplicates(outcomes, threshold)

    async def one(repeat: tuple[Outcome, Outcome]) -> bool:
        outcome, first = repeat
        assert first.answer is not None
        reason = (
            f"nearly the same text was written for another prompt: {first.answer.text.strip()!r}; write what only fits this one"
        )
        await repair(
            outcome,
            [reason],
            teacher,
            config,
            batch=batch,
            sharing=sharing[beginning(outcome.row)],
            recorded=outcome.row.private or first.row.private,
        )
        return outcome.missing != "budget"

    again = [repeat for repeat in repeats if len(repeat[0].answers) == 1] if config.repair else []
    await for_each(again, one, concurrency=at_once(config, batch=batch))
    find_near_duplicates(outcomes, threshold)
