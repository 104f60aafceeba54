"""How ids get to workers: Celery's wire format over Redis or Valkey, which may be wiped at any moment.

Publishing never blocks a caller for long: no retries, socket timeout 0.5 s, and after a failure none for 5 s. What was
not published is published by rescue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import kombu.exceptions
import redis
from celery import Celery

from goldsmith.jobs import Told

TASK = "job.run"
QUEUES = ("io", "cpu", "gpu")
PRIORITY_STEPS = [0, 3, 6, 9]
SOCKET_TIMEOUT_S = 0.5
PAUSE_AFTER_FAILURE_S = 5.0


def celery_app(broker_url: str) -> Celery:
    """The one Celery configuration, for publishers and workers alike."""
    app = Celery("goldsmith", broker=broker_url, set_as_current=False)
    app.conf.update(
        broker_transport="goldsmith.transport:Transport",
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue="io",
        # Early ack: kombu's Redis transport delivers an unacknowledged message again after an hour, and a training is longer.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # or a job waits behind a long one while another device idles
        worker_send_task_events=True,
        task_send_sent_event=False,  # it carries the task's own name; Flower is to show `job.run[train]`
        worker_hijack_root_logger=False,
        worker_enable_remote_control=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "priority_steps": PRIORITY_STEPS,
            "queue_order_strategy": "priority",
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
        },
    )
    return app


def _celery_priority(priority: int) -> int:
    """Ours: 9 is first. Kombu's Redis transport: 0 is first."""
    return 9 - priority


def priority_of(delivery_info: Mapping[str, Any]) -> int | None:
    """Ours, of a message that a worker got."""
    given = delivery_info.get("priority")
    return None if given is None else 9 - int(given)


class Queue:
    """The publisher's side; thread-safe."""

    def __init__(self, broker_url: str) -> None:
        self._app = celery_app(broker_url)
        self._app.conf.broker_transport_options |= {
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": SOCKET_TIMEOUT_S,
            "retry_on_timeout": False,
            "max_retries": 0,
        }
        self._redis = redis.Redis.from_url(
            broker_url, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=SOCKET_TIMEOUT_S, retry=None
        )
        self._errors: tuple[type[Exception], ...] = (
            *self._app.connection_for_write().connection_errors,
            kombu.exceptions.OperationalError,
            kombu.exceptions.BatchPublishError,
            redis.RedisError,
            OSError,
        )
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def publish(self, told: Iterable[Told]) -> list[UUID]:
        """Send ids, many in one round trip; returns those that the broker did not take, which the caller marks with `jobs.untell`.

        When it fails in the middle it may have taken some of those that are returned: a second message does no harm.
        """
        waiting = list(told)
        if not waiting or time.monotonic() < self._paused_until:
            return [job.id for job in waiting]
        try:
            with self._lock, self._app.producer_pool.acquire(block=True) as producer, producer.batch():
                for job in waiting:
                    self._app.send_task(
                        TASK,
                        args=[str(job.id)],
                        queue=job.queue,
                        priority=_celery_priority(job.priority),
                        shadow=f"{TASK}[{job.kind}]",
                        retry=False,
                        producer=producer,
                    )
        except self._errors:
            self._paused_until = time.monotonic() + PAUSE_AFTER_FAILURE_S
            return [job.id for job in waiting]
        return []

    def depth(self, queue: str) -> int:
        """Messages that the broker holds for a queue, over its priority lists. Raises `redis.RedisError` when it is away."""
        names = [queue if step == 0 else f"{queue}\x06\x16{step}" for step in PRIORITY_STEPS]
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.llen(name)
        depths: list[Any] = pipe.execute()
        return sum(int(depth) for depth in depths)

    def ping(self) -> bool:
        return bool(self._redis.ping())
