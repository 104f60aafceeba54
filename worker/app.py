"""The Celery worker: one task, `job.run`, that hands the id to the supervisor. Threads: each run has its own process anyway."""

from __future__ import annotations

import os
import socket
from typing import Any
from uuid import UUID

import structlog
from celery import Celery, Task, signals

from goldsmith import logging
from goldsmith.db import Database
from goldsmith.gpu import device_id
from goldsmith.guard import EffectsThread
from goldsmith.queue import TASK, Queue, celery_app, priority_of
from goldsmith.rescue import RescueThread
from goldsmith.settings import Settings, get_settings
from goldsmith.teacher.keeper import KeeperThread
from goldsmith.webhooks import SenderThread
from worker.supervisor import Supervisor

log = structlog.get_logger()


class RunFailed(Exception):
    """So that Flower shows it; the job's row has the cause."""


def make_app(settings: Settings, queue_name: str) -> Celery:
    """A worker's Celery app with its supervisor and rescue thread; `gpu` workers must see exactly one device."""
    gpu_id = device_id(settings.gpu_id) if queue_name == "gpu" else None
    app = celery_app(settings.broker)
    app.conf.worker_consumer = "worker.consumer:GroupingConsumer"
    concurrency = settings.io_concurrency if queue_name == "io" else 1
    database = Database(settings.database, size=2 * concurrency + 4)
    queue = Queue(settings.broker)
    name = f"{queue_name}@{socket.gethostname()}:{os.getpid()}"
    supervisor = Supervisor(database, queue, settings, worker=name, gpu_id=gpu_id)
    threads: list[RescueThread | SenderThread | KeeperThread | EffectsThread] = [RescueThread(database, queue, settings)]
    if queue_name == "io":
        threads.append(
            SenderThread(database, allowed=settings.webhook_private, dead_after_days=settings.webhook_dead_after_days)
        )
        threads.append(KeeperThread(database, settings))
        threads.append(EffectsThread(database, settings))

    @app.task(name=TASK, throws=(RunFailed,), bind=True)  # type: ignore[untyped-decorator]
    def run(task: Task, job_id: str) -> None:
        if supervisor.run(UUID(job_id), priority=priority_of(task.request.delivery_info or {})) == "failed":
            raise RunFailed(f"goldsmith jobs show {job_id}")

    @signals.worker_init.connect(weak=False)  # type: ignore[untyped-decorator]
    def start(**_: Any) -> None:
        database.open()
        for thread in threads:
            thread.start()
        supervisor.sweep()
        log.info("worker started", queue=queue_name, gpu_id=gpu_id)

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def stop(**_: Any) -> None:
        supervisor.stop()

    @signals.worker_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]
    def close(**_: Any) -> None:
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join(20)  # a webhook that is being sent is noted, or it would be sent twice
        database.close()

    @signals.setup_logging.connect(weak=False)  # type: ignore[untyped-decorator]
    def keep_our_logging(**_: Any) -> None:
        """A receiver is enough: Celery then leaves the log alone."""

    return app


def main(queue_name: str) -> None:
    """Run a worker for one queue until SIGTERM; the log is one JSON line an event."""
    settings = get_settings()
    logging.configure(settings.log_level, process=f"worker-{queue_name}")
    concurrency = settings.io_concurrency if queue_name == "io" else 1
    make_app(settings, queue_name).worker_main(
        [
            "--quiet",  # no banner between the log's lines
            "worker",
            "--pool=threads",
            f"--concurrency={concurrency}",
            f"--queues={queue_name}",
            f"--hostname={queue_name}-{os.getpid()}@%h",
            "--disable-prefetch",
            "--task-events",
            "--without-gossip",
            "--without-mingle",
            f"--loglevel={settings.log_level}",
        ]
    )
