"""The teacher's rules for one session: JSON or nothing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from goldsmith.kinds.rules.sessions import SCHEMA, SYSTEM, Session
from goldsmith.teacher import Answer, BudgetReached, NotAnswered, Teacher

MAX_TOKENS = 1024  # twenty sentences
LONGEST = 400  # characters of one rule; a guess: longer ones are no single instruction

_REPAIR = """{prompt}

Rejected answer:
{answer}

Reasons:
- {reason}

Answer anew with JSON of the form {{"rules": ["…"]}} and nothing else."""


@dataclass
class Extraction:
    session: Session
    rules: list[str] = field(default_factory=list)
    bad_json: int = 0
    dropped: str | None = None
    out_of_budget: bool = False


async def extract(session: Session, teacher: Teacher) -> Extraction:
    found = Extraction(session)
    prompt = session.prompt
    for _ in range(2):
        try:
            got = await teacher.ask(
                item=session.run.run_id, system=SYSTEM, prompt=prompt, max_tokens=MAX_TOKENS, json_schema=SCHEMA
            )
        except BudgetReached:
            found.out_of_budget, found.dropped = True, "the budget ended"
            return found
        except NotAnswered:
            found.dropped = "the teacher gave no answer"
            return found
        try:
            found.rules = read(got)
        except ValueError as error:
            found.bad_json += 1
            prompt = _REPAIR.format(prompt=session.prompt, answer=got.text, reason=error)
        else:
            found.dropped = None if found.rules else "no rule was found"
            return found
    found.dropped = "the answer was no JSON, twice"
    return found


def read(got: Answer) -> list[str]:
    """The rules, each once, in one line; raises `ValueError` that says what is wrong with the answer."""
    if got.stop_reason != "end_turn":
        raise ValueError(f"the answer ended by {got.stop_reason}")
    try:
        data = json.loads(got.text)
    except ValueError as error:
        raise ValueError(f"this is no JSON: {error}") from error
    rules = data.get("rules") if isinstance(data, dict) else None
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise ValueError('this is not {"rules": [strings]}')
    unique: dict[str, str] = {}
    for rule in rules:
        line = " ".join(re.sub(r"[\x00-\x1f]", " ", rule).split())
        if 0 < len(line) <= LONGEST:
            unique.setdefault(line.casefold(), line)
    return list(unique.values())
