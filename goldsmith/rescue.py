"""Rescue: on a thread in every API process and worker, never through the queue that it must save."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import psycopg
import redis
import structlog

from goldsmith import jobs, schedules
from goldsmith.db import Connection, Database
from goldsmith.jobs import Told
from goldsmith.queue import Queue
from goldsmith.settings import Settings

log = structlog.get_logger()


def rescue_once(conn: Connection, queue: Queue, *, lease_s: float, since: datetime | None = None) -> list[UUID]:
    """One round: put back, wake, and tell the broker of what it does not hold. Returns the lost jobs. `since`: `jobs.rescue`."""
    lost = jobs.rescue(conn, lease_s=lease_s, since=since)
    tell_untold(conn, queue)
    return lost


def tell_untold(conn: Connection, queue: Queue) -> int:
    """Publish queued rows, but only as many as the broker lacks: a long queue is not a lost message."""
    published = 0
    for name, rows in jobs.untold(conn).items():
        missing = rows - queue.depth(name)
        if missing <= 0:
            continue
        published += publish(conn, queue, jobs.tell(conn, name, missing))
    return published


def publish(conn: Connection, queue: Queue, told: Sequence[Told]) -> int:
    """Publish what was marked as told; what the broker refuses is told again later. Returns how many it took."""
    refused = queue.publish(told)
    if refused:
        jobs.untell(conn, refused)
    return len(told) - len(refused)


class RescueThread(threading.Thread):
    """Runs rescue every few seconds until stopped; a database or broker that is down is met again next time."""

    def __init__(self, database: Database, queue: Queue, settings: Settings) -> None:
        super().__init__(name="rescue", daemon=True)
        self._database, self._queue, self._settings = database, queue, settings
        self._stopped = threading.Event()
        self._since: datetime | None = None
        self._last_round = -math.inf

    def run(self) -> None:
        while not self._stopped.wait(self._settings.rescue_every_s * random.uniform(0.8, 1.2)):  # noqa: S311  spreads the processes out
            try:
                with self._database.connection() as conn:
                    lost = rescue_once(conn, self._queue, lease_s=self._settings.lease_s, since=self._heard_since(conn))
                    publish(conn, self._queue, schedules.fire(conn, self._settings))
                self._database.changed(*lost)
                for job_id in lost:
                    log.warning("put back a lost job", job_id=str(job_id))
            except (psycopg.OperationalError, psycopg.errors.LockNotAvailable) as error:
                log.warning("rescue waits for the database", error=str(error).partition("\n")[0])
            except redis.RedisError as error:
                log.warning("rescue waits for the broker", error=str(error))
            except Exception:  # this thread is what everything else is saved by: it must not end
                log.exception("rescue failed; it tries again")

    def _heard_since(self, conn: Connection) -> datetime | None:
        """From when on this process could have heard a heartbeat: a database, or a machine, that was away kills nobody."""
        now = time.time()  # it goes on while a laptop sleeps; the monotonic clock does not
        if now - self._last_round > max(self._settings.lease_s / 2, 2 * self._settings.rescue_every_s):
            row = conn.execute("SELECT now() AS now").fetchone()
            self._since = row["now"] if row else None
        self._last_round = now
        return self._since

    def stop(self) -> None:
        self._stopped.set()
