"""A router as its job leaves it, written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import numpy
from numpy.typing import ArrayLike

from goldsmith import artifacts
from goldsmith.db import Connection
from goldsmith.storage import Storage
from goldsmith.uno.centroids import Centroids
from goldsmith.uno.route import FORMAT_VERSION, Leg, RoutingTable


def make_router(
    conn: Connection,
    storage: Storage,
    job_factory: Callable[..., UUID],
    legs: Sequence[Leg],
    vectors: ArrayLike,
    *,
    outlier_distance: float = 1.2,
    **more: Any,
) -> tuple[str, RoutingTable]:
    """The reference of a completed router job, and its table."""
    job_id = job_factory(kind="router")
    centroids = Centroids(numpy.asarray(vectors, dtype=numpy.float32), [leg.cluster_id for leg in legs], "minilm")
    document = {
        "format_version": FORMAT_VERSION,
        "router": f"job:{job_id}",
        "encoder": "minilm",
        "outlier_distance": outlier_distance,
        "clusters": [asdict(leg) for leg in legs],
    } | more
    artifacts.save(conn, storage, job_id, 1, "router.json", json.dumps(document).encode(), "application/json")
    artifacts.save(conn, storage, job_id, 1, "centroids.npz", centroids.to_bytes(), "application/octet-stream")
    conn.execute("UPDATE jobs SET status = 'completed', completed_at = now(), result = '{}' WHERE id = %s", (job_id,))
    return f"job:{job_id}", RoutingTable.read(document, centroids)
