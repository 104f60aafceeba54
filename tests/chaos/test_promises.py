"""Promises that need a scene of their own: each with real processes, or with the real tables and broker."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest
import redis

from goldsmith.db import Connection, connect
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.queue import Queue
from goldsmith.rescue import rescue_once
from goldsmith.tables import metadata
from tests.chaos import effects
from tests.chaos.stack import Member, Stack, running
from tests.conftest import wait_until

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("promises"), workers={"gpu-1": "gpu", "gpu-2": "gpu", "cpu-1": "cpu"}) as stack:
        yield stack


def submit(stack: Stack, **body: Any) -> str:
    response = httpx.post(f"{stack.url}/v1/jobs", json=body)
    assert response.status_code == 202, response.text
    job: str = response.json()["id"]
    return job


def get(stack: Stack, job: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{stack.url}/v1/jobs/{job}").json()
    return found


def ended(stack: Stack, job: str, seconds: float = 60) -> dict[str, Any]:
    wait_until(lambda: get(stack, job)["completed_at"] is not None, f"the end of {job}: {get(stack, job)}", seconds)
    return get(stack, job)


def alive(pid: int) -> bool:
    """A zombie has no memory and no device; who reaps it when its parent is stopped is the system's affair."""
    return bool(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def until_effects(stack: Stack, job: str, number: int) -> None:
    wait_until(lambda: sum(line["job"] == job for line in effects.read(stack.effects)) >= number, f"{number} effects of {job}")


def test_the_next_run_starts_within_five_seconds_of_the_end_of_the_one_before(stack: Stack) -> None:
    """Two workers on one device: whoever is refused waits in the table and must be woken by the other's end."""
    jobs = [submit(stack, kind="chaos_gpu", steps=3, pause_s=0.1) for _ in range(6)]
    for job in jobs:
        assert ended(stack, job)["status"] == "completed"
    with connect(stack.postgres.url()) as conn:
        spans = conn.execute(
            "SELECT started_at, completed_at, worker FROM jobs WHERE id = ANY(%s::uuid[]) ORDER BY started_at", (jobs,)
        ).fetchall()
    gaps = [(later["started_at"] - earlier["completed_at"]).total_seconds() for earlier, later in pairwise(spans)]
    assert all(0 <= gap <= 5 for gap in gaps), gaps


def test_a_redeploy_loses_no_work_and_counts_no_failure(stack: Stack) -> None:
    job = submit(stack, kind="chaos_cpu", steps=30, pause_s=0.1)
    until_effects(stack, job, 5)
    worker = stack.members["cpu-1"]
    assert worker.process is not None

    worker.process.terminate()
    worker.process.wait(120)
    stack.launch("cpu-1")

    done = ended(stack, job)
    assert (done["status"], done["attempt"], done["failures"]) == ("completed", 2, 0)
    steps = [line["effect"] for line in effects.read(stack.effects) if line["job"] == job]
    assert set(steps) == {f"step {number}" for number in range(30)}
    assert len(steps) <= 31  # at most the step at which it was stopped is done again


def test_a_poison_job_fails_with_its_cause_and_the_worker_lives_on(stack: Stack) -> None:
    before = stack.members["cpu-1"].pid
    job = submit(stack, kind="chaos_cpu", poison=True, options={"max_attempts": 2})

    done = ended(stack, job)

    assert (done["status"], done["failures"]) == ("failed", 2)
    assert "SIGKILL (signal 9)" in done["error"]["detail"]
    assert ended(stack, submit(stack, kind="chaos_cpu", steps=1))["status"] == "completed"
    assert stack.members["cpu-1"].alive
    assert stack.members["cpu-1"].pid == before


def test_cancel_of_a_deaf_run_leaves_nothing_of_it(stack: Stack) -> None:
    job = submit(stack, kind="chaos_gpu", steps=1000, deaf=True)
    until_effects(stack, job, 3)
    pid = next(line["pid"] for line in effects.read(stack.effects) if line["job"] == job)

    cancelled = httpx.post(f"{stack.url}/v1/jobs/{job}/cancel")
    again = httpx.post(f"{stack.url}/v1/jobs/{job}/cancel")

    assert cancelled.is_success
    assert again.is_success
    assert ended(stack, job)["status"] == "cancelled"
    assert not alive(pid)
    assert httpx.post(f"{stack.url}/v1/jobs/{job}/cancel").status_code in (
        200,
        202,
        409,
    )  # a no-op or a clear refusal, never an error


def test_a_stopped_worker_that_wakes_up_puts_nothing_on_a_device_that_was_given_away(stack: Stack) -> None:
    job = submit(stack, kind="chaos_gpu", steps=1000, pause_s=0.1, deaf=True)
    until_effects(stack, job, 3)
    first = next(line for line in effects.read(stack.effects) if line["job"] == job)
    name = next(name for name in ("gpu-1", "gpu-2") if first["pid"] in [run.pid for run in stack.runs(name)])
    os.kill(stack.members[name].pid, signal.SIGSTOP)
    try:
        wait_until(lambda: get(stack, job)["attempt"] == 2, "the second attempt, by the other worker")
        until_effects(stack, job, 3)
        wait_until(lambda: any(e["job"] == job and e["attempt"] == 2 for e in effects.read(stack.effects)), "its first effect")
        assert not alive(first["pid"])
    finally:
        os.kill(stack.members[name].pid, signal.SIGCONT)
    httpx.post(f"{stack.url}/v1/jobs/{job}/cancel")
    done = ended(stack, job)
    assert (done["status"], done["attempt"]) == ("cancelled", 2)


def test_a_worker_with_a_clock_ten_minutes_off_loses_and_doubles_nothing(stack: Stack) -> None:
    found = importlib.util.find_spec("libfaketime")
    if found is None or found.origin is None or sys.platform != "linux":
        pytest.skip("libfaketime is not there: a wrong clock was NOT tried")
    library = Path(found.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    worker = stack.members["cpu-1"]
    assert worker.process is not None
    worker.process.terminate()
    worker.process.wait(120)
    try:
        for offset in ("+600", "-600"):
            worker.env = {"LD_PRELOAD": str(library), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
            stack.launch("cpu-1")
            long = submit(stack, kind="chaos_cpu", steps=50, pause_s=0.1)  # longer than the lease
            done = ended(stack, long)
            assert (done["status"], done["attempt"]) == ("completed", 1)
            own_clock = [line["time"] for line in effects.read(stack.effects) if line["job"] == long]
            assert abs(own_clock[0] - time.time()) > 500, "the worker's clock was not off"
            worker.process.terminate()
            worker.process.wait(120)
    finally:
        worker.env = {}
        stack.launch("cpu-1")


def test_a_full_disk_fails_the_job_that_needs_it_and_no_other(stack: Stack) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("user namespaces are forbidden here: a full disk was NOT tried")
    worker = stack.members["cpu-1"]
    assert worker.process is not None
    worker.process.terminate()
    worker.process.wait(120)
    (stack.folder / "artifacts").mkdir(exist_ok=True)
    mount = f'mount -t tmpfs -o size=1m tmpfs "{stack.folder}/artifacts" && exec "$0" -m worker cpu'
    small_disk = Member(["unshare", "-Urm", "sh", "-c", mount, sys.executable])
    stack.members["cpu-small"] = small_disk
    stack.launch("cpu-small")
    assert small_disk.process is not None
    try:
        large = submit(stack, kind="chaos_cpu", steps=1, artifact_bytes=2_000_000, options={"max_attempts": 2})
        done = ended(stack, large)
        assert done["status"] == "failed"
        assert "no space left" in done["error"]["detail"]
        small = ended(stack, submit(stack, kind="chaos_cpu", steps=1))
        assert small["status"] == "completed"
        assert small["worker"].endswith(f":{small_disk.pid}")
        assert httpx.get(f"{stack.url}/v1/jobs/{large}/artifacts").json() == []
    finally:
        small_disk.process.terminate()
        small_disk.process.wait(120)
        del stack.members["cpu-small"]
        stack.launch("cpu-1")


def test_workers_go_on_below_a_newer_schema(stack: Stack) -> None:
    """An upgrade migrates first: until they are replaced, processes of the old code live with a schema that they do not know."""
    in_flight = [submit(stack, kind=kind, steps=20, pause_s=0.1) for kind in ("chaos_cpu", "chaos_gpu")]
    waiting = submit(stack, kind="chaos_cpu", steps=1, options={"depends_on": in_flight})
    for job in in_flight:
        until_effects(stack, job, 2)
    for _ in range(10):  # often enough that every connection has prepared its statements for the schema of now
        get(stack, waiting)
        httpx.get(f"{stack.url}/v1/jobs")
    with connect(stack.postgres.url()) as conn:
        before = conn.execute("SELECT version_num FROM alembic_version").fetchone()
        assert before is not None
        with conn.transaction():
            conn.execute("SET LOCAL lock_timeout = '5s'")
            for table in metadata.tables:
                conn.execute(f"ALTER TABLE {table} ADD COLUMN of_tomorrow text NOT NULL DEFAULT 'x'")
            conn.execute("UPDATE alembic_version SET version_num = 'tomorrow'")
        try:
            assert httpx.get(f"{stack.url}/readyz").status_code == 200
            assert [ended(stack, job)["status"] for job in (*in_flight, waiting)] == ["completed"] * 3
            worker = stack.members["cpu-1"]
            assert worker.process is not None
            late = submit(stack, kind="chaos_cpu", steps=20, pause_s=0.1)
            until_effects(stack, late, 2)
            worker.process.terminate()  # with a run of its own, for one of the old code that starts on the newer schema
            worker.process.wait(120)
            stack.launch("cpu-1")
            done = ended(stack, late)
            assert (done["status"], done["attempt"], done["failures"]) == ("completed", 2, 0)
        finally:
            with conn.transaction():
                for table in metadata.tables:
                    conn.execute(f"ALTER TABLE {table} DROP COLUMN of_tomorrow")
                conn.execute("UPDATE alembic_version SET version_num = %s", (before["version_num"],))


def test_a_database_that_stands_still_is_a_503_and_loses_nothing(stack: Stack) -> None:
    """Stopped, not killed: its connections stay open and its kernel goes on taking what is sent."""
    job = submit(stack, kind="chaos_cpu", steps=30, pause_s=0.1)
    until_effects(stack, job, 2)
    postmaster = psutil.Process(stack.members["postgres"].pid)
    stopped = [postmaster, *postmaster.children(recursive=True)]
    for process in stopped:
        process.suspend()
    try:
        with httpx.Client(base_url=stack.url, timeout=25) as client:  # an answer that does not come fails here
            requests = [("GET", f"/v1/jobs/{job}", None), ("POST", "/v1/jobs", {"kind": "noop"}), ("GET", "/v1/jobs", None)]
            for method, path, body in requests:  # together longer than the lease
                assert client.request(method, path, json=body).status_code == 503
            assert client.get("/healthz").status_code == 200
    finally:
        for process in reversed(stopped):
            process.resume()
    assert ended(stack, job)["status"] == "completed"
    steps = {line["effect"] for line in effects.read(stack.effects) if line["job"] == job}
    assert steps == {f"step {number}" for number in range(30)}
    assert ended(stack, submit(stack, kind="chaos_cpu", steps=1))["status"] == "completed"


class TestALongQueue:
    """10,000 waiting jobs behind workers that take none, for an hour of rescue's rounds on a clock that we turn."""

    ROUND_S = 5

    @pytest.fixture
    def queue(self, conn: Connection, valkey: EmbeddedValkey) -> Queue:
        """Before `pg_catalog` in the search path, our `now()` is the one that every statement finds."""
        redis.Redis.from_url(valkey.url).flushall()
        conn.execute("CREATE SCHEMA turned")
        conn.execute(
            "CREATE FUNCTION turned.now() RETURNS timestamptz STABLE LANGUAGE sql AS"
            " $$ SELECT pg_catalog.now() + current_setting('turned.by')::interval $$"
        )
        conn.execute("SET turned.by = '0 s'")
        conn.execute("SET search_path = turned, pg_catalog, public")
        return Queue(valkey.url)

    def _hour(self, conn: Connection, queue: Queue, each_round: Callable[[int], None]) -> list[int]:
        depths = []
        for number in range(3600 // self.ROUND_S):
            conn.execute(f"SET turned.by = '{number * self.ROUND_S} s'")
            rescue_once(conn, queue, lease_s=30)
            each_round(number)
            depths.append(queue.depth("io"))
        row = conn.execute("SELECT now() - pg_catalog.now() > interval '59 minutes' AS passed").fetchone()
        assert row is not None
        assert row["passed"]
        return depths

    def test_the_broker_holds_it_once(self, conn: Connection, queue: Queue) -> None:
        waiting = 10_000
        conn.execute(
            "INSERT INTO jobs (kind, queue, timeout, seq) SELECT 'chaos_io', 'io', 60, 1 FROM generate_series(1, %s)",
            (waiting,),
        )
        depths = self._hour(conn, queue, lambda _: None)
        assert max(depths) <= 2 * waiting
        assert depths[-1] == waiting

    def test_nothing_starves_when_messages_are_lost_and_doubled_on_the_way(
        self, conn: Connection, queue: Queue, valkey: EmbeddedValkey
    ) -> None:
        waiting = 500
        conn.execute(
            "INSERT INTO jobs (kind, queue, timeout, seq, priority) SELECT 'chaos_io', 'io', 60, 1, n %% 10 FROM generate_series(1, %s) n",
            (waiting,),
        )
        broker = redis.Redis.from_url(valkey.url)
        heard: set[UUID] = set()

        def take(number: int) -> None:
            """A slow worker: two messages a round; now and then the broker is wiped."""
            for _ in range(2):
                for name in ("io", "io\x06\x163", "io\x06\x166", "io\x06\x169"):
                    if message := broker.rpop(name):
                        heard.add(_id_of(message))
                        conn.execute(
                            "UPDATE jobs SET status = 'completed', completed_at = now(), progress = 100 WHERE id = %s",
                            (_id_of(message),),
                        )
                        break
            if number % 100 == 7:
                broker.flushall()

        self._hour(conn, queue, take)
        assert len(heard) == waiting


def _id_of(message: Any) -> UUID:
    import base64
    import json

    body = json.loads(base64.b64decode(json.loads(message)["body"]))
    return UUID(body[0][0])
