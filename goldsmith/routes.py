"""Routes: what routers decided, without what was asked. Types and SQL, and how a router job's artifacts are read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from goldsmith import artifacts
from goldsmith.errors import Conflict, NotFound, ReferenceNotUsable

if TYPE_CHECKING:
    from goldsmith.db import AsyncConnection, Connection
    from goldsmith.storage import Storage
    from goldsmith.uno.route import Decision, RoutingTable


@dataclass(frozen=True)
class Route:
    id: UUID
    created_at: datetime
    cluster_id: str | None
    label: int | None
    path: str
    distance: float
    second_distance: float | None
    outlier: bool
    adapter: str | None
    critic: str | None


# Nobody waits for the disk: a database that breaks down may lose the decisions of its last half second.
RECORD = """
WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO routes (router_job_id, cluster_id, label, path, distance, second_distance, outlier, adapter, critic)
SELECT %(job_id)s, %(cluster_id)s, %(label)s, %(path)s, %(distance)s, %(second_distance)s, %(outlier)s, %(adapter)s, %(critic)s
FROM lazily
"""


async def record(conn: AsyncConnection, job_id: UUID, decision: Decision) -> None:
    """Keep what was decided; raises `NotFound` when the router is gone."""
    try:
        await conn.execute(RECORD, decision.as_dict() | {"job_id": job_id})
    except psycopg.errors.ForeignKeyViolation:
        raise NotFound(f"there is no job {job_id} any more") from None


def newest(conn: Connection, job_id: UUID, *, before: UUID | None, limit: int) -> list[Route]:
    """A router's decisions, newest first, from before a given one."""
    rows = conn.execute(
        "SELECT id, created_at, cluster_id, label, path, distance, second_distance, outlier, adapter, critic FROM routes"
        " WHERE router_job_id = %(job_id)s AND (%(before)s::uuid IS NULL OR id < %(before)s) ORDER BY id DESC LIMIT %(limit)s",
        {"job_id": job_id, "before": before, "limit": limit},
    )
    return [Route(**row) for row in rows]


def check(conn: Connection, job_id: UUID) -> None:
    """Raise `NotFound`, `ReferenceNotUsable` or `Conflict` unless this is a completed router job."""
    row: dict[str, Any] | None = conn.execute("SELECT kind, status FROM jobs WHERE id = %s", (job_id,)).fetchone()
    if row is None:
        raise NotFound(f"router: there is no job {job_id}")
    if row["kind"] != "router":
        message = f"job {job_id} is a {row['kind']} job; a router job is wanted"
        raise ReferenceNotUsable(
            f"router: {message}", errors=[{"field": "router", "value": f"job:{job_id}", "message": message}]
        )
    if row["status"] != "completed":
        raise Conflict(f"router: job {job_id} is {row['status']}; it routes once it is completed")


def load(conn: Connection, storage: Storage, job_id: UUID) -> RoutingTable:
    """A router as its job left it."""
    from goldsmith.uno.centroids import read_centroids  # numpy: an API that routes nothing does not load it
    from goldsmith.uno.route import RoutingTable

    check(conn, job_id)
    files = [storage.existing(artifacts.get(conn, job_id, name).uri) for name in ("router.json", "centroids.npz")]
    return RoutingTable.read(json.loads(files[0].read_bytes()), read_centroids(files[1]))
