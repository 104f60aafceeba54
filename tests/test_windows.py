"""Quiet times: what closes a window, and what becomes of a job that meets a closed one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from goldsmith import audit, jobs, submit, windows
from goldsmith.db import Connection, Database
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.hours import parse_hours
from goldsmith.job import Job
from goldsmith.kinds.evaluate.schema import EvaluateConfig
from goldsmith.kinds.intercept.schema import InterceptConfig
from goldsmith.kinds.train.schema import TrainConfig
from goldsmith.queue import Queue
from goldsmith.settings import Settings
from worker.supervisor import Supervisor

NOW = datetime(2027, 6, 2, 10, 0, tzinfo=UTC)  # a Wednesday, 12:00 in Berlin
ALWAYS = "Mon-Sun 00:00-23:59 UTC, Mon-Sun 00:01-23:59 Pacific/Auckland"


def settings(**more: Any) -> Settings:
    return Settings(_env_file=None, **more)


def put(conn: Connection, **options: Any) -> Job:
    body = {"kind": "noop", "options": options}
    return submit.submit(conn, *submit.parse(body), body=body, created_by="me")[0]


@pytest.mark.parametrize(
    ("text", "moment", "until"),
    [
        ("Mon-Fri 08:00-14:00 Europe/Berlin", "2027-06-02T05:59:59Z", None),
        ("Mon-Fri 08:00-14:00 Europe/Berlin", "2027-06-02T06:00:00Z", "2027-06-02T12:00:00Z"),
        ("Mon-Fri 08:00-14:00 Europe/Berlin", "2027-12-01T06:30:00Z", None),
        ("Mon-Fri 08:00-14:00 Europe/Berlin", "2027-12-01T12:30:00Z", "2027-12-01T13:00:00Z"),
        ("Mon-Fri 08:00-14:00 Europe/Berlin", "2027-06-02T12:00:00Z", None),
        ("Mon-Fri 08:00-14:00 Europe/Berlin", "2027-06-05T08:00:00Z", None),
        ("Sat 10:00-12:00 UTC", "2027-06-05T10:30:00Z", "2027-06-05T12:00:00Z"),
        ("Sat-Mon 10:00-12:00 UTC", "2027-06-06T10:30:00Z", "2027-06-06T12:00:00Z"),
    ],
)
def test_hours_of_the_week(text: str, moment: str, until: str | None) -> None:
    (hours,) = parse_hours(text)
    assert hours.until(datetime.fromisoformat(moment)) == (datetime.fromisoformat(until) if until else None)


@pytest.mark.parametrize(
    "text", ["Mon-Fri", "Mo-Fr 08:00-14:00 UTC", "Mon 14:00-08:00 UTC", "Mon 08:00-14:00 Mars/Olympus", "Mon 25:00-26:00 UTC"]
)
def test_hours_that_make_no_sense_stop_the_process(text: str) -> None:
    with pytest.raises(ValidationError, match="workshop_hours"):
        settings(workshop_hours=text)


def test_without_settings_there_is_no_quiet_time(conn: Connection) -> None:
    assert windows.closed(settings(), NOW, "GPU-1") is None
    job = put(conn, window="outside_workshops")
    assert windows.defer(conn, job.id, settings(), None) is False


def test_files_that_the_devserver_just_wrote_close_it(tmp_path: Path) -> None:
    own = settings(devserver_exports=tmp_path, devserver_idle_min=15)
    assert windows.closed(own, NOW) is None
    run = tmp_path / "2027-06-02" / "device" / "run_1" / "final"
    run.mkdir(parents=True)
    (run / "01_text.txt").write_text("x")
    hour_ago, just_now = NOW.timestamp() - 3600, NOW.timestamp() - 60
    for path in (*tmp_path.rglob("*"), tmp_path):
        os.utime(path, (hour_ago, hour_ago))
    assert windows.closed(own, NOW) is None
    os.utime(run / "01_text.txt", (just_now, just_now))
    found = windows.closed(own, NOW)
    assert found is not None
    assert found.until == NOW + timedelta(minutes=14)
    assert "devserver" in found.reason


@pytest.fixture
def devserver() -> Iterator[tuple[str, dict[str, int], list[str]]]:
    """Answers like the devserver; what it answers can be changed, what was asked can be read."""
    state: dict[str, int] = {"total": 0, "queue_running": 0, "queue_pending": 0}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(state).encode())

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", state, asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_requests_in_the_devservers_queue_close_it(devserver: tuple[str, dict[str, int], list[str]]) -> None:
    url, state, asked = devserver
    own = settings(devserver_url=url)
    assert windows.closed(own, NOW) is None
    state["queue_pending"] = 2
    found = windows.closed(own, NOW)
    assert found is not None
    assert "2 requests" in found.reason
    assert set(asked) == {"/api/queue-status"}


def test_a_devserver_that_is_down_closes_nothing() -> None:
    assert windows.closed(settings(devserver_url="http://127.0.0.1:9"), NOW) is None


def test_a_full_gpu_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "free_bytes", lambda gpu_id: {"GPU-1": 3_000_000_000}.get(gpu_id))
    own = settings(gpu_free_gb=8)
    found = windows.closed(own, NOW, "GPU-1")
    assert found is not None
    assert "3.0 GB free; 8 GB" in found.reason
    assert windows.closed(own, NOW, "pretended") is None
    assert windows.closed(own, NOW, None) is None


def test_the_kinds_that_need_the_machine_wait_and_live_answers_do_not() -> None:
    assert TrainConfig.outside_workshops
    assert EvaluateConfig.outside_workshops
    assert not InterceptConfig.outside_workshops


def test_a_worker_puts_a_quiet_job_off_and_says_why(conn: Connection, database: Database, valkey: EmbeddedValkey) -> None:
    job = put(conn, window="outside_workshops")
    worker = Supervisor(database, Queue(valkey.url), settings(workshop_hours=ALWAYS), worker="w", gpu_id=None)
    assert worker.run(job.id) is None
    after = jobs.get(conn, job.id)
    assert (after.status, after.blocked_by, after.attempt, after.failures) == ("scheduled", "window", 0, 0)
    assert after.message.startswith("Waits: workshop hours: Mon-Sun 00:0")
    assert after.run_at is not None
    assert after.run_at > datetime.now(UTC)

    conn.execute("UPDATE jobs SET run_at = now()")
    jobs.wake_due(conn)
    open_again = Supervisor(database, Queue(valkey.url), settings(), worker="w", gpu_id=None)
    assert open_again.run(job.id) == "completed"


@pytest.mark.parametrize("options", [{}, {"window": "any"}, {"window": "outside_workshops", "force": True}])
def test_other_and_forced_jobs_start(conn: Connection, options: dict[str, Any]) -> None:
    job = put(conn, **options)
    assert windows.defer(conn, job.id, settings(workshop_hours=ALWAYS), None) is False
    actions = [(entry.actor, entry.action, entry.subject) for entry in audit.entries(conn)]
    assert actions == ([("me", "job.force", job.ref)] if "force" in options else [])


def test_a_forced_job_of_a_batch_is_written_down_too(conn: Connection) -> None:
    config, options = submit.parse({"kind": "noop", "options": {"window": "outside_workshops", "force": True}})
    forced = submit.new_job(config, options, body={}, created_by="me")
    plain = submit.new_job(config, options.model_copy(update={"force": False}), body={}, created_by="me")
    (first, _), (second, _) = jobs.submit_many(conn, [forced, plain])
    assert [entry.subject for entry in audit.entries(conn)] == [first.ref]
    assert (first.outside_workshops, second.outside_workshops) == (False, True)
