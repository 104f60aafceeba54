"""Readers that wait: the long-poll and the event stream. A reader holds the last `seq` that it saw and never a queue of its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import psycopg_pool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from goldsmith import jobs
from goldsmith.db import AsyncDatabase
from goldsmith.errors import NotFound
from goldsmith.job import FINAL, Job, Status
from goldsmith.wake import Wakeups

HEARTBEAT_S = 15  # proxies commonly end a connection that was silent for 60
LOOK_AT_KEY_S = 3  # a reader whose key was revoked is sent away within so long, and what the key ring remembers
PAGE = 100  # events that one reader holds at most, while it does not take them
COME_BACK_MS = 2000
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class Event(BaseModel):
    seq: int
    attempt: int
    event: str
    data: dict[str, Any]
    created_at: datetime


def etag(job: Job) -> str:
    """Weak: `heartbeat_at` moves on without a new one."""
    return f'W/"{job.seq}"'


def matches(none_match: str, tag: str) -> bool:
    """`If-None-Match`, by weak comparison (RFC 9110, 13.1.2)."""
    given = [one.strip().removeprefix("W/") for one in none_match.split(",")]
    return "*" in given or tag.removeprefix("W/") in given


@dataclass(frozen=True)
class Page:
    status: Status
    text: bytes
    last: int
    full: bool


class Readers:
    """All readers of this process."""

    def __init__(self, database: AsyncDatabase, wakeups: Wakeups) -> None:
        self._database, self._wakeups = database, wakeups
        self._reading: dict[tuple[UUID, int, int], asyncio.Task[Page]] = {}

    async def next_change(self, job_id: UUID, none_match: str | None, wait: float) -> Job:
        """The job, once it is another than `none_match` says, or than it is now. At once when it has ended; after `wait` seconds in any case."""
        until = time.monotonic() + wait
        with self._wakeups.watching(job_id) as watched:
            job = first = await self._job(job_id)
            if none_match is not None and not matches(none_match, etag(job)):
                return job
            while job.seq == first.seq and job.status not in FINAL and not self._wakeups.closing:
                if (left := until - time.monotonic()) <= 0:
                    break
                await watched.beyond(job.seq, left)
                job = await self._job(job_id)
        return job

    async def _job(self, job_id: UUID) -> Job:
        async with self._database.connection() as conn:
            return await jobs.get_async(conn, job_id)

    def stream(self, job_id: UUID, after: int, may_read: Callable[[], Awaitable[bool]]) -> StreamingResponse:
        """Server-sent events from `after` on, to the job's end, or until the reader may read no more."""
        return StreamingResponse(self._events(job_id, after, may_read), media_type="text/event-stream", headers=HEADERS)

    async def _events(self, job_id: UUID, after: int, may_read: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        yield b"retry: %d\n\n" % COME_BACK_MS
        with self._wakeups.watching(job_id) as watched:
            while not self._wakeups.closing and await may_read():
                seen = watched.seq
                try:
                    page = await self._page(job_id, after, seen)
                except NotFound:  # removed while it was read
                    return
                except (psycopg.OperationalError, psycopg_pool.PoolTimeout):
                    yield b": the database does not answer\n\n"
                    await asyncio.sleep(1)
                    continue
                if page.text:
                    yield page.text
                after = page.last
                if page.full:
                    continue
                if page.status in FINAL:
                    return
                silent_since = time.monotonic()
                while not await watched.beyond(max(seen, after), min(HEARTBEAT_S, LOOK_AT_KEY_S)):
                    if not await may_read():
                        return
                    if time.monotonic() - silent_since >= HEARTBEAT_S:
                        silent_since = time.monotonic()
                        yield b": \n\n"

    async def _page(self, job_id: UUID, after: int, seen: int) -> Page:
        """Readers at the same place share one query. `seen` is part of it: a page begun before that change would lack it."""
        key = (job_id, after, seen)
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = asyncio.create_task(self._read(job_id, after))
            reading.add_done_callback(lambda _: self._reading.pop(key))
        return await asyncio.shield(reading)

    async def _read(self, job_id: UUID, after: int) -> Page:
        async with self._database.connection() as conn:
            status, events = await jobs.events_async(conn, job_id, after=after, limit=PAGE)
        text = "".join(map(_as_sent, events)).encode()
        return Page(status, text, events[-1]["seq"] if events else after, len(events) == PAGE)


def _as_sent(row: dict[str, Any]) -> str:
    """ASCII: some readers take more characters than CR and LF for the end of a line."""
    data = Event.model_validate(row).model_dump(mode="json")
    return f"id: {row['seq']}\nevent: {row['event']}\ndata: {json.dumps(data)}\n\n"
