"""What the routes share: the databases, the queue, the settings; opened and closed with the app."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from functools import partial
from typing import Annotated

import psycopg
import structlog
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from api.access import KeyRing, Rates
from api.decisions import Decisions
from api.metrics import QueueNumbers
from api.routers import Routers
from api.stream import Readers
from goldsmith import jobs, signing
from goldsmith.db import AsyncDatabase, Database, connect_async
from goldsmith.guard import GuardThread
from goldsmith.jobs import Told
from goldsmith.keys import Caller
from goldsmith.queue import Queue
from goldsmith.rescue import RescueThread
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from goldsmith.student.embedding import Embedder, open_embedder
from goldsmith.wake import Wakeups

log = structlog.get_logger()
COUNT_EVERY_S = 1.0


class State:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database, for_requests=True)
        self.async_database = AsyncDatabase(settings.database)
        self.queue = Queue(settings.broker)
        self.storage = Storage(settings.state_dir)
        signing.private_key(self.storage)  # made at the first start
        self.wakeups = Wakeups(partial(connect_async, settings.database, "goldsmith wake"))
        self.readers = Readers(self.async_database, self.wakeups)
        self.rescue = RescueThread(self.database, self.queue, settings)
        self.guard = GuardThread(self.database, settings)
        self.keys = KeyRing(settings, self.async_database)
        self.rates = Rates(settings)
        self.routers = Routers(self.database, self.storage)
        self.decisions = Decisions(self.async_database, self.routers)
        self._embedder: Embedder | None = None
        self.numbers = CollectorRegistry()
        self.numbers.register(QueueNumbers(self.database))
        self._waiting = (-math.inf, 0)
        self._to_tell: list[Told] = []
        self._telling: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self.database.open()
        await self.async_database.open()
        self.wakeups.open()
        self.rescue.start()
        self.guard.start()

    async def close(self) -> None:
        self.rescue.stop()
        self.guard.stop()
        await self.wakeups.close()
        try:
            if self._telling is not None:
                await self._telling
        finally:
            await self.decisions.written()
            await self.rates.close()
            if self._embedder is not None:
                await self._embedder.aclose()
            await self.async_database.close()
            self.database.close()

    @property
    def embedder(self) -> Embedder:
        """Made by its first use, as only that may be refused for an address that is none."""
        self._embedder = self._embedder or open_embedder(self.settings)
        return self._embedder

    async def waiting(self) -> int:
        """How many jobs are queued, counted at most once a second."""
        if time.monotonic() - self._waiting[0] > COUNT_EVERY_S:
            async with self.async_database.connection() as conn:
                found = await conn.execute("SELECT count(*) AS n FROM jobs WHERE status = 'queued' AND completed_at IS NULL")
                row = await found.fetchone()
            self._waiting = (time.monotonic(), row["n"] if row else 0)
        return self._waiting[1]

    def publish_soon(self, told: Iterable[Told]) -> None:
        """Tell the broker off the event loop, after the reply if need be, and together what comes while it is being told.
        What it does not take, rescue tells later."""
        self._to_tell.extend(told)
        if self._to_tell and (self._telling is None or self._telling.done()):
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        while self._to_tell:
            messages, self._to_tell = self._to_tell, []
            await asyncio.to_thread(self._publish, messages)

    def _publish(self, messages: list[Told]) -> None:
        refused = self.queue.publish(messages)
        if refused:
            log.warning("the broker did not take jobs; rescue will publish them", jobs=len(refused))
            try:
                with self.database.connection() as conn:
                    jobs.untell(conn, refused)
            except psycopg.OperationalError as error:  # rescue tells them again when they have not been claimed for a while
                log.warning("the database is away too", error=str(error).partition("\n")[0])


# Dependencies are async without a need to wait: FastAPI runs a plain function on a thread, which costs 100 to 500 µs each.
async def get_state(request: Request) -> State:
    state: State = request.app.state.goldsmith
    return state


async def get_caller(request: Request) -> Caller:
    """Who sent the request, once `authorize` let it in."""
    caller: Caller = request.state.caller
    return caller


StateDep = Annotated[State, Depends(get_state)]
CallerDep = Annotated[Caller, Depends(get_caller)]
