"""Experiments in the database: created, started, fed with events, read for a report, decided. Their words: `goldsmith.ab`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from psycopg import errors as pg
from psycopg.types.json import Jsonb

from goldsmith import adapters, audit, jobs
from goldsmith.ab import (
    BASE,
    Arm,
    ArmNow,
    Decision,
    Event,
    EventBatch,
    Experiment,
    ExperimentPlan,
    Ingested,
    NewExperiment,
    assign,
)
from goldsmith.ab_ingest import ingest
from goldsmith.errors import Conflict, NotFound, ReferenceNotUsable

if TYPE_CHECKING:
    from goldsmith.db import Connection

__all__ = [
    "Arm",
    "ArmCounts",
    "Decision",
    "Event",
    "EventBatch",
    "Experiment",
    "ExperimentData",
    "ExperimentPlan",
    "Ingested",
    "NewExperiment",
    "UnitOutcome",
    "assign",
    "create",
    "data_of",
    "decisions_of",
    "end",
    "get",
    "ingest",
    "list_experiments",
    "record_decision",
    "start",
]

_EXPERIMENT = """
    SELECT e.id, e.name, e.version, e.supersedes, e.status, e.salt, e.plan, e.plan_sha256, e.step, e.step_started_at,
        e.approved_step, CASE WHEN e.group_lo IS NOT NULL THEN ARRAY[e.group_lo, e.group_hi] END AS group_range,
        e.held_reason, e.held_at, e.forced, e.cooldown_until, e.created_by, e.created_at, e.started_at, e.ended_at, (
            SELECT jsonb_object_agg(a.name, jsonb_build_object('weight', a.weight, 'gated', a.gated))
            FROM arms a WHERE a.experiment_id = e.id
        ) AS arms
    FROM experiments e
"""


def create(conn: Connection, new: NewExperiment, *, created_by: str = "local") -> Experiment:
    """Write a draft. An adapter alias is pinned to its version; raises `Conflict` when the name is taken."""
    arms = [_pinned(conn, arm, index) for index, arm in enumerate(new.arms)]
    plan = new.plan.model_copy(update={"arms": arms})
    with conn.transaction():
        try:
            row = conn.execute(
                "INSERT INTO experiments (name, salt, unit, plan, created_by) VALUES (%s, %s, %s, %s, %s) RETURNING id",
                (plan.name, new.salt or secrets.token_hex(16), plan.unit, Jsonb(plan.model_dump(mode="json")), created_by),
            ).fetchone()
        except pg.UniqueViolation:
            raise Conflict(f"there is already an experiment named {plan.name!r}; choose another name") from None
        assert row is not None
        with conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO arms (experiment_id, name, weight, adapter) VALUES (%s, %s, %s, %s)",
                [(row["id"], arm.name, arm.weight, arm.adapter) for arm in arms],
            )
    return get(conn, row["id"])


def _pinned(conn: Connection, arm: Arm, index: int) -> Arm:
    if arm.adapter is None:
        return arm
    try:
        return arm.model_copy(update={"adapter": adapters.resolve(conn, arm.adapter)})
    except ReferenceNotUsable as error:
        wrong = {"field": f"arms.{index}.adapter", "value": arm.adapter, "message": error.detail}
        raise ReferenceNotUsable(f"{wrong['field']}: {error.detail}", errors=[wrong]) from None


def start(conn: Connection, experiment_id: UUID) -> Experiment:
    """draft → running. Raises `Conflict` when it is no draft, when a running experiment shares a config with it, or when an
    adapter of it was retired meanwhile."""
    with conn.transaction():
        # One start at a time: two that overlap must not both find nothing running.
        conn.execute("SELECT pg_advisory_xact_lock(hashtext('goldsmith.experiments.start'))")
        experiment = get(conn, experiment_id)
        if experiment.status != "draft":
            raise Conflict(f"experiment {experiment.name} is {experiment.status}; only a draft can be started")
        for row in conn.execute(
            "SELECT name, plan->'configs' AS configs FROM experiments WHERE status IN ('running', 'paused')"
        ):
            ours, theirs = experiment.plan.configs, row["configs"]
            shared = sorted(set(ours) & set(theirs)) if ours and theirs else ours or theirs or ["all"]
            if shared:
                raise Conflict(f"experiment {row['name']} already runs on these configs: {', '.join(shared[:10])}")
        adapters.refuse_retired(conn, [arm.adapter for arm in experiment.plan.arms if arm.adapter is not None])
        conn.execute("UPDATE experiments SET status = 'running', started_at = now() WHERE id = %s", (experiment_id,))
    return get(conn, experiment_id)


def get(conn: Connection, experiment_id: UUID) -> Experiment:
    row = conn.execute(_EXPERIMENT + " WHERE e.id = %s", (experiment_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no experiment {experiment_id}")
    return _experiment(row)


def list_experiments(conn: Connection, *, status: str | None = None, limit: int = 100) -> list[Experiment]:
    """The newest first."""
    rows = conn.execute(
        _EXPERIMENT
        + " WHERE %(status)s::text IS NULL OR e.status = %(status)s ORDER BY e.created_at DESC, e.id DESC LIMIT %(limit)s",
        {"status": status, "limit": limit},
    )
    return [_experiment(row) for row in rows]


def _experiment(row: dict[str, Any]) -> Experiment:
    plan = ExperimentPlan.model_validate(row["plan"])
    arms = [ArmNow(**arm.model_dump(exclude={"weight"}), **row["arms"][arm.name]) for arm in plan.arms]
    return Experiment(**row | {"plan": plan, "arms": arms})


class UnitOutcome(NamedTuple):
    """What one unit has come to so far."""

    arm: str
    exposed: bool
    favorite: bool
    """At least one of its interceptions is a favourite that was not taken back."""
    attempts: int
    """Generation attempts that count for the safety-block rate."""
    blocks: int
    """Those of them that a stage after the arm's model blocked; at most `attempts`."""


@dataclass(frozen=True)
class ArmCounts:
    interceptions: int
    """Completed, with the model that answered."""
    foreign: int
    """Those that another model than the arm's answered."""
    wiki: int
    """Those that went through the look-up loop, in which models can be mixed up."""
    edited_attempts: int
    edited_blocks: int
    """Attempts with a text that the user had changed: kept out of the block rate, reported apart."""
    foreign_attempts: int
    errors: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None


@dataclass(frozen=True)
class ExperimentData:
    """All that a report needs, read in one snapshot."""

    experiment: Experiment
    events: int
    units: list[UnitOutcome]
    """In the order in which they became known, so that every report extends the sequence of the one before."""
    arms: dict[str, ArmCounts]
    rehearsal: bool
    """The adapter learned from the rehearsal teacher."""


# One row for each interception of a unit. A block proves an attempt, also when the event of its start got lost.
_RUNS = """
    WITH model AS (
        SELECT * FROM unnest(%(names)s::text[], %(models)s::text[]) AS model(arm, expected)
    ), event AS (
        SELECT * FROM ab_events WHERE experiment_id = %(experiment)s
    ), run AS (
        SELECT arm, unit, interception_run_id,
            (array_agg(data->>'model_used' ORDER BY occurred_at DESC, event_id DESC)
                FILTER (WHERE event = 'interception_completed'))[1] AS model_used,
            coalesce(bool_or((data->>'wiki_iterations')::int > 0) FILTER (WHERE event = 'interception_completed'),
                false) AS wiki,
            coalesce(bool_or((data->>'edit_distance')::int > 0) FILTER (WHERE event = 'user_edit'), false) AS edited,
            coalesce((array_agg(event ORDER BY occurred_at DESC, event_id DESC)
                FILTER (WHERE event IN ('favorite_added', 'favorite_removed')))[1] = 'favorite_added', false) AS favorite,
            count(*) FILTER (WHERE event = 'generation_started') AS starts,
            count(*) FILTER (WHERE event = 'generation_started'
                AND data->>'safety_level' IN ('research', 'disabled')) AS unguarded,
            count(*) FILTER (WHERE event = 'stage_block' AND data->>'stage' IN ('3', 'vlm_safety')) AS stopped,
            count(*) FILTER (WHERE event = 'stage_block' AND data->>'stage' IN ('3', 'vlm_safety')
                AND data->>'method' <> 'llm_check_failed') AS blocked
        FROM event GROUP BY arm, unit, interception_run_id
    ), attempt AS (
        SELECT run.*, model_used IS NOT NULL AND CASE WHEN expected IS NULL
                THEN model_used IN (SELECT expected FROM model other WHERE other.arm <> run.arm AND expected IS NOT NULL)
                ELSE model_used <> expected END AS is_foreign,
            greatest(starts - unguarded, CASE WHEN unguarded = 0 THEN stopped ELSE 0 END) AS attempts
        FROM run JOIN model USING (arm)
    ), counted AS (
        SELECT *, least(attempts, blocked) AS blocks FROM attempt
    )
"""

_UNITS = (
    _RUNS
    + """
    , first AS (
        SELECT unit, min(received_at) AS received_at, min(occurred_at) AS occurred_at,
            coalesce(bool_or(event = 'exposure'), false) AS exposed
        FROM event GROUP BY unit
    )
    SELECT arm, bool_or(first.exposed) AS exposed, bool_or(favorite) AS favorite,
        coalesce(sum(attempts) FILTER (WHERE NOT edited AND NOT is_foreign), 0)::int AS attempts,
        coalesce(sum(blocks) FILTER (WHERE NOT edited AND NOT is_foreign), 0)::int AS blocks
    FROM counted JOIN first USING (unit)
    GROUP BY arm, unit ORDER BY min(first.received_at), min(first.occurred_at), unit
"""
)

_ARMS = (
    _RUNS
    + """
    , latency AS (
        SELECT arm, percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY (data->>'latency_ms')::float) AS ms
        FROM event WHERE event = 'interception_completed' GROUP BY arm
    ), failure AS (
        SELECT arm, count(*) AS errors FROM event WHERE event = 'error' GROUP BY arm
    ), total AS (
        SELECT arm, count(model_used) AS interceptions, count(*) FILTER (WHERE is_foreign) AS foreign_,
            count(*) FILTER (WHERE wiki) AS wiki,
            coalesce(sum(attempts) FILTER (WHERE edited), 0)::int AS edited_attempts,
            coalesce(sum(blocks) FILTER (WHERE edited), 0)::int AS edited_blocks,
            coalesce(sum(attempts) FILTER (WHERE is_foreign AND NOT edited), 0)::int AS foreign_attempts
        FROM counted GROUP BY arm
    )
    SELECT model.arm, coalesce(interceptions, 0) AS interceptions, coalesce(foreign_, 0) AS "foreign",
        coalesce(wiki, 0) AS wiki, coalesce(edited_attempts, 0) AS edited_attempts, coalesce(edited_blocks, 0) AS edited_blocks,
        coalesce(foreign_attempts, 0) AS foreign_attempts, coalesce(errors, 0) AS errors,
        ms[1] AS latency_p50_ms, ms[2] AS latency_p95_ms
    FROM model LEFT JOIN total USING (arm) LEFT JOIN latency USING (arm) LEFT JOIN failure USING (arm)
"""
)


def data_of(conn: Connection, experiment_id: UUID) -> ExperimentData:
    """Everything that was received so far, by unit and by arm. Raises `NotFound`."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        experiment = get(conn, experiment_id)
        arms = experiment.plan.arms
        values = {"experiment": experiment_id, "names": [arm.name for arm in arms], "models": [arm.model for arm in arms]}
        units = [UnitOutcome(**row) for row in conn.execute(_UNITS, values)]
        counts = {row.pop("arm"): ArmCounts(**row) for row in conn.execute(_ARMS, values).fetchall()}
        total = conn.execute("SELECT count(*) AS n FROM ab_events WHERE experiment_id = %s", (experiment_id,)).fetchone()
        assert total is not None
        learned = conn.execute(
            "SELECT v.rehearsal FROM adapter_versions v JOIN adapters a ON a.id = v.adapter_id"
            " WHERE format('adapter:%%s@%%s', a.name, v.version) = %s",
            (experiment.plan.treated.adapter,),
        ).fetchone()
    return ExperimentData(experiment, total["n"], units, counts, bool(learned and learned["rehearsal"]))


def record_decision(conn: Connection, job_id: UUID, attempt: int, experiment_id: UUID, decision: Decision) -> None:
    """Add to the experiment's history, fenced by the job's attempt. `rollback` ends a running experiment in the same
    transaction: status rolled_back, every unit to base. History is only ever added to, so a repeated attempt adds a row."""
    with conn.transaction():
        jobs.fence(conn, job_id, attempt)
        found = conn.execute("SELECT status FROM experiments WHERE id = %s FOR NO KEY UPDATE", (experiment_id,)).fetchone()
        if found is None:
            raise NotFound(f"there is no experiment {experiment_id}")
        conn.execute(
            "INSERT INTO ab_decisions (experiment_id, job_id, decision, reason, statistics) VALUES (%s, %s, %s, %s, %s)",
            (experiment_id, job_id, decision.decision, decision.reason, Jsonb(decision.statistics)),
        )
        if decision.decision == "rollback" and found["status"] in ("running", "paused"):
            conn.execute("UPDATE experiments SET status = 'rolled_back', ended_at = now() WHERE id = %s", (experiment_id,))
            conn.execute("UPDATE arms SET weight = (name = %s)::int WHERE experiment_id = %s", (BASE, experiment_id))
            subject, why = f"experiment:{experiment_id}", {"reason": decision.reason}
            audit.record(conn, f"job:{job_id}", "experiment.rollback", subject, why)


def decisions_of(conn: Connection, experiment_id: UUID, limit: int = 100) -> list[dict[str, Any]]:
    """The newest first: job_id, decision, reason, statistics, created_at."""
    return conn.execute(
        "SELECT job_id, decision, reason, statistics, created_at FROM ab_decisions"
        " WHERE experiment_id = %s ORDER BY created_at DESC, id DESC LIMIT %s",
        (experiment_id, limit),
    ).fetchall()


def end(conn: Connection, experiment_id: UUID) -> Experiment:
    """running or paused → completed: no more events are taken. Ending a completed one again is a no-op."""
    with conn.transaction():
        ended = conn.execute(
            "UPDATE experiments SET status = 'completed', ended_at = now() WHERE id = %s AND status IN ('running', 'paused')",
            (experiment_id,),
        ).rowcount
        experiment = get(conn, experiment_id)
    if not ended and experiment.status != "completed":
        raise Conflict(f"experiment {experiment.name} is {experiment.status}; only one that runs can be ended")
    return experiment
