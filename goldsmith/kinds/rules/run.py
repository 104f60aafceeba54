"""Read the sessions, ask for the rules of each, screen them, save them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Literal

from goldsmith.context import JobContext
from goldsmith.errors import InvalidInput
from goldsmith.kinds.rules.answers import Asked, Extraction, extract
from goldsmith.kinds.rules.evidence import quote, source_of
from goldsmith.kinds.rules.questions import ask_of
from goldsmith.kinds.rules.schema import RulesConfig, RulesResult
from goldsmith.rules import Rule
from goldsmith.sessions import Session
from goldsmith.teacher import Teacher
from goldsmith.teacher.bounded import for_each
from goldsmith.uno.runs import NOTE, sessions_of_runs
from goldsmith.uno.screen import screen
from goldsmith.uno.screening import quarantined, screened, unknown_languages

MAX_CHARACTERS = 50_000  # of a session made from a run, as in a sessions job
KEPT = " Of a favourite or an export the rules say what the answer had, not why it was kept."
NOBODY = (
    " Nobody said anything about any answer: all rules are the teacher's own reading of the queries. They are not clustered, and UNO"
    " has nothing to learn from them."
)


async def run(config: RulesConfig, ctx: JobContext) -> RulesResult:
    sessions, dropped, apart = await asyncio.to_thread(_sessions, config, ctx)
    ctx.progress(0, f"asking {config.teacher} about {len(sessions)} sessions")
    private = any(session.private for session in sessions)
    async with aclosing(
        ctx.teacher(config.teacher, model=config.model, budget_usd=config.budget_usd, recorded=private)
    ) as teacher:
        extractions, rules = await _extract(sessions, teacher, config, ctx)

        asked = [found for found in extractions if found.feedback or found.own]
        dropped.update(found.dropped for found in asked if found.dropped and not (config.keep_empty and found.empty))
        if len(asked) < len(sessions):
            dropped["the budget ended"] += len(sessions) - len(asked)
        if all(rule.empty for rule in rules):
            raise InvalidInput(
                f"none of the {len(sessions)} sessions gave a rule ({_counted(dropped)}); rules are learned from what users say"
            )
        ctx.save_rules(rules)
        written = [asdict(rule) for rule in rules if not rule.empty]
        ctx.save_artifact("rules.json", json.dumps(written, indent=1, ensure_ascii=False).encode())
        return _result(config, sessions, asked, extractions, rules, dropped, apart, teacher)


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in reasons.items())


def _sessions(config: RulesConfig, ctx: JobContext) -> tuple[list[Session], Counter[str], dict[str, int]]:
    """The sessions to ask about, what was dropped, what was put into quarantine; those out of runs are saved as the job's own."""
    if config.runs is not None:
        made, dropped = sessions_of_runs(ctx.runs(config.runs), limit=config.limit, max_characters=MAX_CHARACTERS)
        made = [screened(one) for one in made]
        ctx.save_sessions(made)
        found, apart = [one for one in made if one.status == "active"], quarantined(made)
    else:
        assert config.sessions is not None
        every = list(ctx.sessions(config.sessions))
        found, apart = every[: config.limit], {}
        dropped = Counter({"beyond the limit": len(every) - len(found)} if len(found) < len(every) else {})
    if not config.own_rules:
        silent = sum(ask_of(one) is None for one in found)
        dropped.update({"nobody said anything about the answer": silent} if silent else {})
        found = [one for one in found if ask_of(one) is not None]
    if not found:
        source = config.sessions or config.runs
        raise InvalidInput(
            f"{source} has no session to learn from ({_counted({**dropped, **apart}) or 'none at all'})",
            errors=[
                {
                    "field": "sessions" if config.sessions else "runs",
                    "value": source,
                    "allowed": "a source with sessions that may be trained on and are not in quarantine"
                    + ("" if config.own_rules else ", and that somebody said something about (own_rules is off)"),
                }
            ],
        )
    return found, dropped, apart


async def _extract(
    sessions: Sequence[Session], teacher: Teacher, config: RulesConfig, ctx: JobContext
) -> tuple[list[Extraction], list[Rule]]:
    """In the order of the sessions; fewer than those when the budget ended. Rules are screened while others are waited for."""
    done: dict[int, tuple[Extraction, list[Rule]]] = {}
    counts = Counter(rules=0, bad_json=0, dropped=0)

    async def one(numbered: tuple[int, Session]) -> bool:
        number, session = numbered
        found = await extract(session, teacher, own=config.own_rules, most=config.max_rules)
        done[number] = found, _rules(found, rehearsal=teacher.rehearsal, keep_empty=config.keep_empty)
        counts.update(
            rules=sum(len(asked.rules) for asked in _asked([found])),
            bad_json=sum(asked.bad_json for asked in _asked([found])),
            dropped=found.dropped is not None,
        )
        ctx.progress(
            95 * len(done) / len(sessions), f"{len(done)} of {len(sessions)} sessions", **counts, spent_usd=teacher.spent_usd
        )
        return not found.out_of_budget

    await for_each(enumerate(sessions), one, concurrency=config.concurrency)
    ordered = [done[number] for number in sorted(done)]
    rules = [rule for _, some in ordered for rule in some]
    return [found for found, _ in ordered], [replace(rule, ordinal=ordinal) for ordinal, rule in enumerate(rules)]


def _asked(extractions: Iterable[Extraction]) -> list[Asked]:
    return [asked for found in extractions for asked in (found.feedback, found.own) if asked is not None]


def _rules(found: Extraction, *, rehearsal: bool, keep_empty: bool) -> list[Rule]:
    """Those with feedback before the teacher's own. One that speaks to the machinery takes all of its session into quarantine:
    what wrote it is in a text that the others were read from. A session that is kept although it taught nothing has an empty one."""
    if keep_empty and found.empty:
        return [_rule(found.session, "feedback", "", rehearsal=rehearsal)]
    sorts: tuple[Literal["feedback", "model"], ...] = ("feedback", "model")
    every = [
        (origin, rule, screen(rule, "rule"))
        for origin, asked in zip(sorts, (found.feedback, found.own), strict=True)
        for rule in (asked.rules if asked else ())
    ]
    worst = next((reason for _, _, reason in every if reason), None)
    return [
        _rule(found.session, origin, rule, rehearsal=rehearsal)
        if worst is None
        else replace(
            _rule(found.session, origin, rule, rehearsal=rehearsal),
            status="quarantined",
            reason=f"rule: {reason}" if reason else f"another rule of its session: {worst}",
        )
        for origin, rule, reason in every
    ]


def _rule(session: Session, origin: Literal["feedback", "model"], rule: str, *, rehearsal: bool) -> Rule:
    evidence = {
        "session": session.session_id,
        "signal": session.signal,
        "quote": quote(rule, source_of(session, origin)),
        "weight": session.weight,
        "rehearsal": rehearsal,
    }
    return Rule(
        ordinal=0,  # counted when all are there
        session_id=session.session_id,
        config_id=session.config_id,
        language=session.language,
        origin=origin,
        rule=rule,
        evidence=evidence | ({"run_id": session.run_id} if session.run_id else {}),
    )


def _result(
    config: RulesConfig,
    sessions: Sequence[Session],
    asked: Sequence[Extraction],
    extractions: Sequence[Extraction],
    rules: Sequence[Rule],
    dropped: Counter[str],
    apart: dict[str, int],
    teacher: Teacher,
) -> RulesResult:
    usable = [rule for rule in rules if rule.status == "active" and not rule.empty]
    heard = {rule.session_id for rule in usable if rule.origin == "feedback"}
    own = {rule.session_id for rule in usable if rule.origin == "model"}
    with_feedback = sum(ask_of(found.session) is not None for found in asked)
    note = NOTE if any(session.source == "run" for session in sessions) else ""
    note += KEPT if any(ask_of(session) == "kept" for session in sessions) else ""
    note += NOBODY if not with_feedback else ""
    questions = _asked(extractions)
    return RulesResult(
        sessions=len(asked),
        with_feedback=with_feedback,
        rules=len(usable),
        keep_empty=config.keep_empty,
        empty=sum(rule.empty for rule in rules),
        own_rules=sum(rule.origin == "model" for rule in usable),
        scorable=len(heard & own),
        languages=dict(Counter(found.session.language or "und" for found in asked).most_common()),
        quarantined=apart | dict(Counter(rule.reason or "" for rule in rules if rule.status == "quarantined").most_common()),
        dropped=dict(dropped.most_common()),
        own_dropped=dict(Counter(found.own.dropped for found in asked if found.own and found.own.dropped).most_common()),
        beyond_max_rules=sum(one.beyond for one in questions),
        too_long=sum(one.too_long for one in questions),
        bad_json=sum(one.bad_json for one in questions),
        spent_usd=teacher.spent_usd,
        stopped_by="budget" if any(found.out_of_budget for found in extractions) else None,
        teacher=teacher.provider,
        model=teacher.model,
        rehearsal=teacher.rehearsal,
        label="REHEARSAL" if teacher.rehearsal else "",
        note=(note + unknown_languages(sessions)).strip(),
    )
