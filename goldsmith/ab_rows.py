"""Experiments as the database holds them: read, listed, locked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from goldsmith.ab.experiment import ArmNow, Experiment
from goldsmith.ab.plan import ExperimentPlan
from goldsmith.db import sleeps_within
from goldsmith.errors import NotFound

if TYPE_CHECKING:
    from goldsmith.db import Connection

SLEEPS_WITHIN_S = 4

_EXPERIMENT = """
    SELECT e.id, e.name, e.version, e.supersedes, e.status, e.salt, e.plan, e.plan_sha256, e.step, e.step_started_at,
        e.approved_step, CASE WHEN e.group_lo IS NOT NULL THEN ARRAY[e.group_lo, e.group_hi] END AS group_range,
        e.held_reason, e.held_at, e.forced, e.cooldown_until, e.created_by, e.created_at, e.started_at, e.ended_at, (
            SELECT jsonb_object_agg(a.name, jsonb_build_object(
                'weight', a.weight, 'gated', a.gated, 'model_trouble', a.model_trouble))
            FROM arms a WHERE a.experiment_id = e.id
        ) AS arms
    FROM experiments e
"""


def get(conn: Connection, experiment_id: UUID) -> Experiment:
    row = conn.execute(_EXPERIMENT + " WHERE e.id = %s", (experiment_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no experiment {experiment_id}")
    return _experiment(row)


def locked(conn: Connection, experiment_id: UUID) -> Experiment:
    """The experiment, which nobody else changes before the transaction ends. Raises `NotFound`.

    A process that is stopped meanwhile loses it after `SLEEPS_WITHIN_S`, or nobody could pull an arm back.
    """
    sleeps_within(conn, SLEEPS_WITHIN_S)
    conn.execute("SELECT 1 FROM experiments WHERE id = %s FOR NO KEY UPDATE", (experiment_id,))
    return get(conn, experiment_id)


def list_experiments(
    conn: Connection, *, status: str | None = None, name: str | None = None, limit: int = 100
) -> list[Experiment]:
    """The newest first; `name`: every version of one."""
    rows = conn.execute(
        _EXPERIMENT
        + " WHERE (%(status)s::text IS NULL OR e.status = %(status)s) AND (%(name)s::text IS NULL OR e.name = %(name)s)"
        + " ORDER BY e.created_at DESC, e.id DESC LIMIT %(limit)s",
        {"status": status, "name": name, "limit": limit},
    )
    return [_experiment(row) for row in rows]


def running(conn: Connection) -> list[Experiment]:
    """Those that run or pause, by name."""
    rows = conn.execute(_EXPERIMENT + " WHERE e.status IN ('running', 'paused') ORDER BY e.name, e.version")
    return [_experiment(row) for row in rows]


def _experiment(row: dict[str, Any]) -> Experiment:
    plan = ExperimentPlan.model_validate(row["plan"])
    arms = [ArmNow(**arm.model_dump(exclude={"weight"}), **row["arms"][arm.name]) for arm in plan.arms]
    return Experiment(**row | {"plan": plan, "arms": arms})


def decisions_of(conn: Connection, experiment_id: UUID, limit: int = 100) -> list[dict[str, Any]]:
    """The newest first: id, decision, reason, statistics, actor, job_id, probe, created_at."""
    return conn.execute(
        "SELECT id, decision, reason, statistics, actor, job_id, probe, created_at FROM ab_decisions"
        " WHERE experiment_id = %s ORDER BY created_at DESC, id DESC LIMIT %s",
        (experiment_id, limit),
    ).fetchall()
