"""`/v1/sessions` and `/v1/quarantine`: what is listed, to whom, and what a release does."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

from starlette.testclient import TestClient

from goldsmith import audit
from goldsmith.db import Connection
from goldsmith.rules import Rule, rules_of, save_rules
from goldsmith.sessions import Session, save_sessions, sessions_of
from tests.api.problems import problem

JobFactory = Callable[..., UUID]


def session(number: int, status: str = "active") -> Session:
    reason = "feedback: it advertises" if status == "quarantined" else None
    return Session(number, f"s-{number}", "chat", "q", "a" * 3000, "Feedback 1: f", "turns", status=status, reason=reason)  # type: ignore[arg-type]


def test_a_jobs_sessions_are_listed_page_by_page(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    job = job_factory(kind="sessions")
    save_sessions(conn, job, 1, [session(0), session(1, "quarantined"), session(2)])
    first = client.get("/v1/sessions", params={"job": str(job), "limit": 2}).json()
    assert [one["session_id"] for one in first["sessions"]] == ["s-0", "s-1"]
    second = client.get("/v1/sessions", params={"job": str(job), "cursor": first["next_cursor"]}).json()
    assert ([one["session_id"] for one in second["sessions"]], second["next_cursor"]) == (["s-2"], None)
    apart = client.get("/v1/sessions", params={"job": str(job), "status": "quarantined"}).json()["sessions"]
    assert [(one["session_id"], one["reason"]) for one in apart] == [("s-1", "feedback: it advertises")]
    assert client.get("/v1/sessions", params={"job": f"job:{job}", "limit": 2}).json() == first
    problem(client.get("/v1/sessions"), 422, "job")
    problem(client.get("/v1/sessions", params={"job": "upload:1"}), 422, "job")
    problem(client.get("/v1/sessions", params={"job": str(job), "status": "bad"}), 422, "status")


def test_what_is_in_quarantine_can_be_released_once(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    job, other = job_factory(kind="sessions"), job_factory(kind="rules")
    save_sessions(conn, job, 1, [session(0, "quarantined")])
    rule = Rule(
        0, "s-9", None, "en", "feedback", "Say no.", {"quote": "say no"}, status="quarantined", reason="rule: it advertises"
    )
    save_rules(conn, other, 1, [rule])
    every = client.get("/v1/quarantine", params={"limit": 1}).json()
    rest = client.get("/v1/quarantine", params={"cursor": every["next_cursor"]}).json()["entries"]
    entries = {one["what"]: one for one in [*every["entries"], *rest]}
    assert entries["session"]["texts"]["feedback"] == "Feedback 1: f"
    assert len(entries["session"]["texts"]["answer"]) == 2000
    assert entries["rule"]["texts"] == {"rule": "Say no.", "quote": "say no"}
    assert [one["what"] for one in client.get("/v1/quarantine", params={"job": f"job:{other}"}).json()["entries"]] == ["rule"]

    assert list(sessions_of(conn, job)) == []
    for one in entries.values():
        assert client.post(f"/v1/quarantine/{one['id']}/release").json()["reason"] == one["reason"]
        problem(client.post(f"/v1/quarantine/{one['id']}/release"), 409, says="is active, not in quarantine")
    assert [one.session_id for one in sessions_of(conn, job)] == ["s-0"]
    assert [one.rule for one in rules_of(conn, other)] == ["Say no."]
    assert client.get("/v1/quarantine").json()["entries"] == []
    assert [one.action for one in audit.entries(conn, limit=2)] == ["quarantine.release"] * 2
    problem(client.post(f"/v1/quarantine/{uuid4()}/release"), 404, says="nothing in quarantine")


def test_only_an_admin_sees_and_releases(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    save_sessions(conn, job_factory(kind="sessions"), 1, [session(0, "quarantined")])
    boss = client.post("/v1/keys", json={"name": "boss", "scopes": ["admin"]}).json()["key"]
    headers = {"Authorization": f"Bearer {boss}"}
    made = client.post("/v1/keys", json={"name": "writer", "scopes": ["jobs:read", "jobs:write"]}, headers=headers).json()[
        "key"
    ]
    writer = {"Authorization": f"Bearer {made}"}
    entry = client.get("/v1/quarantine", headers=headers).json()["entries"][0]
    problem(client.get("/v1/quarantine", headers=writer), 403)
    problem(client.post(f"/v1/quarantine/{entry['id']}/release", headers=writer), 403)
    assert client.get("/v1/sessions", params={"job": str(uuid4())}, headers=writer).json()["sessions"] == []
    assert client.post(f"/v1/quarantine/{entry['id']}/release", headers=headers).status_code == 200
