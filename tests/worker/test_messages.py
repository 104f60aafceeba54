"""A real worker process and what the broker brings it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from goldsmith import jobs
from goldsmith.db import Connection
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.jobs import NewJob
from goldsmith.queue import Queue
from tests.conftest import free_port, wait_until


def test_jobs_of_every_priority_run_in_its_order_and_a_changed_one_at_its_new_place(
    conn: Connection, database_url: str, tmp_path: Path
) -> None:
    broker = EmbeddedValkey(tmp_path / "broker", free_port())
    broker.initialise()
    server = subprocess.Popen(broker.command(), stdout=subprocess.DEVNULL, start_new_session=True)
    worker = None
    try:
        wait_until(broker.is_up, "the start of the broker")
        queue = Queue(broker.url)
        made = [
            jobs.submit(conn, NewJob("noop", {"kind": "noop"}, "io", timeout=60, max_attempts=1, priority=priority))[0]
            for priority in (0, 3, 6, 9, 9, 0)
        ]
        assert queue.publish([told for job in made for told in jobs.told(job)]) == []
        for job, priority in ((made[4], 0), (made[5], 9)):
            assert queue.publish(jobs.told(jobs.set_priority(conn, job.id, priority))) == []
        worker = subprocess.Popen(
            [sys.executable, "-m", "worker", "io"],
            env=os.environ
            | {
                "GOLDSMITH_DATABASE_URL": database_url,
                "GOLDSMITH_BROKER_URL": broker.url,
                "GOLDSMITH_STATE_DIR": str(tmp_path),
                "GOLDSMITH_IO_CONCURRENCY": "1",
            },
            stderr=(tmp_path / "worker.log").open("wb"),
        )

        def started() -> list[int]:
            rows = conn.execute("SELECT id FROM jobs WHERE status = 'completed' ORDER BY started_at").fetchall()
            return [[job.id for job in made].index(row["id"]) for row in rows]

        wait_until(lambda: len(started()) == len(made), "the end of all jobs")
        assert started() == [3, 5, 2, 1, 0, 4]
    finally:
        for process in (worker, server):
            if process is not None:
                process.terminate()
                process.wait(120)
