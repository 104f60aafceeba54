"""The snapshot of what runs, as the database knows it; and the server's own answers from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from goldsmith import signing
from goldsmith.ab.assignment import BASE, BUCKETS, group_salt, held
from goldsmith.ab.experiment import Experiment
from goldsmith.ab.snapshot import (
    Assignment,
    Facts,
    Rules,
    Snapshot,
    SnapshotArm,
    SnapshotExperiment,
    SnapshotGroup,
    nobody,
)
from goldsmith.ab_rows import get, running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goldsmith.db import Connection
    from goldsmith.storage import Storage


def snapshot(conn: Connection) -> Snapshot:
    """All experiments that run or pause, in one view of the database."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = conn.execute(
            "SELECT clock_timestamp() AS now, coalesce((SELECT sequence FROM ab_snapshot), 0) AS sequence"
        ).fetchone()
        assert row is not None
        found = [of(experiment) for experiment in running(conn)]
    return Snapshot(issued_at=row["now"], sequence=row["sequence"], experiments=found)


def signed(conn: Connection, storage: Storage) -> dict[str, Any]:
    """`{snapshot, signature}`: Ed25519 over the canonical JSON of `{snapshot}`, with the installation's key."""
    return signing.sign(storage, "snapshot", snapshot(conn).model_dump(mode="json"))


def of(experiment: Experiment) -> SnapshotExperiment:
    """One that runs or pauses, as a caller needs to know it."""
    plan, group = experiment.plan, None
    if plan.group is not None:
        group = SnapshotGroup(name=plan.group, salt=group_salt(plan.group), buckets=experiment.group_range or (0, BUCKETS))
    holding = held(plan.weights(plan.steps - 1), {arm.name: arm.weight for arm in experiment.arms})
    arms = []
    for arm in experiment.arms:
        buckets = None if arm.name == BASE else (holding[arm.name].start, holding[arm.name].stop)
        there = {"adapter": arm.adapter, "alias": arm.alias, "model": arm.model} if arm.gated is None else {"gated": arm.gated}
        arms.append(SnapshotArm(name=arm.name, buckets=buckets, **there))
    return SnapshotExperiment(
        id=str(experiment.id),
        name=experiment.name,
        version=experiment.version,
        status="running" if experiment.status == "running" else "paused",
        step=experiment.step,
        salt=experiment.salt,
        unit=plan.unit,
        group=group,
        arms=arms,
        eligibility=plan.eligibility,
        configs=plan.configs,
    )


def assignments(conn: Connection, experiment_id: UUID, units: Sequence[str], facts: Facts) -> list[Assignment]:
    """What the SDK answers for these units with a fresh snapshot. Base for an experiment that does not run, its state as reason."""
    experiment = get(conn, experiment_id)
    if experiment.status not in ("running", "paused"):
        return [nobody(experiment.status)._replace(experiment_id=str(experiment.id))] * len(units)
    rules = Rules(of(experiment))
    return [rules.answer(unit, facts) for unit in units]
