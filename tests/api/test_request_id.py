"""A job's lines in the workers' logs name the request that submitted it."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest
import structlog

from goldsmith import jobs, submit
from goldsmith.db import Connection, Database
from goldsmith.queue import Queue
from goldsmith.settings import Settings
from tests.api.conftest import Serve
from tests.conftest import free_port
from worker.supervisor import Supervisor


@pytest.fixture
def settings(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("GOLDSMITH_DATABASE_URL", database_url)  # isolated runs read their settings from the environment
    monkeypatch.setenv("GOLDSMITH_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("GOLDSMITH_BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")  # nobody is there
    return Settings(_env_file=None)


@pytest.fixture
def unused_broker(settings: Settings) -> Queue:
    return Queue(settings.broker)


def test_it_is_in_every_line_of_every_attempt_whoever_told_the_broker(
    serve: Serve, settings: Settings, database: Database, conn: Connection, unused_broker: Queue
) -> None:
    client = serve(broker_url=settings.broker)
    answer = client.post("/v1/jobs", json={"kind": "probe", "do": "temporary"}, headers={"X-Request-ID": "tablet-3.17"})
    job_id = UUID(answer.json()["id"])
    supervisor = Supervisor(database, unused_broker, settings, worker="w", gpu_id="GPU-log")
    for attempt in (1, 2):
        with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
            supervisor.run(job_id)
        lines = [line for line in lines if "job_id" in line]  # the API, here in the same process, says that the broker is away
        conn.execute("UPDATE jobs SET run_at = now() WHERE status = 'scheduled'")
        jobs.wake_due(conn)
        path = settings.logs / "jobs" / f"{job_id}.{attempt}.log"
        said = [*lines, *map(json.loads, path.read_text().splitlines())]
        assert [line["event"] for line in said] == ["started", "ended", "the run failed for now"]
        assert {(line["request_id"], line["job_id"], line["attempt"]) for line in said} == {
            ("tablet-3.17", str(job_id), attempt)
        }


def test_a_job_that_no_request_submitted_has_none(
    database: Database, conn: Connection, settings: Settings, unused_broker: Queue
) -> None:
    config, options = submit.parse({"kind": "noop"})
    job, _ = submit.submit(conn, config, options, body={})
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        Supervisor(database, unused_broker, settings, worker="w", gpu_id=None).run(job.id)
    assert [(line["job_id"], line["attempt"], "request_id" in line) for line in lines] == [(str(job.id), 1, False)] * 2
