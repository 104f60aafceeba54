"""The guard: watches over experiments on threads in every API process, like rescue.

One thread decides: batches of events wake it in their own process, and it looks for itself every half second, so that events that
came through another process are seen as well. A second one works out the numbers that are shown, which takes ten times as long.
What a decision entails outside of the database is done after the commit, on threads of its own.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

import psycopg
import structlog

from goldsmith import ab_effects, ab_presence, ab_watch
from goldsmith.ab_reading import Reader
from goldsmith.db import Connection, Database
from goldsmith.settings import Settings

log = structlog.get_logger()

EVERY_S = 0.5
LEAST_REST_S = 0.05
REST, LONGEST_REST_S = 2.0, 1.5
"""An experiment rests for twice as long as its last look took: a third of a core at most. But not too long: a breach is to be answered
within 5 s of its event, of which the caller's refresh takes 2."""
FULL_REST, FULL_PAUSE = 10.0, 2.0  # the same after a look at every number, and before any other experiment's
SIDE_BY_SIDE = 2
SKETCHES_A_LOOK = 2000
"""0.1 s: after a start, with many of them to be read, no other guardrail waits for the variety of outputs."""
AGAIN_S = 5.0  # without news: hours pass, horizons come

KNOWN = """
SELECT e.id, {due} AS due FROM experiments e LEFT JOIN ab_state s ON s.experiment_id = e.id
WHERE e.status IN ('running', 'paused') OR e.ended_at > now() - interval '30 days'
"""
TO_DECIDE = KNOWN.format(
    due="e.ended_at IS NULL AND coalesce(s.events, 0) IS DISTINCT FROM s.looked_events"
    f" OR e.status = 'running' AND now() - s.at > interval '{AGAIN_S} seconds'"
)
TO_TELL = KNOWN.format(due="coalesce(s.events, 0) IS DISTINCT FROM s.shown_events")


class _LookingThread(threading.Thread):
    """Looks at what is due until stopped. A database that is away is met again next time, and so is a look that failed: it keeps
    nobody from looking at the other experiments."""

    def __init__(
        self,
        name: str,
        database: Database,
        due: str,
        reader: Reader,
        look: Callable[[Connection, UUID, Reader], object],
        rest: Callable[[float], float],
        pause: float = 0.0,
    ) -> None:
        """`rest`: of an experiment after a look that took so long; `pause`: of the thread, times as long."""
        super().__init__(name=name, daemon=True)
        self._database, self._due, self._look_at, self._rest, self._pause = database, due, look, rest, pause
        self._reader = reader
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._until: dict[UUID, float] = {}
        """When an experiment may be looked at again, on the monotonic clock."""

    def woken(self, experiment_id: UUID | None = None) -> None:
        """There are news; of this experiment such that it is to be looked at now."""
        if experiment_id is not None:
            self._until.pop(experiment_id, None)
        self._wake.set()

    def may_look(self, experiment_id: UUID) -> bool:
        return time.monotonic() >= self._may_look_at(experiment_id)

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()

    def run(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311  spreads the processes out
            self._wake.clear()
            try:
                self.round()
            except (psycopg.OperationalError, psycopg.errors.LockNotAvailable) as error:
                log.warning("the guard waits for the database", error=str(error).partition("\n")[0])
            except Exception:  # children's safety hangs on this thread: it must not end
                log.exception("the guard failed; it tries again")
            self._stopped.wait(LEAST_REST_S)

    def round(self) -> None:
        with self._database.connection() as conn:
            known = {row["id"]: row["due"] for row in conn.execute(self._due)}
        for gone in self._until.keys() - known.keys():
            self._until.pop(gone, None)
            self._reader.forget(gone)
        looks_at = [experiment_id for experiment_id, due in known.items() if due]
        for experiment_id in sorted(looks_at, key=self._may_look_at):  # the longest rested first
            if self._stopped.is_set():
                return
            if self.may_look(experiment_id):
                self._stopped.wait(self._pause * self._look(experiment_id))

    def _may_look_at(self, experiment_id: UUID) -> float:
        return self._until.get(experiment_id, -math.inf)

    def _look(self, experiment_id: UUID) -> float:
        """How long it took, in seconds."""
        began, rest = time.monotonic(), LONGEST_REST_S
        try:
            with self._database.connection() as conn:
                self._look_at(conn, experiment_id, self._reader)
            rest = self._rest(time.monotonic() - began)
        except (psycopg.OperationalError, psycopg.InternalError) as error:  # InternalError: it was asleep in a transaction
            log.warning("a look waits for the database", experiment_id=str(experiment_id), error=str(error).partition("\n")[0])
        except Exception:
            self._reader.forget(experiment_id)
            log.exception("a look failed; it is tried again", experiment_id=str(experiment_id))
        end = time.monotonic()
        self._until[experiment_id] = end + rest
        return end - began


class GuardThread(_LookingThread):
    """Decides. Starts and stops the other threads."""

    def __init__(self, database: Database, settings: Settings) -> None:
        reader = Reader(SKETCHES_A_LOOK)
        super().__init__("guard", database, TO_DECIDE, reader, self._decide_on, lambda took: min(REST * took, LONGEST_REST_S))
        self._settings = settings
        self._numbers = _LookingThread(
            "guard-numbers", database, TO_TELL, Reader(), ab_watch.tell, lambda took: FULL_REST * took, FULL_PAUSE
        )
        self._outside = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="guard-effects")
        self._busy: list[Future[None]] = []

    def _decide_on(self, conn: Connection, experiment_id: UUID, reader: Reader) -> None:
        if ab_watch.decide_on(conn, experiment_id, reader):
            self._follow()
            self._numbers.woken(experiment_id)

    def decided(self, experiment_id: UUID) -> None:
        """A person decided: all that follows is due."""
        self.woken()
        self._numbers.woken(experiment_id)

    def may_tell(self, experiment_id: UUID) -> bool:
        """Whether somebody else may look at every number of it now: looks are rare where they take long."""
        return self._numbers.may_look(experiment_id)

    def start(self) -> None:
        super().start()
        self._numbers.start()

    def stop(self) -> None:
        super().stop()
        self._numbers.stop()
        self._outside.shutdown(wait=False, cancel_futures=True)

    def round(self) -> None:
        self._follow()
        super().round()

    def _follow(self) -> None:
        """Let what is due outside of the database be done. A route that hangs holds up one of the threads."""
        self._busy = [one for one in self._busy if not one.done()]
        if self._settings.guard_asks and len(self._busy) < SIDE_BY_SIDE and not self._stopped.is_set():
            self._busy.append(self._outside.submit(work_off, self._database, self._settings, self._stopped))


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
