"""Celery's consumer, with the events for Flower sent in groups."""

from __future__ import annotations

import time
from typing import Any

from celery.worker.consumer import Consumer

EVENTS_EVERY_S = 0.5


class GroupingConsumer(Consumer):  # type: ignore[misc]
    """Celery publishes the events of each turn of its loop: with no-op jobs that was 18 % of a worker's time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._flush_asked_at = 0.0
        super().__init__(*args, **kwargs)

    def on_send_event_buffered(self) -> None:
        if not self.hub:
            return
        now = time.monotonic()
        if now - self._flush_asked_at > EVENTS_EVERY_S:
            self._flush_asked_at = now
            self.hub.call_later(EVENTS_EVERY_S, self._flush_events)
        self.hub.call_soon(_turn)


def _turn() -> None:
    """A turn of the loop, in which it asks for the next message now that a job has ended."""
