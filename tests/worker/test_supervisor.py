"""Runs are supervised: they end as told, and nothing of them is left when they do not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

from goldsmith import artifacts, jobs, submit
from goldsmith.db import Connection, Database
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.job import Job
from goldsmith.queue import Queue
from goldsmith.settings import Settings
from tests.conftest import wait_until
from worker.supervisor import Supervisor


@pytest.fixture
def settings(tmp_path: Path, database_url: str, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("GOLDSMITH_DATABASE_URL", database_url)  # runs read their settings from the environment
    monkeypatch.setenv("GOLDSMITH_BROKER_URL", valkey.url)
    monkeypatch.setenv("GOLDSMITH_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("GOLDSMITH_GRACE_S", "1")
    return Settings()


@pytest.fixture
def supervise(settings: Settings, database: Database) -> Callable[..., Supervisor]:
    def make(gpu_id: str | None = "GPU-test") -> Supervisor:
        return Supervisor(database, Queue(settings.broker), settings, worker="w", gpu_id=gpu_id)

    return make


def put(conn: Connection, **config: Any) -> UUID:
    parsed, options = submit.parse(config)
    return submit.submit(conn, parsed, options, body=config)[0].id


@contextmanager
def in_background(supervisor: Supervisor, job_id: UUID) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=supervisor.run, args=(job_id,), daemon=True)
    thread.start()
    yield thread
    thread.join(120)
    assert not thread.is_alive()


def until_status(conn: Connection, job_id: UUID, *wanted: str) -> Job:
    wait_until(lambda: jobs.get(conn, job_id).status in wanted, f"status {wanted}")
    return jobs.get(conn, job_id)


def lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1] if path.exists() else []


def test_an_isolated_run_completes_with_its_artifact(conn: Connection, supervise: Callable[..., Supervisor]) -> None:
    job_id = put(conn, kind="probe", do="return")
    supervise().run(job_id)
    job = jobs.get(conn, job_id)
    assert job.status == "completed", job.error
    assert job.result is not None
    assert job.result["pid"] != os.getpid()
    assert [one.name for one in artifacts.of_job(conn, job_id)] == ["hello.txt"]


def test_an_inline_run_completes(conn: Connection, supervise: Callable[..., Supervisor]) -> None:
    job_id = put(conn, kind="noop")
    supervise(None).run(job_id)
    assert jobs.get(conn, job_id).result == {"attempt": 1}


@pytest.mark.parametrize(
    ("do", "status", "words"),
    [
        ("crash", "scheduled", "SIGKILL"),
        ("exit", "scheduled", "exit code 7"),
        ("temporary", "scheduled", "away"),
        ("raise", "failed", "on purpose"),
    ],
)
def test_how_a_run_fails_is_said(
    conn: Connection, supervise: Callable[..., Supervisor], do: str, status: str, words: str
) -> None:
    job_id = put(conn, kind="probe", do=do)
    supervise().run(job_id)
    job = jobs.get(conn, job_id)
    assert (job.status, job.failures) == (status, 1)
    assert words in job.message


def test_a_poison_job_ends_failed_with_its_cause(conn: Connection, supervise: Callable[..., Supervisor]) -> None:
    job_id = put(conn, kind="probe", do="crash")
    for _ in range(2):
        supervise().run(job_id)
        conn.execute("UPDATE jobs SET run_at = now() WHERE status = 'scheduled'")
        jobs.wake_due(conn)
    job = jobs.get(conn, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert "SIGKILL" in job.error["detail"]


@pytest.mark.parametrize("do", ["hang", "deaf"])
def test_cancel_ends_a_run_whether_it_listens_or_not(
    conn: Connection, supervise: Callable[..., Supervisor], tmp_path: Path, do: str
) -> None:
    effects = tmp_path / "effects"
    job_id = put(conn, kind="probe", do=do, effects=str(effects))
    with in_background(supervise(), job_id):
        wait_until(lambda: len(lines(effects)) == 1, "the start of the run")
        jobs.cancel(conn, job_id)
        until_status(conn, job_id, "cancelled")
    assert not psutil.pid_exists(int(lines(effects)[0].split()[1]))


def test_an_inline_run_is_cancelled_while_it_waits(conn: Connection, supervise: Callable[..., Supervisor]) -> None:
    job_id = put(conn, kind="noop", wait_s=600)
    with in_background(supervise(None), job_id):
        until_status(conn, job_id, "running")
        jobs.cancel(conn, job_id)
        until_status(conn, job_id, "cancelled")


@pytest.mark.parametrize("do", ["deaf", "hang"])
def test_a_time_limit_is_enforced_from_outside(conn: Connection, supervise: Callable[..., Supervisor], do: str) -> None:
    job_id = put(conn, kind="probe", do=do, options={"timeout_s": 1})
    supervise().run(job_id)
    job = jobs.get(conn, job_id)
    assert job.status == "failed"
    assert "time limit" in job.message


def test_a_thread_of_an_inline_run_ends_with_its_time_limit_and_lives_until_then(
    conn: Connection, supervise: Callable[..., Supervisor]
) -> None:
    job_id = put(conn, kind="noop", thread_s=600, options={"timeout_s": 1})
    supervise(None).run(job_id)
    job = jobs.get(conn, job_id)
    assert (job.status, job.attempt) == ("failed", 1)
    assert "time limit" in job.message
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio_")]


def test_a_loss_that_diverged_is_null_and_ends_nothing(conn: Connection, supervise: Callable[..., Supervisor]) -> None:
    job_id = put(conn, kind="probe", do="nan")
    supervise().run(job_id)
    assert jobs.get(conn, job_id).status == "completed"
    rows = conn.execute("SELECT data FROM job_events WHERE job_id = %s AND event = 'progress'", (job_id,)).fetchall()
    assert [row["data"]["metrics"] for row in rows] == [[{"loss": None}]]


def test_half_a_character_in_an_error_does_not_keep_the_job_from_ending(
    conn: Connection, supervise: Callable[..., Supervisor]
) -> None:
    job_id = put(conn, kind="probe", do="surrogate")
    supervise().run(job_id)
    job = jobs.get(conn, job_id)
    assert job.status == "failed"
    assert job.message == "Error: ValueError: a name in a foreign encoding: ?"


def test_scratch_of_a_killed_worker_is_swept_and_that_of_a_live_run_is_not(
    conn: Connection, supervise: Callable[..., Supervisor], settings: Settings
) -> None:
    job_id = put(conn, kind="noop")
    jobs.claim(conn, job_id, worker="other", gpu_id=None)
    live, left = (settings.state_dir / "scratch" / name for name in (f"{job_id}-1", f"{job_id}-0"))
    for folder in (live, left):
        folder.mkdir(parents=True)
    supervise().sweep()
    assert live.exists()
    assert not left.exists()


def test_a_stopped_worker_puts_its_job_back_uncounted_and_the_next_attempt_goes_on(
    conn: Connection, supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    job_id = put(conn, kind="probe", do="count")
    first = supervise()
    with in_background(first, job_id):
        wait_until(lambda: jobs.get(conn, job_id).progress > 10, "some progress")
        first.stop()
    job = jobs.get(conn, job_id)
    assert (job.status, job.failures) == ("scheduled", 0)
    jobs.wake_due(conn)
    supervise().run(job_id)
    done = jobs.get(conn, job_id)
    assert done.status == "completed", done.error
    assert done.result is not None
    assert done.result["steps"] < 60
    assert not list(tmp_path.glob("checkpoints/*/*"))


def test_a_fenced_out_run_is_killed_and_writes_nothing(
    conn: Connection, supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    job_id = put(conn, kind="probe", do="hang", effects=str(effects))
    with in_background(supervise(), job_id) as thread:
        wait_until(lambda: len(lines(effects)) == 1, "the start of the run")
        jobs.rescue(conn, lease_s=-1)
        thread.join(120)
        assert not thread.is_alive()
    assert jobs.get(conn, job_id).status == "queued"
    assert not psutil.pid_exists(int(lines(effects)[0].split()[1]))


def test_a_run_and_its_children_die_with_their_worker(conn: Connection, settings: Settings, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    job_id = put(conn, kind="probe", do="spawn", effects=str(effects))
    worker = os.fork()
    if worker == 0:  # a worker process of its own, to be killed
        try:
            database = Database(settings.database).open()
            Supervisor(database, Queue(settings.broker), settings, worker="doomed", gpu_id="GPU-test").run(job_id)
        finally:
            os._exit(1)
    wait_until(lambda: len(lines(effects)) == 2, "the start of the run and its child")
    pids = [int(line.split()[1]) for line in lines(effects)]
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    wait_until(lambda: not any(_lives(pid) for pid in pids), "the end of the run and its child")


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_claimer_ends_the_given_up_holder_of_its_device_before_it_starts(
    conn: Connection, supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    """A worker is frozen together with its run; the job goes to another worker of the same device."""
    effects = tmp_path / "effects"
    job_id = put(conn, kind="probe", do="hang", effects=str(effects))
    frozen, second = supervise(), supervise()
    with in_background(frozen, job_id) as thread:
        wait_until(lambda: len(lines(effects)) == 1, "the start of the run")
        holder = int(lines(effects)[0].split()[1])
        psutil.Process(holder).suspend()
        jobs.rescue(conn, lease_s=-1)
        with in_background(second, job_id):
            wait_until(lambda: len(lines(effects)) == 2, "the second attempt")
            assert not _lives(holder)
            jobs.cancel(conn, job_id)
            until_status(conn, job_id, "cancelled")
        thread.join(120)
