"""Is it up, is what it needs up, and the numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import UUID

import psycopg
from starlette.testclient import TestClient

from goldsmith.db import Connection
from goldsmith.embedded.postgres import EmbeddedPostgres
from tests.api.conftest import Serve
from tests.api.problems import problem
from tests.conftest import free_port

JobFactory = Callable[..., UUID]


def numbers(client: TestClient, name: str) -> dict[str, float]:
    """The samples of one metric, by their labels."""
    found = re.findall(rf"^{name}{{(.*)}} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


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


def test_jobs_are_counted_by_queue_and_state(client: TestClient, job_factory: JobFactory) -> None:
    job_factory(status="running")
    job_factory(status="queued", queue="gpu")
    job_factory(status="queued", queue="gpu")
    job_factory(kind="train", status="failed")
    unfinished = numbers(client, "goldsmith_jobs_unfinished")
    assert len(unfinished) == 12
    assert {labels: count for labels, count in unfinished.items() if count} == {
        'queue="io",status="running"': 1,
        'queue="gpu",status="queued"': 2,
    }
    assert numbers(client, "goldsmith_jobs_ended") == {'kind="train",status="failed"': 1}
    assert numbers(client, "goldsmith_queue_oldest_seconds").keys() == {'queue="gpu"'}


def test_requests_are_counted_by_route_and_never_by_id(client: TestClient, job_factory: JobFactory) -> None:
    job_id = job_factory()

    def requests() -> dict[str, float]:
        return numbers(client, "goldsmith_http_requests_total")

    before = requests()
    for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/events", f"/nowhere/{job_id}"):
        client.get(path)
    client.post("/v1/jobs", json={"kind": "nonsense"})
    client.put("/v1/jobs")
    client.request("BREW", f"/v1/jobs/{job_id}")
    after = requests()
    rise = {labels: count - before.get(labels, 0) for labels, count in after.items() if count != before.get(labels, 0)}
    rise.pop('method="GET",route="/metrics",status="200"')
    assert rise == {
        'method="GET",route="/v1/jobs/{job_id}",status="200"': 2,
        'method="GET",route="/v1/jobs/{job_id}/events",status="200"': 1,
        'method="GET",route="unmatched",status="404"': 1,
        'method="POST",route="/v1/jobs",status="422"': 1,
        'method="PUT",route="/v1/jobs",status="405"': 1,
        'method="other",route="/v1/jobs/{job_id}",status="405"': 1,
    }
    assert str(job_id) not in client.get("/metrics").text


def test_a_request_id_comes_back_and_a_bad_one_is_replaced(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "tablet-3.17"}).headers["x-request-id"] == "tablet-3.17"
    for bad in ("", "two words", "x" * 129, "a;b"):
        assert re.fullmatch("[0-9a-f]{32}", client.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"])
    problem_id = client.get("/v1/nothing", headers={"X-Request-ID": "tablet-3.18"})
    problem(problem_id, 404)
    assert problem_id.headers["x-request-id"] == "tablet-3.18"


def test_a_database_that_is_away_is_a_503_that_tells_nothing_of_it(
    client: TestClient, conn: Connection, postgres: EmbeddedPostgres
) -> None:
    name = conn.info.dbname
    assert client.get("/v1/jobs").status_code == 200
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        answer = client.post("/v1/jobs", json={"kind": "noop"})
        problem(answer, 503, says="the database does not answer")
        assert answer.headers["retry-after"] == "2"
        assert name not in answer.text
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "does not answer (OperationalError)")
