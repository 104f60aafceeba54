"""Wake-ups for readers: which jobs changed, said over Postgres' NOTIFY, ids only, outside of the change's transaction.

A commit with a NOTIFY in it takes a lock of the whole database, so the changes themselves carry none: each process says
what it changed in a statement of its own, at most every 100 ms. A wake-up may be lost, early or doubled; whoever reads
looks into the table, and looks there once a second anyway.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import UUID

import psycopg
import psycopg_pool
import structlog

CHANNEL = "goldsmith_jobs"
EVERY_S = 0.1
LOOK_EVERY_S = 1.0
IDS_A_MESSAGE = 200  # a payload ends at 8,000 bytes; an id is 36 and a comma
# The end, or the retry, of a job may change those that wait for it, and what waits for them.
_WITH_CHILDREN = """
WITH RECURSIVE found AS (
    SELECT unnest(%s::uuid[]) AS id UNION SELECT d.job_id FROM job_dependencies d JOIN found ON d.parent_id = found.id
) SELECT id FROM found
"""
_SEND = "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload"
_LOOK = "SELECT id, seq FROM jobs WHERE id = ANY(%s)"

log = structlog.get_logger()


class Notifier:
    """The sender's side, one a process; thread-safe. Its thread starts with the first change."""

    def __init__(self, connection: Callable[[], AbstractContextManager[psycopg.Connection[Any]]]) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._ids: set[UUID] = set()
        self._wanted, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def changed(self, ids: Iterable[UUID]) -> None:
        """Tell the readers of these jobs, and of those that depend on them, soon. Call it after the change has committed."""
        with self._lock:
            self._ids.update(ids)
            if self._thread is None and self._ids and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="wake", daemon=True)
                self._thread.start()
        self._wanted.set()

    def stop(self) -> None:
        """What was not sent by now, readers see when they look."""
        self._stopped.set()
        self._wanted.set()

    def _run(self) -> None:
        while self._wanted.wait() and not self._stopped.is_set():
            self._wanted.clear()
            self._send()
            self._stopped.wait(EVERY_S)

    def _send(self) -> None:
        with self._lock:
            changed, self._ids = list(self._ids), set()
        if not changed:
            return
        try:
            with self._connection() as conn:
                ids = sorted(str(row["id"]) for row in conn.execute(_WITH_CHILDREN, (changed,)).fetchall())
                payloads = [",".join(ids[start : start + IDS_A_MESSAGE]) for start in range(0, len(ids), IDS_A_MESSAGE)]
                conn.execute(_SEND, (CHANNEL, payloads))
        except (psycopg.OperationalError, psycopg_pool.PoolTimeout) as error:  # the readers see it when they look
            log.warning("wake-ups were not sent", jobs=len(changed), error=str(error).partition("\n")[0])


class Watched:
    """One job that somebody reads; all of its readers share it, and each holds no more than the last `seq` it saw."""

    def __init__(self) -> None:
        self.seq = 0
        self.readers = 0
        self._changed = asyncio.Event()

    def wake(self) -> None:
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()

    async def beyond(self, seq: int, seconds: float) -> bool:
        """Wait until the job may be beyond `seq`, or is gone; False: so many seconds passed without it."""
        if self.seq > seq:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


class Wakeups:
    """The readers' side, one a process: one connection that listens, one query for all watched jobs."""

    def __init__(self, connect: Callable[[], Awaitable[psycopg.AsyncConnection[dict[str, Any]]]]) -> None:
        self._connect = connect
        self._watched: dict[UUID, Watched] = {}
        self._task: asyncio.Task[None] | None = None
        self.closing = False
        """Set when the server goes: whoever waits leaves."""

    def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        self.release()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def release(self) -> None:
        """Let every reader go, so that none holds up the end of the server."""
        self.closing = True
        for watched in self._watched.values():
            watched.wake()

    @contextmanager
    def watching(self, job_id: UUID) -> Iterator[Watched]:
        """Watch a job. Read it afterwards, not before: then no change falls between."""
        watched = self._watched.setdefault(job_id, Watched())
        watched.readers += 1
        try:
            yield watched
        finally:
            watched.readers -= 1
            if not watched.readers:
                del self._watched[job_id]

    async def _listen(self) -> None:
        while True:
            try:
                async with await self._connect() as conn:
                    await conn.execute(f"LISTEN {CHANNEL}")
                    await self._look_on(conn)
            except psycopg.OperationalError as error:
                log.warning("wake-ups wait for the database", error=str(error).partition("\n")[0])
                await asyncio.sleep(LOOK_EVERY_S)

    async def _look_on(self, conn: psycopg.AsyncConnection[dict[str, Any]]) -> None:
        look_at = time.monotonic()
        while True:
            named: set[str] = set()
            async for note in conn.notifies(timeout=max(0, look_at - time.monotonic()), stop_after=1):
                named.update(note.payload.split(","))
            if all_of_them := time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_EVERY_S
            if ids := [job_id for job_id in self._watched if all_of_them or str(job_id) in named]:
                self._wake(ids, {row["id"]: row["seq"] for row in await (await conn.execute(_LOOK, (ids,))).fetchall()})

    def _wake(self, ids: list[UUID], found: dict[UUID, int]) -> None:
        for job_id in ids:
            watched = self._watched.get(job_id)
            if watched is None:
                continue
            seq = found.get(job_id)
            if seq is None:  # it was removed: its readers find that out
                watched.wake()
            elif seq > watched.seq:
                watched.seq = seq
                watched.wake()
