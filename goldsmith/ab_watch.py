"""A look at an experiment and what follows from it: rolled back, held, taken a step further, completed, declared invalid.

All in one transaction under a lock of the experiment: of two that look at once one does, and what was decided meanwhile is seen.
"""

from __future__ import annotations

from uuid import UUID

from psycopg.types.json import Jsonb

from goldsmith import ab_rollback, audit, experiments, webhooks
from goldsmith.ab import Experiment
from goldsmith.ab_analysis import Data, arm_looks, srm
from goldsmith.ab_decisions import GUARD, decide, told
from goldsmith.ab_guardrails import acting, guardrail_looks
from goldsmith.ab_look import GuardrailLook, Look, RampLook, Rule, Srm
from goldsmith.ab_reading import Reader
from goldsmith.ab_rows import locked
from goldsmith.ab_verdict import compare, look, ramp
from goldsmith.db import Connection

POINTS = 500  # of the curve; beyond, every second one of the older half goes

LOCK = "SELECT pg_advisory_xact_lock(hashtext('goldsmith.guard'), hashtext(%s)), true AS held"
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('goldsmith.guard'), hashtext(%s)) AS held"

KEEP = """
INSERT INTO ab_state (experiment_id, at, numbers, looked_events, shown_events)
VALUES (%(id)s, %(at)s, %(numbers)s, %(events)s, %(events)s)
ON CONFLICT (experiment_id) DO UPDATE SET at = excluded.at, numbers = excluded.numbers, looked_events = excluded.looked_events,
    shown_events = excluded.shown_events
"""

LOOKED = """
INSERT INTO ab_state (experiment_id, at, looked_events) VALUES (%(id)s, %(at)s, %(events)s)
ON CONFLICT (experiment_id) DO UPDATE SET at = excluded.at, looked_events = excluded.looked_events
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
    """One look and what follows from it. `full`: work out and keep every number; otherwise only what decides.

    None where no numbers were kept: another guard is at it (`wait` for that one first), or the look was not full and decided
    nothing.
    """
    with conn.transaction():
        held = conn.execute(LOCK if wait else TRY_LOCK, (str(experiment_id),)).fetchone()
        if not held or not held["held"]:
            return None
        data = reader.read(conn, experiment_id, full=full)
        if data.experiment.status == "draft":
            return None
        guardrails, ratio = guardrail_looks(data, compare(data), bounds=False), srm(data)
        if _act(conn, data, guardrails, ratio):
            data = reader.read(conn, experiment_id, full=True)
        elif not full:
            conn.execute(LOOKED, {"id": experiment_id, "at": data.at, "events": data.events})
            return None
        found = look(data)
        _keep(conn, data, found)
        _tell_verdict(conn, data, found)
        return found


def _act(conn: Connection, data: Data, guardrails: list[GuardrailLook], ratio: Srm) -> bool:
    """Take the decision that these numbers ask for. Whether anything about the experiment changed."""
    experiment = data.experiment
    breaches = acting(guardrails) if experiment.status in ("running", "paused") else []
    runs = experiment.status == "running"
    invalid = runs and ratio.state == "mismatch" and not _decided_before(conn, experiment.id, "invalid")
    step = ramp(data, guardrails, ratio)
    if not (breaches or invalid or (runs and (_horizon(data) or _moves(experiment, step)))):
        return False
    now = locked(conn, experiment.id)  # only now: events wait for it
    if (now.status, now.step, now.forced) != (experiment.status, experiment.step, experiment.forced):
        return False  # somebody decided in the meantime; the next look sees what came of it
    if breaches:
        reason = " ".join(f"{one.label}, {one.arm}: {one.words}" for one in breaches)
        statistics = {"guardrails": [one.model_dump() for one in breaches], "step": now.step, "events": data.events}
        ab_rollback.roll_back(conn, now.id, reason, actor=GUARD, statistics=statistics)
    elif invalid:
        decide(conn, now.id, "invalid", ratio.words, actor=GUARD, statistics={"srm": ratio.model_dump()})
        experiments.pause(conn, now.id, reason=f"The experiment is invalid; every unit has base. {ratio.words}", actor=GUARD)
        webhooks.announce(conn, "experiment.held", told(now, None, ratio.words))
    elif _horizon(data):
        _complete(conn, data)
    else:
        _move(conn, now, step)
    return True


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


def _complete(conn: Connection, data: Data) -> None:
    verdict = look(data).verdict
    shown = "no difference was shown. " if verdict.decision == "continue" else ""
    reason = f"The horizon is reached: {shown}{verdict.reason}"
    experiments.end(conn, data.experiment.id, reason=reason, actor=GUARD)


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


def _move(conn: Connection, experiment: Experiment, step: RampLook) -> None:
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


def _keep(conn: Connection, data: Data, found: Look) -> None:
    numbers = found.model_dump(mode="json")
    conn.execute(KEEP, {"id": data.experiment.id, "at": found.at, "numbers": Jsonb(numbers), "events": data.events})
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
