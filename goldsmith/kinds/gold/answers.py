"""One row: ask, check, tell the teacher what was wrong, check again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from goldsmith import gates
from goldsmith.datasets import Example, Message
from goldsmith.kinds.gold.questions import REPAIR, SYSTEM, shared
from goldsmith.kinds.gold.schema import GoldConfig
from goldsmith.teacher import Answer, BudgetReached, NotAnswered, Teacher, Waiting


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
    prompt = row.messages[0].content
    outcome = Outcome(row)

    async def ask(prompt: str) -> None:
        got = await teacher.ask(
            item=f"{row.source}/{row.config_id}",
            system=SYSTEM,
            prompt=prompt,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            recorded=row.private,
            batch=batch,
            shared=shared(row),
            sharing=sharing,
        )
        outcome.answers.append(got)
        outcome.answer = got
        outcome.failed = check(got, row, config)

    try:
        await ask(prompt)
        if outcome.failed and config.repair:
            outcome.first_failed = outcome.failed
            reasons = "\n".join(f"- {reason}" for reason in outcome.failed.values())
            assert outcome.answer is not None
            await ask(REPAIR.format(prompt=prompt, answer=outcome.answer.text, reasons=reasons))
    except BudgetReached:
        outcome.missing = "budget"
    except Waiting:
        outcome.missing = "waiting"
    except NotAnswered as error:
        outcome.failed = {"no_answer": error.detail}
    finally:
        outcome.first_failed = outcome.first_failed or outcome.failed
    return outcome


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


def drop_near_duplicates(outcomes: Sequence[Outcome], threshold: float) -> None:
    """Of the rows that passed, those whose answer repeats an earlier one get a `failed`."""
    passed = [outcome for outcome in outcomes if outcome.passed]
    texts = [outcome.answer.text if outcome.answer else "" for outcome in passed]
    for number, first in gates.near_duplicates(texts, threshold).items():
        row = passed[first].row
        passed[number].failed = {gates.NEAR_DUPLICATE: f"nearly the answer of {row.source} under {row.config_id}"}
