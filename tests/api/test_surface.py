"""What holds for the whole HTTP surface: files in ranges, clients that leave or dawdle, a database that hangs, the OpenAPI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from api.access import OPEN
from api.app import BodyLimit
from goldsmith import artifacts, db
from goldsmith.db import Connection
from goldsmith.storage import Storage
from tests.api.conftest import Serve
from tests.api.problems import problem

JobFactory = Callable[..., UUID]


@pytest.fixture
def report(conn: Connection, storage: Storage, job_factory: JobFactory) -> str:
    """The path of an artifact of ten bytes."""
    job_id = job_factory(status="running")
    artifacts.save(conn, storage, job_id, 1, "report.txt", b"0123456789", "text/plain")
    return f"/v1/jobs/{job_id}/artifacts/report.txt"


def test_a_file_is_sent_whole_in_ranges_or_by_its_head_alone(client: TestClient, report: str) -> None:
    assert client.get(report).text == "0123456789"
    part = client.get(report, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.text, part.headers["content-range"]) == (206, "234", "bytes 2-4/10")
    head = client.head(report)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "10")


@pytest.mark.parametrize(("asked", "status"), [("bytes=10-20", 416), ("lines=1-2", 400), ("bytes=4-2", 400), ("bytes=", 400)])
def test_a_range_that_cannot_be_sent_is_a_problem_document(client: TestClient, report: str, asked: str, status: int) -> None:
    answer = client.get(report, headers={"Range": asked})
    problem(answer, status, says="10 bytes" if status == 416 else "bytes=0-99")
    assert answer.headers.get("content-range") == ("bytes */10" if status == 416 else None)


def test_two_idempotency_keys_are_refused(client: TestClient) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    problem(client.post("/v1/jobs", json={"kind": "noop"}, headers=headers), 400, says="not several")


def test_a_foreign_host_is_told_the_id_of_its_request(client: TestClient) -> None:
    answer = client.get("/healthz", headers={"Host": "evil.example", "X-Request-ID": "tablet-3.17"})
    problem(answer, 400)
    assert answer.headers["x-request-id"] == "tablet-3.17"


def test_whoever_leaves_in_the_middle_of_a_body_is_no_error_of_the_server(client: TestClient) -> None:
    sent: list[Message] = []
    coming: list[Message] = [
        {"type": "http.request", "body": b'{"kind":', "more_body": True},
        {"type": "http.disconnect"},
    ]
    scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "query_string": b"", "scheme": "http"}
    scope |= {"headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")], "server": ("127.0.0.1", 80)}

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    assert client.portal is not None
    with capture_logs() as said:
        client.portal.call(client.app, scope, receive, send)
    assert sent[0]["status"] == 499
    assert [line["log_level"] for line in said if "left before" in line["event"]] == ["info"]
    assert not [line for line in said if line["log_level"] == "error"]
    assert 'status="499"' in client.get("/metrics").text


def test_a_body_that_does_not_come_is_a_408() -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass

    async def receive() -> Message:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(BodyLimit(app, limit=10**6, seconds=0.05)({"type": "http", "headers": [], "path": "/v1/jobs"}, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/events", "/v1/jobs/{id}/artifacts", "/api/job/{id}/status"]
)
def test_a_database_that_does_not_answer_is_given_up(
    client: TestClient, conn: Connection, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(db, "ANSWER_WITHIN_S", 0.3)
    path = path.format(id=uuid4())
    with conn.transaction():
        conn.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        refused = problem(client.get(path), 503, says="the database does not answer")
        assert refused["status"] == 503
    assert client.get(path).status_code != 503, "and it is met again as soon as it does"


def test_a_body_is_not_asked_to_be_there_where_none_is_read(client: TestClient) -> None:
    problem(client.get("/v1/jobs", headers={"Content-Length": str(10**9)}), 413)


def operations(client: TestClient) -> dict[str, dict[str, Any]]:
    spec = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in str(spec)
    assert spec["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    return {f"{method.upper()} {path}": one for path, methods in spec["paths"].items() for method, one in methods.items()}


def test_what_the_server_answers_is_documented(client: TestClient) -> None:
    every = operations(client)
    for name, operation in every.items():
        assert {"400", "413"} <= operation["responses"].keys(), name
        assert ("408" in operation["responses"]) == ("requestBody" in operation), name
        if not name.endswith(OPEN):
            assert {"401", "403", "503"} <= operation["responses"].keys(), name
    assert "422" not in every["GET /api/job/{job_id}/status"]["responses"]
    assert {"206", "416"} <= every["GET /v1/jobs/{job_id}/artifacts/{name}"]["responses"].keys()
    assert "415" in every["PUT /v1/adapters/{name}/aliases/{alias}"]["responses"]


def test_a_submit_is_documented_with_what_tells_the_kinds_apart(serve: Serve) -> None:
    client = serve()
    every = operations(client)
    kinds = every["POST /v1/jobs"]["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert all("kind" in one["required"] and "const" in one["properties"]["kind"] for one in kinds)
    asked = {one["name"]: one["schema"] for one in every["GET /v1/jobs"]["parameters"]}
    assert set(asked["kind"]["enum"]) == {one["properties"]["kind"]["const"] for one in kinds}
    start = every["POST /api/job/start"]["requestBody"]["content"]["application/json"]
    assert start["example"]["config_id"] == "loom"
    assert {"config_id", "user_input"} <= set(start["schema"]["anyOf"][0]["required"])


def test_an_adapter_is_documented_without_the_folder_that_it_never_shows(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert "folder" not in schemas["AdapterVersion"]["required"]
    assert "folder" not in schemas["AdapterVersion"]["properties"]
