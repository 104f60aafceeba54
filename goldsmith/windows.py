"""Quiet times: jobs that ask for it do not start while a workshop works with the same machine.

A worker asks before it claims such a job. Closed, the job becomes `scheduled` until it is worth asking again, `blocked_by` is
`window` and its message says why; no attempt and no failure is counted. A run that has started is not stopped by a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import structlog

from goldsmith.db import Connection
from goldsmith.gpu import free_bytes
from goldsmith.hours import parse_hours
from goldsmith.settings import Settings

log = structlog.get_logger()
ASK_AGAIN = timedelta(minutes=2)
TIMEOUT_S = 2.0
NEWEST_FOLDERS = 3  # of a day's folders: an export folder keeps every day for ever, and only the newest say anything


@dataclass(frozen=True)
class Closed:
    reason: str
    until: datetime
    """When it is worth asking again."""


def closed(settings: Settings, now: datetime, gpu_id: str | None = None) -> Closed | None:
    """Why a quiet job must not start now, the first reason that is found; None: it may."""
    for hours in parse_hours(settings.workshop_hours or ""):
        if (until := hours.until(now)) is not None:
            return Closed(f"workshop hours: {hours.text}", until)
    return _written(settings, now) or _working(settings, now) or _full(settings, now, gpu_id)


def _written(settings: Settings, now: datetime) -> Closed | None:
    if settings.devserver_exports is None:
        return None
    newest = max(_moments(settings.devserver_exports), default=0.0)
    until = datetime.fromtimestamp(newest, UTC) + timedelta(minutes=settings.devserver_idle_min)
    if until <= now:
        return None
    return Closed(f"the devserver was used in the last {settings.devserver_idle_min:g} minutes", until)


def _moments(folder: Path) -> Iterator[float]:
    """When the newest things below the export folder were written."""
    with suppress(OSError):  # it comes and goes with the devserver's clean-up
        by_age = sorted(((one.stat().st_mtime, one) for one in folder.iterdir()), reverse=True)
        for moment, one in by_age[:NEWEST_FOLDERS]:
            yield moment
            if one.is_dir() and not one.is_symlink():
                yield from _moments(one)


def _working(settings: Settings, now: datetime) -> Closed | None:
    """Never asks for the active users: that call would count us as one."""
    if settings.devserver_url is None:
        return None
    try:
        answer = (
            httpx.get(f"{settings.devserver_url.rstrip('/')}/api/queue-status", timeout=TIMEOUT_S).raise_for_status().json()
        )
        waiting = int(answer.get("queue_running", 0)) + int(answer.get("queue_pending", 0))
    except (httpx.HTTPError, ValueError, TypeError, AttributeError) as error:
        log.info("the devserver does not say what it does", error=str(error)[:200])
        return None
    return Closed(f"the devserver's queue holds {waiting} requests", now + ASK_AGAIN) if waiting else None


def _full(settings: Settings, now: datetime, gpu_id: str | None) -> Closed | None:
    if gpu_id is None or settings.gpu_free_gb == 0:
        return None
    free = free_bytes(gpu_id)
    if free is None or free >= settings.gpu_free_gb * 1e9:
        return None
    return Closed(f"the GPU has {free / 1e9:.1f} GB free; {settings.gpu_free_gb:g} GB are wanted", now + ASK_AGAIN)


DEFER = """
WITH job AS (
    UPDATE jobs SET status = 'scheduled', run_at = %(until)s, blocked_by = 'window', message = %(message)s, published_at = NULL,
        seq = seq + 1
    WHERE id = %(id)s AND status = 'queued'
    RETURNING *
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data)
    SELECT id, seq, attempt, 'deferred', jsonb_build_object('message', message, 'run_at', run_at) FROM job
)
SELECT id FROM job
"""


def defer(conn: Connection, job_id: UUID, settings: Settings, gpu_id: str | None) -> bool:
    """Put a quiet job off when its window is closed; returns whether it was. Free of charge where no window is configured."""
    if not (settings.workshop_hours or settings.devserver_exports or settings.devserver_url or settings.gpu_free_gb):
        return False
    row = conn.execute(
        "SELECT now() AS now FROM jobs WHERE id = %s AND status = 'queued' AND outside_workshops", (job_id,)
    ).fetchone()
    if row is None or (found := closed(settings, row["now"], gpu_id)) is None:
        return False
    values = {"id": job_id, "until": found.until, "message": f"Waits: {found.reason}"}
    return conn.execute(DEFER, values).fetchone() is not None
