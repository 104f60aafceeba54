"""Is it up, is what it needs up, and the numbers."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest
import structlog
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from goldsmith import jobs, metrics
from goldsmith.db import Connection, Database
from goldsmith.embedded.postgres import EmbeddedPostgres
from goldsmith.kinds.registry import kinds
from tests.api.conftest import Serve
from tests.api.problems import problem
from tests.conftest import free_port

JobFactory = Callable[..., UUID]


def samples(client: TestClient) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample by its name and the values of its labels; what Prometheus' own parser does not read, fails here."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = tuple(value for name, value in sorted(sample.labels.items()) if name != "process")
            assert labels not in series, sample
            series[labels] = sample.value
    return found


def not_zero(series: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    return {labels: value for labels, value in series.items() if value}


def test_the_process_answers(client: TestClient) -> None:
    assert (client.get("/healthz").status_code, client.get("/healthz").json()) == (200, {"status": "ok"})


def test_it_is_ready_with_database_schema_and_broker(client: TestClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"status": "ready", "checks": {"database": "ok", "schema": "ok", "broker": "ok"}}


def test_it_is_not_ready_without_the_broker_but_still_answers(serve: Serve) -> None:
    client = serve(broker_url=f"redis://127.0.0.1:{free_port()}/0")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert answer.json()["checks"]["database"] == answer.json()["checks"]["schema"] == "ok"
    assert answer.json()["checks"]["broker"] == "does not answer (ConnectionError)"
    assert client.get("/healthz").status_code == 200
    assert client.get("/v1/jobs").status_code == 200


def test_an_older_schema_is_not_ready_and_a_newer_one_is(client: TestClient, conn: Connection) -> None:
    conn.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    assert client.get("/readyz").status_code == 200
    conn.execute("DELETE FROM alembic_version")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "run `goldsmith migrate`" in answer.json()["checks"]["schema"]


def test_what_waits_is_counted_by_queue_kind_and_state(client: TestClient, job_factory: JobFactory) -> None:
    job_factory(status="running")
    job_factory(status="queued", queue="gpu", kind="train", created_at="2026-01-01")
    job_factory(status="queued", queue="gpu", kind="train")
    job_factory(status="queued", created_at="2026-01-01", run_at="tomorrow")
    job_factory(kind="train", status="failed")
    found = samples(client)
    assert not_zero(found["goldsmith_jobs_unfinished"]) == {
        ("noop", "io", "running"): 1,
        ("noop", "io", "queued"): 1,
        ("train", "gpu", "queued"): 2,
    }
    assert not_zero(found["goldsmith_queue_depth"]) == {("train", "gpu"): 2, ("noop", "io"): 1}
    assert {kind for kind, _ in found["goldsmith_queue_depth"]} >= kinds().keys()
    oldest = found["goldsmith_queue_oldest_seconds"]
    assert oldest["train", "gpu"] > 86_400
    assert oldest["noop", "io"] < 0 < oldest["train", "gpu"]  # it could not have run before tomorrow


def go_through(conn: Connection, job_id: UUID, outcome: jobs.Outcome, ran: str = "20 s") -> None:
    conn.execute("UPDATE jobs SET status = 'queued' WHERE id = %s", (job_id,))
    claimed = jobs.claim(conn, job_id, worker="w", gpu_id=None)
    assert claimed is not None
    conn.execute("UPDATE jobs SET started_at = now() - %s::interval WHERE id = %s", (ran, job_id))
    jobs.finish(conn, job_id, claimed.attempt, outcome)


def test_what_happened_is_counted_and_run_times_have_every_bound(
    client: TestClient, conn: Connection, job_factory: JobFactory
) -> None:
    for ran in ("20 s", "50 ms", "3 days"):
        go_through(conn, job_factory(status="queued"), jobs.Outcome("completed", result={}), ran)
    go_through(conn, job_factory(status="queued"), jobs.Outcome("failed", message="on purpose"))
    go_through(conn, job_factory(status="queued"), jobs.Outcome("requeue"))
    job_factory(status="running", kind="train", queue="gpu", heartbeat_at="yesterday")
    assert len(jobs.rescue(conn, lease_s=0)) == 1
    found = samples(client)
    assert not_zero(found["goldsmith_job_claims_total"]) == {("noop", "io"): 5}
    assert not_zero(found["goldsmith_job_rescues_total"]) == {("train", "gpu"): 1}
    assert not_zero(found["goldsmith_job_failures_total"]) == {("noop", "io"): 1}
    assert not_zero(found["goldsmith_jobs_ended_total"]) == {("noop", "io", "completed"): 3, ("noop", "io", "failed"): 1}
    buckets = {le: count for (kind, le, _), count in found["goldsmith_job_run_seconds_bucket"].items() if kind == "noop"}
    assert buckets == {
        "0.1": 1, "0.5": 1, "1.0": 1, "5.0": 1, "15.0": 1, "60.0": 3, "300.0": 3, "900.0": 3, "3600.0": 3, "14400.0": 3,
        "86400.0": 3, "+Inf": 4,
    }  # fmt: skip
    assert found["goldsmith_job_run_seconds_count"]["noop", "io"] == 4
    assert found["goldsmith_job_run_seconds_sum"]["noop", "io"] == pytest.approx(20 + 20 + 3 * 86_400, abs=1)


def test_totals_are_the_same_from_every_process_and_outlive_the_jobs(conn: Connection, job_factory: JobFactory) -> None:
    def happened() -> dict[tuple[str, str, str], tuple[int, int]]:
        return {what: (one.count, round(one.run_seconds)) for what, one in metrics.read(conn).happened.items()}

    job_id = job_factory(status="queued")
    go_through(conn, job_id, jobs.Outcome("completed", result={}))
    expected = {("io", "noop", "started"): (1, 0), ("io", "noop", "completed"): (1, 20)}
    assert happened() == happened() == expected
    conn.execute("UPDATE job_events SET created_at = created_at - interval '2 minutes'")
    conn.execute("UPDATE job_totals_until SET until = until - interval '2 minutes'")
    assert happened() == happened() == expected  # now from the totals
    conn.execute("DELETE FROM jobs")
    assert happened() == expected
    go_through(conn, job_factory(status="queued"), jobs.Outcome("failed", message="on purpose"))
    assert happened() == expected | {("io", "noop", "started"): (2, 0), ("io", "noop", "failed"): (1, 20)}


def test_every_failed_attempt_is_counted_by_its_cause(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    full = jobs.Outcome("retry", error={"title": "Disk full", "detail": "/state"}, after_s=-1)
    job_id = job_factory(status="queued")
    go_through(conn, job_id, full)
    go_through(conn, job_id, full)
    go_through(conn, job_id, jobs.Outcome("requeue", after_s=-1))
    go_through(conn, job_id, jobs.Outcome("failed", message="on purpose"))
    job_factory(status="running", kind="train", queue="gpu", heartbeat_at="yesterday")
    job_factory(status="running", timeout=5, started_at="yesterday")
    assert len(jobs.rescue(conn, lease_s=0)) == 2
    conn.execute("DELETE FROM jobs")
    assert samples(client)["goldsmith_failed_attempts_total"] == {
        ("Disk full", "noop", "io"): 2,
        ("Failed", "noop", "io"): 1,
        ("Time limit", "noop", "io"): 1,
        ("Worker lost", "train", "gpu"): 1,
    }


def test_two_processes_that_are_asked_at_once_add_up_once(
    database: Database, conn: Connection, job_factory: JobFactory
) -> None:
    for _ in range(20):
        go_through(conn, job_factory(status="queued"), jobs.Outcome("completed", result={}))
    conn.execute("UPDATE job_events SET created_at = created_at - interval '2 minutes'")

    def ask(_: int) -> int:
        with database.connection() as own:
            return metrics.read(own).happened["io", "noop", "completed"].count

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(ask, range(24))) == {20}


def test_money_is_counted_apart_from_rehearsals(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    made = conn.execute("INSERT INTO budgets (scope, cap_usd) VALUES ('test', 100) RETURNING id").fetchone()
    assert made is not None
    for rehearsal, cost in ((False, "1.25"), (False, "0.25"), (True, "7")):
        conn.execute(
            "INSERT INTO teacher_calls (job_id, attempt, budget_id, item, request_sha256, provider, model, status, reserved_usd,"
            " cost_usd, rehearsal, settled_at) VALUES (%s, 1, %s, 'i', 'x', 'anthropic', 'claude', 'settled', 9, %s, %s, now())",
            (job_factory(), made["id"], cost, rehearsal),
        )
    assert samples(client)["goldsmith_spent_usd_total"] == {
        ("claude", "anthropic", "false"): 1.5,
        ("claude", "anthropic", "true"): 7,
    }


def test_the_database_is_asked_once_for_many_scrapes(
    client: TestClient, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_factory(status="queued")
    assert samples(client)["goldsmith_queue_depth"]["noop", "io"] == 1
    job_factory(status="queued")
    assert samples(client)["goldsmith_queue_depth"]["noop", "io"] == 1
    monkeypatch.setattr("api.metrics.CACHE_S", 0)
    assert samples(client)["goldsmith_queue_depth"]["noop", "io"] == 2


def test_requests_are_counted_by_route_and_never_by_id(client: TestClient, job_factory: JobFactory) -> None:
    job_id = job_factory()

    def requests() -> dict[tuple[str, ...], float]:
        return samples(client)["goldsmith_http_requests_total"]

    before = requests()
    for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/events", f"/nowhere/{job_id}"):
        client.get(path)
    client.post("/v1/jobs", json={"kind": "nonsense"})
    client.put("/v1/jobs")
    client.request("BREW", f"/v1/jobs/{job_id}")
    after = requests()
    rise = {labels: count - before.get(labels, 0) for labels, count in after.items() if count != before.get(labels, 0)}
    rise.pop(("GET", "/metrics", "200"))
    assert rise == {
        ("GET", "/v1/jobs/{job_id}", "200"): 2,
        ("GET", "/v1/jobs/{job_id}/events", "200"): 1,
        ("GET", "unmatched", "404"): 1,
        ("POST", "/v1/jobs", "422"): 1,
        ("PUT", "/v1/jobs", "405"): 1,
        ("other", "/v1/jobs/{job_id}", "405"): 1,
    }
    seconds = samples(client)["goldsmith_http_request_seconds_bucket"]
    assert seconds["+Inf", "GET", "/v1/jobs/{job_id}"] >= 2
    assert f'process="{socket.gethostname()}:{os.getpid()}"' in client.get("/metrics").text
    assert str(job_id) not in client.get("/metrics").text


def test_a_request_id_comes_back_and_a_bad_one_is_replaced(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "tablet-3.17"}).headers["x-request-id"] == "tablet-3.17"
    for bad in ("", "two words", "x" * 129, "a;b"):
        assert re.fullmatch("[0-9a-f]{32}", client.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"])
    refused = client.get("/v1/jobs", headers={"X-Request-ID": "tablet-3.19", "Host": "evil.example"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (400, "tablet-3.19")
    problem_id = client.get("/v1/nothing", headers={"X-Request-ID": "tablet-3.18"})
    problem(problem_id, 404)
    assert problem_id.headers["x-request-id"] == "tablet-3.18"


def test_a_request_that_broke_is_found_by_its_id(client: TestClient) -> None:
    assert isinstance(client.app, FastAPI)

    @client.app.get("/v1/kinds/broken")
    def broken() -> None:
        raise RuntimeError("on purpose")

    with structlog.testing.capture_logs() as said:
        answer = client.get("/v1/kinds/broken", headers={"X-Request-ID": "tablet-3.20"})
    trace_id = problem(answer, 500)["traceback_id"]
    assert answer.headers["x-request-id"] == "tablet-3.20"
    assert [(line["event"], line["request_id"], line["trace_id"]) for line in said] == [
        ("request broke", "tablet-3.20", trace_id)
    ]
    assert "on purpose" not in answer.text


def test_a_database_that_is_away_is_a_503_that_tells_nothing_of_it(
    client: TestClient, conn: Connection, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = conn.info.dbname
    assert client.get("/v1/jobs").status_code == 200
    assert samples(client)["goldsmith_database_up"] == {(): 1}
    monkeypatch.setattr("api.metrics.CACHE_S", 0)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        answer = client.post("/v1/jobs", json={"kind": "noop"})
        problem(answer, 503, says="the database does not answer")
        lacking = samples(client)
        assert lacking["goldsmith_database_up"] == {(): 0}
        assert lacking["goldsmith_http_requests_total"]["POST", "/v1/jobs", "503"] == 1
        assert "goldsmith_queue_depth" not in lacking
        assert answer.headers["retry-after"] == "2"
        assert name not in answer.text
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "does not answer (OperationalError)")
