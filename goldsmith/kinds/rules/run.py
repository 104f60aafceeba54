"""Read the sessions, ask for the rules of each, save them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict

from goldsmith.context import JobContext
from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.kinds.rules.answers import Extraction, extract
from goldsmith.kinds.rules.schema import RulesConfig, RulesResult
from goldsmith.kinds.rules.sessions import Session, sessions_of
from goldsmith.rules import Rule
from goldsmith.teacher import Teacher
from goldsmith.teacher.bounded import for_each

NOTE = (
    "An edit shows what was wanted; a favourite carries no words, so its rules say what the answer had, not why it was liked;"
    " without either the rules are the teacher's own reading of the input."
)


async def run(config: RulesConfig, ctx: JobContext) -> RulesResult:
    sessions, dropped = sessions_of(ctx.runs(config.runs), config.limit)
    if not sessions:
        raise InvalidInput(
            f"{config.runs} has no session to learn from ({dict(dropped) or 'no runs at all'})",
            errors=[{"field": "runs", "value": config.runs, "allowed": "an import with runs that may be trained on"}],
        )
    ctx.progress(0, f"asking {config.teacher} about {len(sessions)} sessions")
    async with aclosing(
        ctx.teacher(config.teacher, model=config.model, budget_usd=config.budget_usd, recorded=True)
    ) as teacher:
        extractions = await _extract(sessions, teacher, config, ctx)

        rules = _rules(extractions, rehearsal=teacher.rehearsal)
        dropped.update(found.dropped for found in extractions if found.dropped)
        dropped.update({"the budget ended": len(sessions) - len(extractions)} if len(extractions) < len(sessions) else {})
        if not rules:
            raise GoldsmithError(f"none of the {len(sessions)} sessions gave a rule: {dict(dropped)}")
        ctx.save_rules(rules)
        ctx.save_artifact("rules.json", json.dumps([asdict(rule) for rule in rules], indent=1, ensure_ascii=False).encode())
        asked = [found for found in extractions if not found.out_of_budget]
        return RulesResult(
            sessions=len(asked),
            with_feedback=sum(found.session.origin == "feedback" for found in asked),
            rules=len(rules),
            dropped=dict(dropped.most_common()),
            bad_json=sum(found.bad_json for found in extractions),
            spent_usd=teacher.spent_usd,
            stopped_by="budget" if len(asked) < len(sessions) else None,
            teacher=teacher.provider,
            model=teacher.model,
            rehearsal=teacher.rehearsal,
            label="REHEARSAL" if teacher.rehearsal else "",
            note=NOTE,
        )


async def _extract(sessions: Sequence[Session], teacher: Teacher, config: RulesConfig, ctx: JobContext) -> list[Extraction]:
    """In the order of the sessions; fewer than those when the budget ended."""
    done: dict[int, Extraction] = {}
    counts = Counter(rules=0, bad_json=0, dropped=0)

    async def one(numbered: tuple[int, Session]) -> bool:
        number, session = numbered
        found = done[number] = await extract(session, teacher)
        counts.update(rules=len(found.rules), bad_json=found.bad_json, dropped=found.dropped is not None)
        ctx.progress(
            95 * len(done) / len(sessions), f"{len(done)} of {len(sessions)} sessions", **counts, spent_usd=teacher.spent_usd
        )
        return not found.out_of_budget

    await for_each(enumerate(sessions), one, concurrency=config.concurrency)
    return [done[number] for number in sorted(done)]


def _rules(extractions: Sequence[Extraction], *, rehearsal: bool) -> list[Rule]:
    every = [(found.session, rule) for found in extractions for rule in found.rules]
    return [
        Rule(
            ordinal=ordinal,
            session_id=session.run.run_id,
            config_id=session.run.config_id,
            language=session.run.language,
            origin=session.origin,
            rule=rule,
            evidence={"run_id": session.run.run_id, "signal": session.signal, "rehearsal": rehearsal},
        )
        for ordinal, (session, rule) in enumerate(every)
    ]
