"""Experiments before they start: written, changed, made anew as the next version of one that has started, deleted."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from uuid import UUID

from psycopg import errors as pg
from psycopg.types.json import Jsonb

from goldsmith import adapters, audit
from goldsmith.ab.experiment import Experiment
from goldsmith.ab.plan import Arm, ExperimentPlan, NewExperiment
from goldsmith.ab_decisions import decide
from goldsmith.ab_rows import get, locked
from goldsmith.errors import Conflict, InvalidInput, ReferenceNotUsable

if TYPE_CHECKING:
    from goldsmith.db import Connection


def create(conn: Connection, new: NewExperiment, *, created_by: str = "local") -> Experiment:
    """Write a draft. An adapter alias is pinned to its version; raises `Conflict` when the name is taken."""
    plan = _pinned(conn, new.plan)
    with conn.transaction():
        made = _insert(conn, plan, new.salt, created_by)
    return get(conn, made)


def change(conn: Connection, experiment_id: UUID, new: NewExperiment, *, actor: str = "local") -> Experiment:
    """Put another plan in a draft's place; its salt stays where `new` has none. Raises `Conflict` once it has started."""
    plan = _pinned(conn, new.plan)
    with conn.transaction():
        former = locked(conn, experiment_id)
        if former.status != "draft":
            raise Conflict(
                f"experiment {former.name} is {former.status}: its plan is frozen; POST the changed plan to"
                f" /v1/experiments/{experiment_id}/versions, which makes version {former.version + 1} of it"
            )
        if former.version > 1 and plan.name != former.name:
            raise _renamed(former.name, plan.name)
        try:
            conn.execute(
                "UPDATE experiments SET name = %s, salt = %s, unit = %s, plan = %s WHERE id = %s",
                (plan.name, new.salt or former.salt, plan.unit, Jsonb(plan.model_dump(mode="json")), experiment_id),
            )
        except pg.UniqueViolation:
            raise _taken(plan.name) from None
        conn.execute("DELETE FROM arms WHERE experiment_id = %s", (experiment_id,))
        _insert_arms(conn, experiment_id, plan)
        audit.record(conn, actor, "experiment.change", f"experiment:{experiment_id}")
    return get(conn, experiment_id)


def new_version(conn: Connection, experiment_id: UUID, new: NewExperiment, *, created_by: str = "local") -> Experiment:
    """A draft of the same name that supersedes a started experiment, which stays as it is. It has a salt of its own: who had
    which arm before must not decide who has it now."""
    plan = _pinned(conn, new.plan)
    with conn.transaction():
        former = locked(conn, experiment_id)
        if former.status == "draft":
            raise Conflict(f"experiment {former.name} is a draft; change it with PUT /v1/experiments/{experiment_id}")
        if plan.name != former.name:
            raise _renamed(former.name, plan.name)
        newest = conn.execute("SELECT max(version) AS version FROM experiments WHERE name = %s", (plan.name,)).fetchone()
        assert newest is not None
        made = _insert(conn, plan, new.salt, created_by, version=newest["version"] + 1, supersedes=experiment_id)
    return get(conn, made)


def delete(conn: Connection, experiment_id: UUID, *, actor: str = "local") -> None:
    """Remove a draft. Raises `Conflict` once it has started: what children took part in is kept."""
    with conn.transaction():
        found = locked(conn, experiment_id)
        if found.status != "draft":
            raise Conflict(f"experiment {found.name} is {found.status}; only a draft can be deleted")
        conn.execute("DELETE FROM experiments WHERE id = %s", (experiment_id,))
        audit.record(conn, actor, "experiment.delete", f"experiment:{experiment_id}", {"name": found.name})


def _insert(
    conn: Connection,
    plan: ExperimentPlan,
    salt: str | None,
    created_by: str,
    *,
    version: int = 1,
    supersedes: UUID | None = None,
) -> UUID:
    row = (plan.name, salt or secrets.token_hex(16), plan.unit, Jsonb(plan.model_dump(mode="json")), created_by)
    try:
        made = conn.execute(
            "INSERT INTO experiments (name, salt, unit, plan, created_by, version, supersedes)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
            (*row, version, supersedes),
        ).fetchone()
    except pg.UniqueViolation:
        raise _taken(plan.name) from None
    assert made is not None
    _insert_arms(conn, made["id"], plan)
    what = f"Made by {created_by}." if supersedes is None else f"Made by {created_by} as version {version}."
    decide(conn, made["id"], "create", what, actor=created_by)
    found: UUID = made["id"]
    return found


def _insert_arms(conn: Connection, experiment_id: UUID, plan: ExperimentPlan) -> None:
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO arms (experiment_id, name, weight, adapter) VALUES (%s, %s, %s, %s)",
            [(experiment_id, arm.name, arm.weight, arm.adapter) for arm in plan.arms],
        )


def _pinned(conn: Connection, plan: ExperimentPlan) -> ExperimentPlan:
    """With the version behind every alias, and the alias beside it."""
    return plan.model_copy(update={"arms": [_pinned_arm(conn, arm, index) for index, arm in enumerate(plan.arms)]})


def _pinned_arm(conn: Connection, arm: Arm, index: int) -> Arm:
    if arm.adapter is None:
        return arm
    try:
        pinned = adapters.resolve(conn, arm.adapter)
    except ReferenceNotUsable as error:
        wrong = {"field": f"arms.{index}.adapter", "value": arm.adapter, "message": error.detail}
        raise ReferenceNotUsable(f"{wrong['field']}: {error.detail}", errors=[wrong]) from None
    alias = arm.alias if pinned == arm.adapter else arm.adapter.rpartition("@")[2]
    return arm.model_copy(update={"adapter": pinned, "alias": alias})


def _taken(name: str) -> Conflict:
    return Conflict(f"there is already an experiment named {name!r}; choose another name")


def _renamed(former: str, name: str) -> InvalidInput:
    message = f"must stay {former!r}: another name would be another experiment"
    return InvalidInput(f"name: {message}, not {name!r}", errors=[{"field": "name", "value": name, "message": message}])
