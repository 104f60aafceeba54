"""The guard: watches over experiments on a thread in every API process, like rescue.

Batches of events wake it in their own process; it looks for itself every half second, so that events that came through another
process are seen as well. What a decision entails outside of the database it does after the commit, on threads of its own.
"""

from __future__ import annotations

import math
import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import structlog

from goldsmith import ab_effects, ab_presence
from goldsmith.ab_reading import Reader
from goldsmith.ab_watch import watch
from goldsmith.db import Database
from goldsmith.settings import Settings

log = structlog.get_logger()

EVERY_S = 0.5
LEAST_REST_S = 0.05
REST, LONGEST_REST_S = 2.0, 1.5
"""An experiment rests for twice as long as its last look took: a third of a core at most. But not too long: a breach is to be answered
within 5 s of its event, of which the caller's refresh takes 2."""
FULL_REST = 10.0  # the same after a look at every number, which takes ten times as long as one at what decides
SIDE_BY_SIDE = 2
AGAIN_S = 5.0  # without news: hours pass, horizons come

DUE = """
SELECT e.id, coalesce(s.events, 0) AS events, s.looked_events, s.shown_events,
    extract(epoch FROM now() - s.at)::float > %(again_s)s AND e.status = 'running' AS again
FROM experiments e LEFT JOIN ab_state s ON s.experiment_id = e.id
WHERE e.status IN ('running', 'paused') OR e.ended_at > now() - interval '30 days' AND s.events IS DISTINCT FROM s.shown_events
"""


@dataclass
class _Rest:
    """When an experiment may be looked at again, on the monotonic clock."""

    until: float = -math.inf
    full_until: float = -math.inf


class GuardThread(threading.Thread):
    """Looks at what runs until stopped. A database that is away is met again next time."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(name="guard", daemon=True)
        self._database, self._settings = database, settings
        self._reader = Reader()
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._rests: dict[UUID, _Rest] = {}
        self._outside = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="guard-effects")
        self._busy: list[Future[None]] = []

    def woken(self) -> None:
        """Events came in."""
        self._wake.set()

    def may_look(self, experiment_id: UUID) -> bool:
        """Whether somebody else may look at every number of it now: looks are rare where they take long."""
        rest = self._rests.get(experiment_id)
        return rest is None or time.monotonic() >= rest.full_until

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        self._outside.shutdown(wait=False, cancel_futures=True)

    def run(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311  spreads the processes out
            self._wake.clear()
            try:
                self._round()
            except (psycopg.OperationalError, psycopg.errors.LockNotAvailable) as error:
                log.warning("the guard waits for the database", error=str(error).partition("\n")[0])
            except Exception:  # children's safety hangs on this thread: it must not end
                log.exception("a look failed; the guard tries again")
            self._stopped.wait(LEAST_REST_S)

    def _round(self) -> None:
        if self._stopped.is_set():
            return
        self._busy = [one for one in self._busy if not one.done()]
        if self._settings.guard_asks and len(self._busy) < SIDE_BY_SIDE:  # a route that hangs holds up one of them
            self._busy.append(self._outside.submit(work_off, self._database, self._settings, self._stopped))
        with self._database.connection() as conn:
            due = conn.execute(DUE, {"again_s": AGAIN_S}).fetchall()
        for row in due:
            if self._stopped.is_set():
                return
            self._look(row)
        for gone in self._rests.keys() - {row["id"] for row in due}:
            del self._rests[gone]
            self._reader.forget(gone)

    def _look(self, row: dict[str, Any]) -> None:
        rest, now = self._rests.setdefault(row["id"], _Rest()), time.monotonic()
        full = now >= rest.full_until and row["events"] != row["shown_events"]
        news = bool(row["again"]) or row["events"] != row["looked_events"]
        if not full and (not news or now < rest.until):
            return
        with self._database.connection() as conn:
            watch(conn, row["id"], self._reader, full=full)
        end = time.monotonic()
        rest.until = end + min(REST * (end - now), LONGEST_REST_S)
        if full:
            rest.full_until = end + FULL_REST * (end - now)


def work_off(database: Database, settings: Settings, stopped: threading.Event) -> None:
    """Do what is due outside of the database: what follows decisions, one after another; then look whether models are there."""
    try:
        while not stopped.is_set() and ab_effects.run_due(database, settings):
            pass
        if not stopped.is_set():
            ab_presence.look_again(database, settings)
    except psycopg.Error as error:
        log.warning("what is to be done outside waits for the database", error=str(error).partition("\n")[0])
    except Exception:
        log.exception("what is to be done outside failed; it is tried again")


class EffectsThread(threading.Thread):
    """Does the same in an io worker, which reaches the model server where the API may not."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(name="guard-effects", daemon=True)
        self._database, self._settings = database, settings
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(EVERY_S * random.uniform(0.8, 1.2)):  # noqa: S311  spreads the processes out
            work_off(self._database, self._settings, self._stopped)

    def stop(self) -> None:
        self._stopped.set()
