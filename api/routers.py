"""The routers that this process routes by."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from goldsmith import routes
from goldsmith.db import Database
from goldsmith.storage import Storage

if TYPE_CHECKING:
    from goldsmith.uno.route import RoutingTable

KEPT = 16  # in memory: 4 MB each at 1,000 clusters of 1,024 numbers


class Routers:
    """The routers that were asked last, in memory. What a job left does not change, so none grows old."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database, self._storage = database, storage
        self._tables: dict[UUID, RoutingTable] = {}

    async def get(self, job_id: UUID) -> RoutingTable:
        table = self._tables.pop(job_id, None)
        if table is None:
            table = await asyncio.to_thread(self._load, job_id)
        self._tables[job_id] = table  # the last is the one used last
        while len(self._tables) > KEPT:
            self._tables.pop(next(iter(self._tables)))
        return table

    def _load(self, job_id: UUID) -> RoutingTable:
        with self._database.connection() as conn:
            return routes.load(conn, self._storage, job_id)

    def forget(self, job_id: UUID) -> None:
        self._tables.pop(job_id, None)
