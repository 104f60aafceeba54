"""Beat: wakes scheduled jobs and fires schedules the second they are due. Rescue does both within seconds, so nothing depends on beat.

Webhooks are sent from here too, on a thread; every io worker has one as well. Another sweeps old jobs once an hour.
"""

from __future__ import annotations

from typing import Any

import psycopg
import redis
import structlog
from celery.beat import Scheduler

from goldsmith import jobs, logging, schedules
from goldsmith.db import Database
from goldsmith.queue import Queue, celery_app
from goldsmith.rescue import publish, tell_untold
from goldsmith.retention import SweepThread
from goldsmith.settings import get_settings
from goldsmith.webhooks import SenderThread

TICK_S = 1.0
log = structlog.get_logger()


class DueJobs(Scheduler):  # type: ignore[misc]
    """Celery's beat asks `tick` what is due; the answer is in Postgres."""

    def setup_schedule(self) -> None:
        """Celery also makes a scheduler that it only asks for its names; this one will tick."""
        super().setup_schedule()
        settings = self._settings = get_settings()
        self._database = Database(settings.database, size=4).open()
        self._queue = Queue(settings.broker)
        self._sender = SenderThread(
            self._database, allowed=settings.webhook_private, dead_after_days=settings.webhook_dead_after_days
        )
        self._sweeper = SweepThread(self._database, settings)
        self._sender.start()
        self._sweeper.start()

    def tick(self, *_: Any, **__: Any) -> float:
        """Fire and wake what is due and tell the broker; returns the seconds until the next tick."""
        try:
            with self._database.connection() as conn:
                publish(conn, self._queue, schedules.fire(conn, self._settings))
                if woken := jobs.wake_due(conn):
                    tell_untold(conn, self._queue)
                    self._database.changed(*woken)
        except (psycopg.OperationalError, redis.RedisError) as error:
            log.warning("beat waits", error=str(error).partition("\n")[0])
        return TICK_S

    def close(self) -> None:
        self._sweeper.stop()
        self._sender.stop()
        if self._sender.is_alive():
            self._sender.join(20)
        self._database.close()


def main() -> None:
    settings = get_settings()
    logging.configure(settings.log_level, process="beat")
    celery_app(settings.broker).Beat(scheduler_cls=DueJobs, max_interval=TICK_S, pidfile=None).run()
