"""A worker that buys is killed with -9, and another one goes on: what the teacher billed is in the ledger, and nothing is bought twice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bench.metering import MeteringServer
from goldsmith import datasets, jobs, submit
from goldsmith.db import Connection
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.storage import Storage
from tests.conftest import wait_until
from tests.kinds.gold.test_gold import BASE, corpus

Start = Callable[[], subprocess.Popen[bytes]]


class Teacher(MeteringServer):
    """Counts how often each prompt was billed; holds a batch that is being created until it is told."""

    def __init__(self) -> None:
        super().__init__(latency_s=0.1, batch_s=0.3)
        self.creating, self.go_on = threading.Event(), threading.Event()
        real = self.batches.create

        def create(body: Any, version: str) -> dict[str, Any]:
            made = real(body, version)
            self.creating.set()
            self.go_on.wait(30)
            return made

        self.batches.create = create  # type: ignore[method-assign]


@pytest.fixture
def server() -> Iterator[Teacher]:
    with Teacher() as server:
        yield server
        server.go_on.set()


@contextmanager
def worker(database_url: str, valkey: EmbeddedValkey, folder: Path, server: Teacher) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "GOLDSMITH_DATABASE_URL": database_url,
        "GOLDSMITH_BROKER_URL": valkey.url,
        "GOLDSMITH_STATE_DIR": str(folder),
        "GOLDSMITH_REHEARSAL_URL": server.url,
        "GOLDSMITH_LEASE_S": "2",
        "GOLDSMITH_RESCUE_EVERY_S": "0.2",
    }
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "worker", "io"], env=os.environ | environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(120)


@pytest.mark.parametrize("batch", [False, True])
def test_after_kill_9_nothing_is_bought_again_but_what_was_on_the_wire(
    conn: Connection,
    database_url: str,
    valkey: EmbeddedValkey,
    tmp_path: Path,
    job_factory: Callable[..., UUID],
    server: Teacher,
    batch: bool,
) -> None:
    made = job_factory(kind="corpus")
    datasets.save_version(conn, Storage(tmp_path), made, 1, "prompts", corpus(), manifest={}, parents=[], rehearsal=False)
    conn.execute("UPDATE jobs SET status = 'completed', completed_at = now() WHERE id = %s", (made,))
    body = {"kind": "gold", **BASE, "batch": batch, "repair": False}
    config, options = submit.parse(body)
    job = submit.submit(conn, config, options, body=body)[0]

    with worker(database_url, valkey, tmp_path, server) as first:
        if batch:
            assert server.creating.wait(120), (tmp_path / "worker.log").read_text()[-2000:]
        else:
            wait_until(lambda: server.meter.tokens["requests"] >= 20, "the twentieth answer")
        first.kill()
        first.wait(120)
    server.go_on.set()
    billed = server.meter.tokens["requests"]
    with worker(database_url, valkey, tmp_path, server):
        wait_until(lambda: jobs.get(conn, job.id).status == "completed", "the end of the job")
        result = jobs.get(conn, job.id).result

    assert result is not None
    assert result["asked"] == result["rows"] == 72
    told = server.report()
    ledger = conn.execute(
        "SELECT sum(cost_usd)::float AS usd, count(*) FILTER (WHERE answer IS NULL AND status = 'settled') AS lost,"
        " count(*) FILTER (WHERE answer IS NOT NULL) AS answers, count(*) FILTER (WHERE status = 'reserved') AS reserved"
        " FROM teacher_calls"
    ).fetchone()
    assert ledger is not None
    assert ledger["reserved"] == 0
    assert ledger["answers"] == 72
    assert told["requests"] <= 72 + ledger["lost"]
    assert told["usd"] <= ledger["usd"] + 1e-9
    assert result["spent_usd"] == pytest.approx(ledger["usd"])
    if batch:
        assert (told["requests"], ledger["lost"], server.batches.created) == (72, 0, 1)
    else:
        assert 20 <= billed < 72
        assert 0 <= ledger["lost"] <= BASE.get("concurrency", 8)
