"""`/v1/webhooks`: make, look at, change, rotate, test, remove; the secret is shown once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from goldsmith import webhooks
from goldsmith.db import Connection
from goldsmith.webhooks import Answer
from tests.api.conftest import Serve
from tests.api.problems import problem

JobFactory = Callable[..., UUID]
PUBLIC = "https://8.8.8.8/hook?token=1"


def add(client: TestClient, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/webhooks", json={"url": PUBLIC, **more})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/webhooks/{answer.json()['id']}"
    made: dict[str, Any] = answer.json()
    return made


def deliveries(client: TestClient, hook: dict[str, Any], **query: Any) -> dict[str, Any]:
    answer = client.get(f"/v1/webhooks/{hook['id']}/deliveries", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_its_life(client: TestClient) -> None:
    made = add(client, events=["job.failed"], kinds=["train"])
    assert made["secret"].startswith("whsec_")
    url = f"/v1/webhooks/{made['id']}"
    shown = client.get(url).json()
    assert shown == {key: value for key, value in made.items() if key != "secret"}
    assert (shown["events"], shown["kinds"], shown["active"]) == (["job.failed"], ["train"], True)
    other = add(client)
    assert [hook["id"] for hook in client.get("/v1/webhooks").json()] == [other["id"], made["id"]]
    changed = client.patch(url, json={"kinds": [], "active": False}).json()
    assert (changed["kinds"], changed["events"], changed["active"]) == ([], ["job.failed"], False)
    assert changed["disabled_reason"] == "switched off"
    assert client.patch(url, json={"active": True}).json()["disabled_reason"] is None
    assert client.delete(url).status_code == 204
    problem(client.get(url), 404, says="there is no webhook")
    problem(client.delete(url), 404)
    noted = client.get("/v1/audit").json()["entries"]
    subject = f"webhook:{made['id']}"
    assert [one["action"] for one in noted if one["subject"] == subject] == [
        "webhook.remove", "webhook.change", "webhook.change", "webhook.create"
    ]  # fmt: skip
    assert noted[1]["data"] == {"active": True}
    assert made["secret"] not in str(noted)
    assert [hook["id"] for hook in client.get("/v1/webhooks").json()] == [other["id"]]


def test_the_secret_is_in_no_other_answer(client: TestClient) -> None:
    made = add(client)
    url = f"/v1/webhooks/{made['id']}"
    rotated = client.post(f"{url}/rotate").json()
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"] is not None
    client.post(f"{url}/test")
    texts = [client.get(path).text for path in ("/v1/webhooks", url, f"{url}/deliveries")]
    texts.append(client.patch(url, json={"events": []}).text)
    for secret in (made["secret"], rotated["secret"]):
        assert not any(secret.removeprefix("whsec_") in text for text in texts)


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({}, "url", "required"),
        ({"url": "http://127.0.0.1:5432/"}, "url", "GOLDSMITH_WEBHOOK_PRIVATE"),
        ({"url": "http://localhost/"}, "url", "no public address"),
        ({"url": "http://[::ffff:169.254.169.254]/"}, "url", "no public address"),
        ({"url": "http://2130706433/"}, "url", "no public address"),
        ({"url": "ftp://8.8.8.8/"}, "url", "must begin with https"),
        ({"url": "https://a:b@8.8.8.8/"}, "url", "user name or password"),
        ({"url": "https://8.8.8.8/" + "x" * 2048}, "url", "2048"),
        ({"url": PUBLIC, "events": ["job.exploded"]}, "events.0", "job.completed"),
        ({"url": PUBLIC, "kinds": ["baking"]}, "kinds", "train"),
        ({"url": PUBLIC, "secret": "mine"}, "secret", "unknown key"),
    ],
)
def test_what_is_wrong_is_named(shared: TestClient, body: dict[str, Any], field: str, says: str) -> None:
    problem(shared.post("/v1/webhooks", json=body), 422, field, says)


def test_a_change_is_checked_like_a_new_one(client: TestClient) -> None:
    made = add(client)
    url = f"/v1/webhooks/{made['id']}"
    problem(client.patch(url, json={"url": "http://10.0.0.1/"}), 422, "url", "no public address")
    problem(client.patch(url, json={"kinds": ["baking"]}), 422, "kinds", "train")
    assert client.get(url).json()["url"] == PUBLIC


def test_a_private_target_is_taken_where_it_is_allowed(serve: Serve) -> None:
    client = serve(webhook_private="192.168.7.0/24")
    assert client.post("/v1/webhooks", json={"url": "http://192.168.7.9/hook"}).status_code == 201
    problem(client.post("/v1/webhooks", json={"url": "http://192.168.8.9/hook"}), 422, "url")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/rotate"),
        ("POST", "/test"),
        ("GET", "/deliveries"),
        ("POST", "/deliveries/01a1f000-0000-7000-8000-000000000000/retry"),
    ],
)
def test_what_is_not_there_is_a_404(shared: TestClient, method: str, path: str) -> None:
    body = {"json": {}} if method == "PATCH" else {}
    problem(shared.request(method, f"/v1/webhooks/{uuid4()}{path}", **body), 404, says="there is no webhook")  # type: ignore[arg-type]
    problem(shared.request(method, f"/v1/webhooks/x{path}", **body), 422, "webhook_id")  # type: ignore[arg-type]


def test_the_delivery_log(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    hook = add(client)
    test = client.post(f"/v1/webhooks/{hook['id']}/test")
    assert (test.status_code, test.json()["event"], test.json()["status"]) == (202, "webhook.test", "pending")
    claimed = webhooks.claim(conn, UUID(hook["id"]))
    assert claimed is not None
    webhooks.record(conn, claimed, Answer(503, 41, "the receiver answered 503"), dead_after_days=5)
    job_id = job_factory(status="completed")
    newest, tried = deliveries(client, hook)["deliveries"]
    assert (newest["job_id"], newest["event"], newest["attempts"], newest["log"]) == (str(job_id), "job.completed", 0, [])
    assert (tried["status_code"], tried["duration_ms"], tried["error"]) == (503, 41, "the receiver answered 503")
    assert (tried["attempts"], tried["status"], tried["log"][0]["status_code"]) == (1, "pending", 503)
    assert client.get(f"/v1/webhooks/{hook['id']}").json()["failing_since"] is not None
    page = deliveries(client, hook, limit=1)
    assert [one["id"] for one in page["deliveries"]] == [newest["id"]]
    page = deliveries(client, hook, limit=1, cursor=page["next_cursor"])
    assert ([one["id"] for one in page["deliveries"]], page["next_cursor"]) == ([tried["id"]], None)
    client.patch(f"/v1/webhooks/{hook['id']}", json={"active": False})
    assert len(deliveries(client, hook, status="failed")["deliveries"]) == 2
    assert deliveries(client, hook, status="delivered")["deliveries"] == []
    again = f"/v1/webhooks/{hook['id']}/deliveries/{newest['id']}/retry"
    problem(client.post(again), 409, says="switched off")
    problem(client.post(f"/v1/webhooks/{hook['id']}/test"), 409, says="switched off")
    client.patch(f"/v1/webhooks/{hook['id']}", json={"active": True})
    answer = client.post(again)
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    problem(client.post(f"/v1/webhooks/{hook['id']}/deliveries/{uuid4()}/retry"), 404, says="has no delivery")


@pytest.mark.parametrize(
    ("body", "field"),
    [({"active": 1}, "active"), ({"active": "true"}, "active"), ({"url": 5}, "url"), ({"events": "job.failed"}, "events")],
)
def test_a_value_of_another_type_is_refused_and_not_made_to_fit(client: TestClient, body: dict[str, Any], field: str) -> None:
    made = add(client)
    problem(client.patch(f"/v1/webhooks/{made['id']}", json=body), 422, field)
