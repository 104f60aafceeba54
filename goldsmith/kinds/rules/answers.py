"""The teacher's rules for one session: JSON or nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from goldsmith.kinds.rules.questions import SCHEMA, ask_of, own_prompt, prompt, system
from goldsmith.sessions import Session
from goldsmith.teacher import Answer, BudgetReached, NotAnswered, Teacher

MAX_TOKENS = 2048  # forty sentences
TEMPERATURE, SEED = 0.1, 42  # as in the reference
LONGEST = 400  # characters of one rule; a guess: longer ones are no single instruction
NO_RULE = "no rule was found"
REJECTED = "\n\nRejected answer:\n"

_REPAIR = """{prompt}{rejected}{answer}

Reasons:
- {reason}

Answer anew with JSON of the form {{"rules": ["…"]}} and nothing else."""


@dataclass
class Asked:
    """One question and what came of it."""

    rules: list[str] = field(default_factory=list)
    bad_json: int = 0
    beyond: int = 0
    too_long: int = 0
    dropped: str | None = None


@dataclass
class Extraction:
    session: Session
    feedback: Asked | None = None
    """None: nobody said anything, or it was not asked."""
    own: Asked | None = None
    out_of_budget: bool = False

    @property
    def empty(self) -> bool:
        """Whether its feedback was read and the list of rules came back empty: not a failed call, nor rules that were left out."""
        return self.feedback is not None and self.feedback.dropped == NO_RULE and not self.feedback.too_long

    @property
    def dropped(self) -> str | None:
        """Why the session teaches nothing; None: it does."""
        asked = self.feedback or self.own
        return asked.dropped if asked else "nobody said anything about the answer"


async def extract(session: Session, teacher: Teacher, *, own: bool, most: int) -> Extraction:
    """Ask what the feedback teaches and, where it teaches something or there is none, what the query shows by itself."""
    found = Extraction(session)
    ask = ask_of(session)
    try:
        if ask is not None:
            found.feedback = await _ask(session, prompt(session, ask), teacher, session.session_id, most)
        if own and (found.feedback is None or found.feedback.rules):
            found.own = await _ask(session, own_prompt(session), teacher, f"{session.session_id}/own", most)
    except BudgetReached:
        found.out_of_budget = True
    return found


async def _ask(session: Session, question: str, teacher: Teacher, item: str, most: int) -> Asked:
    asked = Asked()
    said = question
    for last in (False, True):
        try:
            got = await teacher.ask(
                item=item,
                system=system(session),
                prompt=said,
                max_tokens=MAX_TOKENS,
                json_schema=SCHEMA,
                recorded=session.private,
                temperature=TEMPERATURE if teacher.takes_temperature else None,
                seed=SEED if teacher.takes_temperature else None,
            )
        except NotAnswered:
            asked.dropped = "the teacher gave no answer"
            return asked
        try:
            rules = read(got)
        except ValueError as error:
            asked.bad_json += 1
            shown = got.text[: 4 * MAX_TOKENS]
            said = _REPAIR.format(prompt=question, rejected=REJECTED, answer=shown, reason=error)
            rules = complete(got) if last else []
            if not rules:
                continue
        short = [rule for rule in rules if len(rule) <= LONGEST]
        asked.rules, asked.beyond, asked.too_long = short[:most], len(short[most:]), len(rules) - len(short)
        asked.dropped = None if asked.rules else NO_RULE
        return asked
    asked.dropped = "the answer was no JSON, twice"
    return asked


def read(got: Answer) -> list[str]:
    """The rules, each once, in one line; raises `ValueError` that says what is wrong with the answer."""
    if got.stop_reason != "end_turn":
        raise ValueError(f"the answer ended by {got.stop_reason}")
    try:
        data = json.loads(got.text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no JSON: {error}") from error
    rules = data.get("rules") if isinstance(data, dict) else None
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise ValueError('this is not {"rules": [strings]}')
    return _lines(rules)


def complete(got: Answer) -> list[str]:
    """The rules of a list that was cut for its length and is no shorter the second time, without the one that was cut."""
    _, found, listed = got.text.partition('"rules"')
    if got.stop_reason != "max_tokens" or not found:
        return []
    return _lines(
        json.loads(one, strict=False) for one in re.findall(r'"(?:[^"\\\n]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"', listed)
    )


def _lines(rules: Iterable[str]) -> list[str]:
    unique: dict[str, str] = {}
    for rule in rules:
        line = " ".join(re.sub(r"[\x00-\x1f\ud800-\udfff]", " ", rule).split())
        if line:
            unique.setdefault(line.casefold(), line)
    return list(unique.values())
