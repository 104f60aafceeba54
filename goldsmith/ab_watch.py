"""A look at an experiment and what follows from it: rolled back, held, taken a step further, completed, declared invalid.

A look holds no lock. The decision that it asks for is one transaction under the lock of the experiment, in which it is seen whether
somebody decided meanwhile: of two that look at once one decides, and a process that is stopped while it looks stops nobody. All the
numbers that are only told take ten times as long; no decision waits for them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

from psycopg.types.json import Jsonb

from goldsmith import ab_rollback, audit, experiments, webhooks
from goldsmith.ab import Experiment
from goldsmith.ab_analysis import Data, arm_looks, srm
from goldsmith.ab_decisions import GUARD, decide, told
from goldsmith.ab_guardrails import acting, guardrail_looks
from goldsmith.ab_look import GuardrailLook, Look, RampLook, Rule, Srm
from goldsmith.ab_reading import Reader
from goldsmith.ab_rows import SLEEPS_WITHIN_S, get, locked
from goldsmith.ab_verdict import compare, look, ramp
from goldsmith.db import Connection, sleeps_within

POINTS = 500  # of the curve; beyond, every second one of the older half goes

LOCK = "SELECT pg_advisory_xact_lock(hashtext('goldsmith.guard.numbers'), hashtext(%s)), true AS held"
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('goldsmith.guard.numbers'), hashtext(%s)) AS held"
TELLING_SLEEPS_WITHIN_S = 600  # nothing hangs on the numbers, and of 100,000 units they take seconds

# What is written here is locked first, so that no decision falls between the question whether there was one and the answer.
KEPT = """
INSERT INTO ab_state (experiment_id) VALUES (%s) ON CONFLICT (experiment_id) DO UPDATE SET experiment_id = excluded.experiment_id
"""

KEEP = """
INSERT INTO ab_state (experiment_id, numbers, shown_events) VALUES (%(id)s, %(numbers)s, %(events)s)
ON CONFLICT (experiment_id) DO UPDATE SET numbers = excluded.numbers, shown_events = excluded.shown_events
"""

LOOKED = """
INSERT INTO ab_state (experiment_id, at, looked_events) VALUES (%(id)s, %(at)s, %(events)s)
ON CONFLICT (experiment_id) DO UPDATE SET at = excluded.at, looked_events = excluded.looked_events,
    shown_events = CASE WHEN %(acted)s THEN NULL ELSE ab_state.shown_events END
"""

POINT = "INSERT INTO ab_looks (experiment_id, at, numbers) VALUES (%(id)s, %(at)s, %(numbers)s) ON CONFLICT DO NOTHING"

THIN = """
DELETE FROM ab_looks WHERE experiment_id = %(id)s AND at IN (
    SELECT at FROM (
        SELECT at, row_number() OVER (ORDER BY at) AS number, count(*) OVER () AS all_ FROM ab_looks WHERE experiment_id = %(id)s
    ) look WHERE all_ > %(points)s AND number <= %(points)s / 2 AND number %% 2 = 0
)
"""

HOLD = "UPDATE experiments SET held_reason = %(reason)s, held_at = coalesce(held_at, now()) WHERE id = %(id)s"
RELEASE = "UPDATE experiments SET held_reason = NULL, held_at = NULL WHERE id = %(id)s AND held_at IS NOT NULL"


def watch(conn: Connection, experiment_id: UUID, reader: Reader, *, full: bool, wait: bool = False) -> Look | None:
    """One look and what follows from it. `full`: then work out and keep every number, too.

    None where no numbers were kept; `wait`: also where another one is at it, which is waited for.
    """
    decide_on(conn, experiment_id, reader)
    return tell(conn, experiment_id, reader, wait=wait) if full else None


def decide_on(conn: Connection, experiment_id: UUID, reader: Reader) -> bool:
    """Look at what decides, and take the decision that it asks for. Whether one was taken; every number is due then."""
    data = reader.read(conn, experiment_id, full=False)
    experiment = data.experiment
    if experiment.status == "draft":
        return False
    guardrails, ratio = guardrail_looks(data, compare(data), bounds=False), srm(data)
    decision = _decision(conn, data, guardrails, ratio)
    if decision is not None:
        with conn.transaction():
            now = locked(conn, experiment_id)  # only now: events wait for it
            if _decided_on(now) != _decided_on(experiment):
                return False  # somebody decided in the meantime; the next look sees what came of it
            decision(conn, now)
            conn.execute(LOOKED, {"id": experiment_id, "at": data.at, "events": data.events, "acted": True})
            return True
    events = None if data.behind else data.events  # the rest of it is news
    conn.execute(LOOKED, {"id": experiment_id, "at": data.at, "events": events, "acted": False})
    return False


def tell(conn: Connection, experiment_id: UUID, reader: Reader, *, wait: bool = False) -> Look | None:
    """Work out and keep every number. Decides nothing. None for a draft, and where another one is at it; or `wait` for that one."""
    with conn.transaction():
        sleeps_within(conn, TELLING_SLEEPS_WITHIN_S)
        held = conn.execute(LOCK if wait else TRY_LOCK, (str(experiment_id),)).fetchone()
        if not held or not held["held"]:
            return None
        data = reader.read(conn, experiment_id, full=True)
        if data.experiment.status == "draft":
            return None
        found = look(data)
        sleeps_within(conn, SLEEPS_WITHIN_S)  # from here on events and decisions wait
        conn.execute(KEPT, (experiment_id,))
        _keep(conn, data, found, still=_decided_on(get(conn, experiment_id)) == _decided_on(data.experiment))
        _tell_verdict(conn, data, found)
        return found


def _decided_on(experiment: Experiment) -> tuple[object, ...]:
    """What a decision changes."""
    held = experiment.held_at, experiment.held_reason
    return experiment.status, experiment.step, experiment.forced, experiment.approved_step, *held


def _decision(
    conn: Connection, data: Data, guardrails: list[GuardrailLook], ratio: Srm
) -> Callable[[Connection, Experiment], object] | None:
    """What these numbers ask for, if anything: safety first."""
    experiment = data.experiment
    breaches = acting(guardrails) if experiment.status in ("running", "paused") else []
    if breaches:
        reason = " ".join(f"{one.label}, {one.arm}: {one.words}" for one in breaches)
        statistics = {"guardrails": [one.model_dump() for one in breaches], "step": experiment.step, "events": data.events}
        return lambda conn, now: ab_rollback.roll_back(conn, now.id, reason, actor=GUARD, statistics=statistics)
    if experiment.status != "running":
        return None
    if ratio.state == "mismatch" and not _decided_before(conn, experiment.id, "invalid"):
        return partial(_declare_invalid, ratio)
    if _horizon(data):
        verdict = look(data).verdict
        shown = "no difference was shown. " if verdict.decision == "continue" else ""
        reason = f"The horizon is reached: {shown}{verdict.reason}"
        return lambda conn, now: experiments.end(conn, now.id, reason=reason, actor=GUARD)
    step = ramp(data, guardrails, ratio)
    return partial(_move, step) if _moves(experiment, step) else None


def _declare_invalid(ratio: Srm, conn: Connection, now: Experiment) -> None:
    decide(conn, now.id, "invalid", ratio.words, actor=GUARD, statistics={"srm": ratio.model_dump()})
    experiments.pause(conn, now.id, reason=f"The experiment is invalid; every unit has base. {ratio.words}", actor=GUARD)
    webhooks.announce(conn, "experiment.held", told(now, None, ratio.words))


def _decided_before(conn: Connection, experiment_id: UUID, decision: str) -> bool:
    row = conn.execute(
        "SELECT 1 FROM ab_decisions WHERE experiment_id = %s AND decision = %s LIMIT 1", (experiment_id, decision)
    ).fetchone()
    return row is not None


def _horizon(data: Data) -> bool:
    plan, started = data.experiment.plan, data.experiment.started_at
    days = (data.at - started).total_seconds() / 86_400 if started else 0.0
    if plan.horizon_days is not None and days >= plan.horizon_days:
        return True
    return plan.horizon_units is not None and sum(arm.units for arm in arm_looks(data)) >= plan.horizon_units


def _missing(step: RampLook) -> list[Rule]:
    return [rule for rule in step.rules if not rule.met]


def _in_the_way(step: RampLook) -> list[Rule]:
    """What holds the step; empty where it only waits for its minimums."""
    missing = _missing(step)
    names = {rule.name for rule in missing}
    if "max_hours" in names or not names & {"min_units", "min_hours"}:
        return missing
    return [rule for rule in missing if rule.name in ("gated", "model")]  # no units mend these


def _held_words(rules: list[Rule], step: RampLook) -> str:
    return f"Step {step.step + 1} of {step.steps} is held: {'; '.join(rule.words for rule in rules)}."


def _moves(experiment: Experiment, step: RampLook) -> bool:
    """Whether the ramp goes on, stops, or stops for other reasons than before."""
    if not step.rules:
        return False
    if not _missing(step):
        return True
    rules = _in_the_way(step)
    return experiment.held_reason != _held_words(rules, step) if rules else experiment.held_at is not None


def _move(step: RampLook, conn: Connection, experiment: Experiment) -> None:
    if not _missing(step):
        words = "; ".join(rule.words for rule in step.rules if rule.name not in ("guardrail", "srm"))
        reason = f"Step {step.step + 1} of {step.steps} is done, with every guardrail closed: {words}."
        experiments.next_step(conn, experiment.id, reason=reason, actor=GUARD)
        return
    rules = _in_the_way(step)
    if not rules:
        conn.execute(RELEASE, {"id": experiment.id})
        decide(conn, experiment.id, "release", "The step waits for its minimums again.", actor=GUARD)
        return
    reason = _held_words(rules, step)
    conn.execute(HOLD, {"id": experiment.id, "reason": reason})
    if experiment.held_at is None:
        statistics = {"rules": [rule.model_dump() for rule in step.rules]}
        made = decide(conn, experiment.id, "hold", reason, actor=GUARD, statistics=statistics)
        audit.record(conn, GUARD, "experiment.hold", f"experiment:{experiment.id}", {"reason": reason})
        webhooks.announce(conn, "experiment.held", told(experiment, made, reason))


def _keep(conn: Connection, data: Data, found: Look, *, still: bool) -> None:
    """`still`: nothing was decided since the look began; otherwise the next one is due."""
    numbers = found.model_dump(mode="json")
    conn.execute(KEEP, {"id": data.experiment.id, "numbers": Jsonb(numbers), "events": data.events if still else None})
    differences = {
        metric.name: {one.arm: (one.estimate, one.lower, one.upper) for one in metric.differences if one.estimate is not None}
        for metric in found.metrics
    }
    if not any(differences.values()):
        return
    point = {
        "units": sum(arm.units for arm in found.arms),
        "step": found.ramp.step,
        "differences": {name: arms for name, arms in differences.items() if arms},
    }
    conn.execute(POINT, {"id": data.experiment.id, "at": found.at, "numbers": Jsonb(point)})
    conn.execute(THIN, {"id": data.experiment.id, "points": POINTS})


def _tell_verdict(conn: Connection, data: Data, found: Look) -> None:
    """A winner, a loser, or that nothing can be told goes into the history when it is first seen."""
    verdict = found.verdict
    if verdict.decision in ("promote", "keep_base", "invalid") and not _decided_before(
        conn, data.experiment.id, verdict.decision
    ):
        decide(conn, data.experiment.id, verdict.decision, verdict.reason, actor=GUARD, statistics={"arm": verdict.arm})
