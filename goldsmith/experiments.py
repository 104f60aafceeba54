"""The life of an experiment: draft → running → (paused) → completed or rolled_back, and the steps of its ramp.

Each act is one transaction under the lock of the experiment's row, with a row in its history that says who did it and why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg.types.json import Jsonb

from goldsmith import adapters, audit, webhooks
from goldsmith.ab import (
    BASE,
    BUCKETS,
    Arm,
    Decision,
    Event,
    EventBatch,
    Experiment,
    ExperimentPlan,
    Ingested,
    NewExperiment,
    assign,
)
from goldsmith.ab_decisions import decide, told
from goldsmith.ab_drafts import change, create, delete, new_version
from goldsmith.ab_ingest import ingest
from goldsmith.ab_rows import decisions_of, get, list_experiments, locked
from goldsmith.errors import Conflict, InvalidInput
from goldsmith.signing import canonical

if TYPE_CHECKING:
    from goldsmith.db import Connection

__all__ = [
    "Arm",
    "Decision",
    "Event",
    "EventBatch",
    "Experiment",
    "ExperimentPlan",
    "Ingested",
    "NewExperiment",
    "approve",
    "assign",
    "change",
    "create",
    "decisions_of",
    "delete",
    "end",
    "get",
    "ingest",
    "list_experiments",
    "locked",
    "new_version",
    "next_step",
    "pause",
    "resume",
    "start",
]

NO_REASON = "No reason was given."


def start(
    conn: Connection, experiment_id: UUID, *, actor: str = "local", reason: str | None = None, force: bool = False
) -> Experiment:
    """draft → running: the plan is frozen and hashed, and the range of its group is given to it.

    Raises `Conflict` when it is no draft, when an experiment that has not ended shares a config with it (but for those of its
    group, which never share a unit), when the group has no room, when an adapter of it was retired meanwhile, or when one was
    rolled back on these configs and is still to cool down; only the last gives way to `force`, which needs a reason.
    """
    if force and reason is None:
        raise InvalidInput(
            "reason: a forced start needs one", errors=[{"field": "reason", "message": "must be given with force"}]
        )
    with conn.transaction():
        one_start_at_a_time(conn)
        experiment = locked(conn, experiment_id)
        if experiment.status != "draft":
            raise Conflict(f"experiment {experiment.name} is {experiment.status}; only a draft can be started")
        plan = experiment.plan
        refuse_shared_configs(conn, experiment)
        refs = [arm.adapter for arm in plan.arms if arm.adapter is not None]
        adapters.refuse_retired(conn, refs)
        cooling = _cooling_down(conn, plan, refs)
        if cooling and not force:
            raise Conflict(cooling)
        group_range = _group_range(conn, plan)
        frozen = plan.model_dump(mode="json")
        conn.execute(
            """
            UPDATE experiments SET status = 'running', plan = %s, plan_sha256 = %s, started_at = now(), step = 0,
                step_started_at = now(), group_name = %s, group_lo = %s, group_hi = %s
            WHERE id = %s
            """,
            (Jsonb(frozen), plan_sha256(frozen), plan.group, *(group_range or (None, None)), experiment_id),
        )
        set_weights(conn, experiment, 0)
        statistics = {"plan_sha256": plan_sha256(frozen)} | ({"overrode": cooling} if cooling else {})
        said(conn, experiment_id, "start", reason or "Started.", actor, statistics)
    return get(conn, experiment_id)


def one_start_at_a_time(conn: Connection) -> None:
    """Two that overlap must not both find nothing running, nor take the same range of their group."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtext('goldsmith.experiments.start'))")


def plan_sha256(plan: Mapping[str, Any]) -> str:
    """Of its canonical JSON (RFC 8785): two plans with the same hash are the same plan."""
    return hashlib.sha256(canonical(plan)).hexdigest()


def refuse_shared_configs(conn: Connection, experiment: Experiment) -> None:
    """Raise `Conflict` when another experiment that has not ended has a config with it; those of its own group may."""
    plan = experiment.plan
    for row in conn.execute(
        "SELECT id, name, group_name, plan->'configs' AS configs FROM experiments"
        " WHERE status IN ('running', 'paused') AND id <> %s",
        (experiment.id,),
    ):
        shared = _shared(plan.configs, row["configs"])
        if shared and (plan.group is None or row["group_name"] != plan.group):
            raise Conflict(
                f"experiment {row['name']} already runs on these configs: {', '.join(shared[:10])}; end it first, or give both"
                " the same mutual-exclusion group before they start",
                experiment=str(row["id"]),
                configs=shared,
            )


def refuse_taken_range(conn: Connection, experiment: Experiment) -> None:
    """Raise `Conflict` when another experiment of its group has been given some of its buckets since it ended."""
    if experiment.group_range is not None:
        lo, hi = experiment.group_range
        for row in _group_of(conn, experiment.plan.group):
            if row["id"] != experiment.id and row["lo"] < hi and lo < row["hi"]:
                raise Conflict(
                    f"experiment {row['name']} has the units of {experiment.name} in the group {experiment.plan.group} by now"
                )


def _shared(ours: list[str] | None, theirs: list[str] | None) -> list[str]:
    return sorted(set(ours) & set(theirs)) if ours and theirs else ours or theirs or ["all"]


def _cooling_down(conn: Connection, plan: ExperimentPlan, refs: list[str]) -> str | None:
    """Why none of these adapters may start on these configs yet."""
    names = [ref.rpartition("@")[0] for ref in refs]
    for row in conn.execute(
        """
        SELECT e.name, e.plan->'configs' AS configs, e.cooldown_until, a.adapter FROM experiments e
        JOIN arms a ON a.experiment_id = e.id
        WHERE e.cooldown_until > now() AND regexp_replace(a.adapter, '@[^@]*$', '') = ANY(%s) ORDER BY e.cooldown_until DESC
        """,
        (names,),
    ):
        if shared := _shared(plan.configs, row["configs"]):
            return (
                f"{row['adapter']} was rolled back in experiment {row['name']} on these configs: {', '.join(shared[:10])}; no"
                f" version of it starts there before {row['cooldown_until']:%Y-%m-%dT%H:%M:%SZ}, unless it is forced with a reason"
            )
    return None


def _group_range(conn: Connection, plan: ExperimentPlan) -> tuple[int, int] | None:
    """The first free buckets of the group that are wide enough."""
    if plan.group is None:
        return None
    width = round((1 if plan.group_share is None else plan.group_share) * BUCKETS)
    taken = _group_of(conn, plan.group)
    free = largest = 0
    for row in [*taken, {"lo": BUCKETS, "hi": BUCKETS}]:
        if row["lo"] - free >= width:
            return free, free + width
        largest, free = max(largest, row["lo"] - free), row["hi"]
    raise Conflict(
        f"group_share: the group {plan.group} has no room for {width / BUCKETS:g} of its units; {largest / BUCKETS:g} are free in one"
        f" piece, the others belong to {', '.join(row['name'] for row in taken)}",
        errors=[{"field": "group_share", "value": width / BUCKETS, "message": f"at most {largest / BUCKETS:g} are free"}],
    )


def _group_of(conn: Connection, group: str | None) -> list[dict[str, Any]]:
    return conn.execute(
        "SELECT id, name, group_lo AS lo, group_hi AS hi FROM experiments"
        " WHERE status IN ('running', 'paused') AND group_name = %s ORDER BY group_lo",
        (group,),
    ).fetchall()


def pause(conn: Connection, experiment_id: UUID, *, actor: str = "local", reason: str | None = None) -> Experiment:
    """running → paused: every unit is answered by base, events go on being taken. Pausing a paused one again is a no-op."""
    with conn.transaction():
        experiment = locked(conn, experiment_id)
        if experiment.status == "paused":
            return experiment
        if experiment.status != "running":
            raise Conflict(f"experiment {experiment.name} is {experiment.status}; only one that runs can be paused")
        conn.execute("UPDATE experiments SET status = 'paused' WHERE id = %s", (experiment_id,))
        to_base(conn, experiment_id)
        said(conn, experiment_id, "pause", reason or NO_REASON, actor)
    return get(conn, experiment_id)


_FORGET_MODELS = """
UPDATE arms SET gated = NULL, model_trouble = NULL, model_looked_at = NULL
WHERE experiment_id = %s AND gated IS DISTINCT FROM 'adapter_retired'
"""


def resume(conn: Connection, experiment_id: UUID, *, actor: str = "local", reason: str | None = None) -> Experiment:
    """paused → running at the step at which it was paused: every unit has the arm again that it had, and the step's hours count
    anew; whether the arms' models are there is looked at anew. Twice is a no-op. Raises `Conflict` when it does not pause, or when
    an adapter of it was retired meanwhile."""
    with conn.transaction():
        experiment = locked(conn, experiment_id)
        if experiment.status == "running":
            return experiment
        if experiment.status != "paused":
            raise Conflict(f"experiment {experiment.name} is {experiment.status}; only a paused one can be resumed")
        kept = [arm.adapter for arm in experiment.arms if arm.adapter is not None and arm.gated != "adapter_retired"]
        adapters.refuse_retired(conn, kept)
        conn.execute(_FORGET_MODELS, (experiment_id,))
        conn.execute(
            "UPDATE experiments SET status = 'running', step_started_at = now(), held_reason = NULL, held_at = NULL WHERE id = %s",
            (experiment_id,),
        )
        set_weights(conn, experiment, experiment.step)
        said(conn, experiment_id, "resume", reason or NO_REASON, actor)
    return get(conn, experiment_id)


def next_step(
    conn: Connection,
    experiment_id: UUID,
    *,
    actor: str,
    reason: str,
    statistics: Mapping[str, Any] | None = None,
) -> Experiment:
    """The next step of the ramp. Raises `Conflict` when there is none or it does not run; whether it may, the caller asks."""
    with conn.transaction():
        experiment = locked(conn, experiment_id)
        if experiment.status != "running":
            raise Conflict(f"experiment {experiment.name} is {experiment.status}; only one that runs goes on to its next step")
        step = experiment.step + 1
        if step >= experiment.plan.steps:
            raise Conflict(f"experiment {experiment.name} is at the last of its {experiment.plan.steps} steps")
        conn.execute(
            "UPDATE experiments SET step = %s, step_started_at = now(), held_reason = NULL, held_at = NULL WHERE id = %s",
            (step, experiment_id),
        )
        set_weights(conn, experiment, step)
        said(conn, experiment_id, "ramp", reason, actor, {"step": step, **(statistics or {})})
    return get(conn, experiment_id)


def approve(conn: Connection, experiment_id: UUID, *, actor: str, reason: str | None = None) -> Experiment:
    """Let the present step go on to the next, once its other rules hold. Twice is a no-op."""
    with conn.transaction():
        experiment = locked(conn, experiment_id)
        if experiment.status not in ("running", "paused"):
            raise Conflict(f"experiment {experiment.name} is {experiment.status}; only a step of one that runs can be approved")
        if experiment.step + 1 >= experiment.plan.steps:
            raise Conflict(f"experiment {experiment.name} is at the last of its {experiment.plan.steps} steps")
        if experiment.approved_step is None or experiment.approved_step < experiment.step:
            conn.execute("UPDATE experiments SET approved_step = step WHERE id = %s", (experiment_id,))
            said(conn, experiment_id, "approve", reason or NO_REASON, actor, {"step": experiment.step})
    return get(conn, experiment_id)


def end(conn: Connection, experiment_id: UUID, *, actor: str = "local", reason: str | None = None) -> Experiment:
    """running or paused → completed: every unit is answered by base. Ending a completed one again is a no-op."""
    with conn.transaction():
        experiment = locked(conn, experiment_id)
        if experiment.status == "completed":
            return experiment
        if experiment.status not in ("running", "paused"):
            raise Conflict(f"experiment {experiment.name} is {experiment.status}; only one that runs can be ended")
        conn.execute(
            "UPDATE experiments SET status = 'completed', ended_at = now(), held_reason = NULL, held_at = NULL WHERE id = %s",
            (experiment_id,),
        )
        to_base(conn, experiment_id)
        said(conn, experiment_id, "complete", reason or NO_REASON, actor)
        webhooks.announce(conn, "experiment.completed", told(experiment, None, reason or NO_REASON))
    return get(conn, experiment_id)


def to_base(conn: Connection, experiment_id: UUID) -> None:
    """Give every unit to base; no step is in force any more."""
    conn.execute("UPDATE arms SET weight = (name = %s)::int WHERE experiment_id = %s", (BASE, experiment_id))
    conn.execute(
        "UPDATE experiment_steps SET ended_at = clock_timestamp() WHERE experiment_id = %s AND ended_at IS NULL",
        (experiment_id,),
    )


def set_weights(conn: Connection, experiment: Experiment, step: int) -> None:
    """Give every arm its weight at a step, which is in force from now on."""
    weights = experiment.plan.weights(step)
    to_base(conn, experiment.id)
    conn.execute(
        "UPDATE arms SET weight = given.weight FROM unnest(%s::text[], %s::float[]) AS given(name, weight)"
        " WHERE arms.name = given.name AND experiment_id = %s",
        (list(weights), list(weights.values()), experiment.id),
    )
    conn.execute(
        "INSERT INTO experiment_steps (experiment_id, started_at, step) VALUES (%s, clock_timestamp(), %s)",
        (experiment.id, step),
    )


def said(
    conn: Connection,
    experiment_id: UUID,
    decision: str,
    reason: str,
    actor: str,
    statistics: Mapping[str, Any] | None = None,
) -> None:
    """Write down who did what and why, in the history and in the audit. Call it inside the transaction of the act."""
    facts = dict(statistics or {})
    audit.record(conn, actor, f"experiment.{decision}", f"experiment:{experiment_id}", {"reason": reason} | facts)
    decide(conn, experiment_id, decision, reason, actor=actor, statistics=facts)
