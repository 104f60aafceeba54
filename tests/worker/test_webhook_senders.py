"""Beat and an io worker both send webhooks: each delivery goes out once, and both stop when they are told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from goldsmith import jobs, webhooks
from goldsmith.db import Connection
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.jobs import NewJob
from goldsmith.queue import celery_app
from goldsmith.webhooks import NewWebhook
from tests.conftest import wait_until
from tests.receiver import receiving


def test_beat_and_an_io_worker_send_each_delivery_once(
    conn: Connection, database_url: str, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    environment = os.environ | {
        "GOLDSMITH_DATABASE_URL": database_url,
        "GOLDSMITH_BROKER_URL": valkey.url,
        "GOLDSMITH_STATE_DIR": str(tmp_path),
        "GOLDSMITH_WEBHOOK_PRIVATE": "127.0.0.0/8",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    logs = {name: (tmp_path / name).open("wb") for name in ("beat", "io")}
    processes = {
        name: subprocess.Popen([sys.executable, "-m", "worker", name], env=environment, stderr=log, stdout=log, cwd=tmp_path)
        for name, log in logs.items()
    }
    try:
        # It answers once it is up: before that a SIGTERM would meet no handler.
        wait_until(lambda: bool(celery_app(valkey.url).control.ping(timeout=1.0)), "the start of the worker")
        with receiving() as receiver:
            hooks = [webhooks.add(conn, NewWebhook(url=f"{receiver.url}/{number}")) for number in range(4)]
            cancelled = set()
            for _ in range(10):
                job, _ = jobs.submit(conn, NewJob("noop", {"kind": "noop"}, "cpu", 60, 3))
                jobs.cancel(conn, job.id)
                cancelled.add(str(job.id))

            def delivered() -> bool:
                assert processes["beat"].poll() is None
                return all(one.status == "delivered" for hook in hooks for one in webhooks.deliveries(conn, hook.id))

            wait_until(delivered, "40 deliveries")
            for number in range(4):
                got = [json.loads(one.body)["data"]["job_id"] for one in receiver.got if one.path == f"/hook/{number}"]
                assert sorted(got) == sorted(cancelled)
            # Each of the two sends alone, too: the worker is stopped, and beat goes on.
            for last in ("io", "beat"):
                processes[last].send_signal(signal.SIGTERM)
                assert processes[last].wait(120) == 0
                if last == "io":
                    for hook in hooks:
                        webhooks.test(conn, hook.id)
                    wait_until(delivered, "beat's deliveries")
    finally:
        for process in processes.values():
            process.kill()
            process.wait(120)
        for log in logs.values():
            log.close()
