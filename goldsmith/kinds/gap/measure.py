"""Three ways to say how new each rule of a session is: a reranker's, a cosine's, a teacher's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy

from goldsmith.errors import GoldsmithError
from goldsmith.kinds.gap.decide import Novelty
from goldsmith.student import Encoder, Reranker, Told
from goldsmith.teacher import BudgetReached, NotAnswered, Teacher
from goldsmith.teacher.bounded import for_each
from goldsmith.uno import prompts
from goldsmith.uno.judge import greedy, loaded, repair
from goldsmith.uno.taught import Taught, rules_text

SCHEMA = {
    "type": "object",
    "properties": {"covered": {"type": "array", "items": {"type": "integer"}}},
    "required": ["covered"],
    "additionalProperties": False,
}
MAX_TOKENS = 2048  # of a list of numbers, one for each rule; a session with 500 rules fits
AT_ONCE = 512  # texts between two looks at whether a cancel was asked for


@dataclass
class Measured:
    """By session id; sessions that could not be scored are not in it."""

    novelty: dict[str, Novelty] = field(default_factory=dict)
    bad_json: int = 0
    unanswered: int = 0
    out_of_budget: bool = False
    rehearsal: bool = False


def by_reranker(reranker: Reranker, sessions: Mapping[str, Taught], told: Told) -> Measured:
    """1 - P(yes) for each rule against all own rules at once, one a line."""
    own = {session_id: rules_text(session.own) for session_id, session in sessions.items()}
    pairs = {session_id: [(rule, own[session_id]) for rule in session.rules] for session_id, session in sessions.items()}
    asked = list(dict.fromkeys(pair for each in pairs.values() for pair in each))
    covered = dict(zip(asked, reranker.covered(asked, told), strict=True))
    return Measured({session_id: Novelty.of([1 - covered[pair] for pair in each]) for session_id, each in pairs.items()})


def by_embedding(encoder: Encoder, sessions: Mapping[str, Taught], told: Told) -> Measured:
    """1 - cosine of each rule to the nearest of the own rules."""
    texts = list(dict.fromkeys(text for session in sessions.values() for text in [*session.rules, *session.own]))
    parts = []
    for done in range(0, len(texts), AT_ONCE):
        told(done / len(texts))
        parts.append(encoder.encode(texts[done : done + AT_ONCE]))
    vectors = numpy.concatenate(parts)
    if not numpy.isfinite(vectors).all():
        first = int(numpy.flatnonzero(~numpy.isfinite(vectors).all(axis=1))[0])
        raise GoldsmithError(f"the encoder {encoder.name} gave a vector that is not finite for rule {first}")
    row = {text: number for number, text in enumerate(texts)}
    found = {}
    for session_id, session in sessions.items():
        rules, own = (vectors[[row[text] for text in each]] for each in (session.rules, session.own))
        found[session_id] = Novelty.of((1 - (rules @ own.T).max(axis=1)).clip(0, 2).tolist())
    return Measured(found)


async def by_judge(
    teacher: Teacher,
    sessions: Mapping[str, Taught],
    *,
    private: Collection[str],
    concurrency: int,
    told: Callable[[int], None],
) -> Measured:
    """What a teacher says, 0 to 10 for each rule. Ends with the budget; what was scored till then stands."""
    measured = Measured()
    done = 0

    async def one(entry: tuple[str, Taught]) -> bool:
        nonlocal done
        try:
            await _ask(measured, *entry, teacher, private)
        except BudgetReached:
            measured.out_of_budget = True
        done += 1
        told(done)
        return not measured.out_of_budget

    await for_each(sessions.items(), one, concurrency=concurrency)
    return measured


async def _ask(measured: Measured, session_id: str, session: Taught, teacher: Teacher, private: Collection[str]) -> None:
    prompt = asked = prompts.covered_prompt(session.rules, session.own)
    for _ in range(2 if len(prompt) <= prompts.LONGEST else 0):
        try:
            got = await teacher.ask(
                item=f"{session_id}/gap",
                system=prompts.COVERED[prompts.language_of_prompts(session.language)],
                prompt=asked,
                max_tokens=MAX_TOKENS,
                json_schema=SCHEMA,
                recorded=session_id in private,
                **greedy(teacher),
            )
        except NotAnswered:
            break
        measured.rehearsal |= got.rehearsal
        try:
            grades = loaded(got).get("covered")
            if not isinstance(grades, list) or not all(type(grade) is int for grade in grades):
                raise ValueError('"covered" is no list of whole numbers')
            if len(grades) != len(session.rules):
                raise ValueError(f'"covered" has {len(grades)} numbers for {len(session.rules)} demands')
        except ValueError as error:
            measured.bad_json += 1
            asked = repair(prompt, got.text, str(error), '{"covered": [0 to 10, …]}')
        else:
            measured.novelty[session_id] = Novelty.of([1 - min(10, max(0, grade)) / 10 for grade in grades])
            return
    measured.unanswered += 1
