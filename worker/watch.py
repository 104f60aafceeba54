"""Watches one attempt: beats its heart, and says when and why it must stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

import psycopg
import structlog

from goldsmith import jobs
from goldsmith.db import Database
from goldsmith.errors import FencedOut
from goldsmith.jobs import Claimed

Reason = Literal["cancel", "lost", "timeout", "stopping"]
BEAT_EVERY_S = 1.0
log = structlog.get_logger()


class Watch:
    """`with Watch(...) as watch:` from the claim to the end that is written. `reason` is set the first time something says stop."""

    def __init__(self, database: Database, job: Claimed, stopping: threading.Event) -> None:
        self.reason: Reason | None = None
        self.fenced_out = threading.Event()
        self._database, self._job, self._stopping = database, job, stopping
        self._on_stop: Callable[[Reason], None] | None = None
        self._telling = threading.Lock()
        self._ended = threading.Event()
        self._deadline = time.monotonic() + job.timeout
        self._thread = threading.Thread(target=self._run, name=f"watch-{job.id}", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def listen(self, on_stop: Callable[[Reason], None]) -> None:
        """Call this when something says stop, or now when it already has."""
        with self._telling:
            self._on_stop = on_stop
            if self.reason is not None:
                on_stop(self.reason)

    def _run(self) -> None:
        while not self._ended.wait(BEAT_EVERY_S):
            reason = self._check()
            with self._telling:
                if reason is not None and (self.reason is None or reason == "lost"):  # lost wins over what was asked before
                    self.reason = reason
                    if self._on_stop is not None:
                        self._on_stop(reason)
            if reason == "lost":
                self.fenced_out.set()
                return

    def _check(self) -> Reason | None:
        try:
            with self._database.connection() as conn:
                cancel = jobs.heartbeat(conn, self._job.id, self._job.attempt)
        except FencedOut:
            return "lost"
        except psycopg.Error as error:  # the database is away; the job goes on, and rescue counts from its return
            log.warning("heartbeat waits for the database", **self._job.in_log, error=str(error).partition("\n")[0])
            cancel = False
        if cancel:
            return "cancel"
        if time.monotonic() > self._deadline:
            return "timeout"
        if self._stopping.is_set():
            return "stopping"
        return None
