"""What routers decided, written after the answer has left: nobody waits for the database."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import psycopg_pool
import structlog

from api.routers import Routers
from goldsmith import routes
from goldsmith.db import AsyncDatabase
from goldsmith.errors import NotFound

if TYPE_CHECKING:
    from goldsmith.uno.route import Decision

log = structlog.get_logger()
MOST = 10_000  # waiting for a database that is away; the oldest make room


class Decisions:
    def __init__(self, database: AsyncDatabase, routers: Routers) -> None:
        self._database, self._routers = database, routers
        self._waiting: deque[tuple[UUID, Decision]] = deque(maxlen=MOST)
        self._writing: asyncio.Task[None] | None = None

    def keep(self, job_id: UUID, decision: Decision) -> None:
        """Soon. What the database does not take is tried again with the next one."""
        self._waiting.append((job_id, decision))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def written(self) -> None:
        """Return when what was decided until now is there to be read, or the database is away."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        try:
            async with self._database.connection() as conn:
                while self._waiting:
                    job_id, decision = self._waiting.popleft()
                    try:
                        await routes.record(conn, job_id, decision)
                    except NotFound:  # nobody can ask for its decisions any more
                        self._routers.forget(job_id)
                    except psycopg.OperationalError:
                        self._waiting.appendleft((job_id, decision))
                        raise
        except (psycopg.OperationalError, psycopg_pool.PoolTimeout) as error:
            log.warning("decisions wait for the database", decisions=len(self._waiting), error=str(error).partition("\n")[0])
