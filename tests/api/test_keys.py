"""Who may do what: keys, their scopes, their end, and what is written down of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
import structlog
from fastapi import FastAPI
from starlette.testclient import TestClient

from api import access
from api.app import create_app
from goldsmith import budgets, keys
from goldsmith.db import Connection
from goldsmith.errors import GoldsmithError
from goldsmith.settings import Settings
from tests.api.conftest import Serve
from tests.api.problems import problem
from tests.conftest import free_port

JobFactory = Callable[..., UUID]
NOOP = {"kind": "noop"}
KeyFactory = Callable[..., dict[str, str]]


@pytest.fixture
def key(conn: Connection) -> KeyFactory:
    """Make a key in the table; returns the header that carries it: `key("jobs:read", name="tablet")`."""

    def make(*scopes: keys.Scope, name: str = "tablet", **more: Any) -> dict[str, str]:
        made = keys.create(conn, keys.NewKey(name=name, scopes=list(scopes), **more), actor="test")
        return {"Authorization": f"Bearer {made.key}"}

    return make


def audit_of(conn: Connection) -> list[tuple[str, str, str]]:
    return [(row["actor"], row["action"], row["subject"]) for row in conn.execute("SELECT * FROM audit_log ORDER BY id")]


# -- making, showing, revoking


def test_a_key_is_shown_once_and_only_its_hash_is_kept(client: TestClient, conn: Connection) -> None:
    made = client.post("/v1/keys", json={"name": "tablet", "scopes": ["admin"]})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    key = made.json()["key"]
    assert len(bytes.fromhex(key.removeprefix("gs_"))) == 32
    assert made.json()["prefix"] == f"{key[:9]}…"
    row = conn.execute("SELECT * FROM api_keys").fetchone()
    assert row is not None
    assert row["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    listed = client.get("/v1/keys", headers={"Authorization": f"Bearer {key}"})
    assert [(one["name"], one["prefix"]) for one in listed.json()] == [("tablet", made.json()["prefix"])]
    assert key not in listed.text
    assert key not in json.dumps(row, default=str)
    assert key not in json.dumps(conn.execute("SELECT * FROM audit_log").fetchall(), default=str)


def test_from_the_first_key_on_every_request_needs_one(client: TestClient, conn: Connection, key: KeyFactory) -> None:
    assert client.get("/v1/jobs").status_code == 200
    made = client.post("/v1/keys", json={"name": "reader", "scopes": ["jobs:read"]}).json()["key"]
    problem(client.get("/v1/jobs"), 401, says="goldsmith keys create")
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {made}"}).status_code == 200
    keys.revoke(conn, "reader", actor="test")
    client.app.state.goldsmith.keys.forget()  # type: ignore[attr-defined]
    problem(client.get("/v1/jobs"), 401)  # and it stays so when the last is revoked


def test_a_revoked_key_ends_at_once_and_its_name_is_not_given_again(
    client: TestClient, conn: Connection, key: KeyFactory
) -> None:
    boss, tablet = key("admin", name="boss"), key("jobs:read")
    client.app.state.goldsmith.keys.forget()  # type: ignore[attr-defined]
    assert client.get("/v1/jobs", headers=tablet).status_code == 200
    revoked = client.post("/v1/keys/tablet/revoke", headers=boss)
    assert revoked.json()["revoked_at"] is not None
    problem(client.get("/v1/jobs", headers=tablet), 401)
    assert client.post("/v1/keys/tablet/revoke", headers=boss).json() == revoked.json()
    problem(client.post("/v1/keys/nobody/revoke", headers=boss), 404, says="nobody")
    problem(client.post("/v1/keys", json={"name": "tablet", "scopes": ["admin"]}, headers=boss), 409, says="used once")
    assert audit_of(conn)[2:] == [("boss", "key.revoke", "tablet")]


def test_a_key_revoked_elsewhere_ends_when_the_memory_of_it_does(
    serve: Serve, conn: Connection, key: KeyFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tablet, client = key("jobs:read"), serve()
    assert client.get("/v1/jobs", headers=tablet).status_code == 200
    keys.revoke(conn, "tablet", actor="another process")
    assert access.CACHE_S <= 5
    monkeypatch.setattr(access, "CACHE_S", 0)
    problem(client.get("/v1/jobs", headers=tablet), 401)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["admin"]}, "name"),
        ({"name": "Tablet", "scopes": ["admin"]}, "name"),
        ({"name": "local", "scopes": ["admin"]}, "name"),
        ({"name": "a" * 65, "scopes": ["admin"]}, "name"),
        ({"name": "tablet", "scopes": []}, "scopes"),
        ({"name": "tablet", "scopes": ["root"]}, "scopes.0"),
        ({"name": "tablet", "scopes": ["admin"], "jobs_per_hour": 0}, "jobs_per_hour"),
        ({"name": "tablet", "scopes": ["admin"], "running_at_once": True}, "running_at_once"),
        ({"name": "tablet", "scopes": ["admin"], "secret": "mine"}, "secret"),
    ],
)
def test_a_wrong_key_is_refused_by_field(shared: TestClient, body: dict[str, Any], field: str) -> None:
    problem(shared.post("/v1/keys", json=body), 422, field)


def test_its_use_is_noted_at_most_once_a_minute(
    serve: Serve, conn: Connection, key: KeyFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tablet, client = key("jobs:read"), serve()
    monkeypatch.setattr(access, "CACHE_S", 0)

    def last_used() -> Any:
        row = conn.execute("SELECT last_used_at, xmin::text FROM api_keys").fetchone()
        return row and (row["last_used_at"], row["xmin"])

    assert last_used()[0] is None
    client.get("/v1/jobs", headers=tablet)
    first = last_used()
    assert first[0] is not None
    client.get("/v1/jobs", headers=tablet)
    assert last_used() == first
    conn.execute("UPDATE api_keys SET last_used_at = now() - interval '61 s'")
    client.get("/v1/jobs", headers=tablet)
    assert last_used()[0] > first[0]


# -- scopes


def test_each_scope_opens_its_own_and_nothing_else(serve: Serve, key: KeyFactory) -> None:
    scopes = {scope: key(scope, name="may-" + scope.replace(":", "-")) for scope in keys.SCOPES}
    client = serve()
    nothing = UUID(int=0)
    opened = {
        ("GET", "/v1/jobs"): {"jobs:read", "admin"},
        ("GET", f"/api/job/{nothing}/status"): {"jobs:read", "admin"},
        ("GET", "/v1/kinds"): {"jobs:read", "admin"},
        ("GET", "/v1/experiments"): {"jobs:read", "admin"},
        ("POST", "/v1/jobs"): {"jobs:write", "admin"},
        ("POST", f"/v1/jobs/{nothing}/cancel"): {"jobs:write", "admin"},
        ("POST", "/api/job/start"): {"jobs:write", "admin"},
        ("PUT", "/v1/adapters/fox/aliases/champion"): {"jobs:write", "admin"},
        ("POST", f"/v1/experiments/{nothing}/start"): {"jobs:write", "admin"},
        ("POST", f"/v1/experiments/{nothing}/events"): {"experiments:event", "admin"},
        ("GET", "/v1/keys"): {"admin"},
        ("POST", "/v1/keys"): {"admin"},
        ("POST", "/v1/keys/nobody/revoke"): {"admin"},
        ("GET", "/v1/audit"): {"admin"},
    }
    for (method, path), wanted in opened.items():
        for scope, header in scopes.items():
            answer = client.request(method, path, headers=header)
            assert (answer.status_code not in (401, 403)) == (scope in wanted), f"{method} {path} with {scope}: {answer.text}"
            if scope not in wanted:
                needs = next(one for one in keys.SCOPES if one in wanted)
                assert problem(answer, 403, says=f"needs the scope {needs}")["scope"] == needs


def test_a_route_that_nobody_thought_of_needs_admin(serve: Serve, key: KeyFactory) -> None:
    writer, boss = key("jobs:read", "jobs:write", "experiments:event", name="writer"), key("admin", name="boss")
    client = serve()
    assert isinstance(client.app, FastAPI)

    @client.app.get("/v1/settings")
    def settings() -> str:
        return "open sesame"

    problem(client.get("/v1/settings"), 401)
    problem(client.get("/v1/settings", headers=writer), 403, says="needs the scope admin")
    assert client.get("/v1/settings", headers=boss).json() == "open sesame"


def test_every_route_asks_for_a_key_but_health_and_the_public_key(serve: Serve, key: KeyFactory) -> None:
    key("admin")
    client = serve()
    assert isinstance(client.app, FastAPI)
    paths = client.app.openapi()["paths"]
    assert len(paths) > 30
    unasked = set()
    for path, verbs in paths.items():
        for verb in verbs:
            answer = client.request(verb, path.replace("{", "").replace("}", ""))
            if answer.status_code != 401:
                unasked.add(path)
    assert unasked == {"/healthz", "/readyz", "/metrics", "/.well-known/goldsmith-passport-key"}


def test_the_key_of_the_settings_stays_the_admin_beside_the_table(serve: Serve, conn: Connection, key: KeyFactory) -> None:
    tablet = key("jobs:write")
    client = serve(api_key="sesame")
    boss = {"Authorization": "Bearer sesame"}
    assert client.get("/v1/keys", headers=boss).status_code == 200
    jobs = [client.post("/v1/jobs", json=NOOP, headers=header).json() for header in (tablet, boss)]
    assert [job["created_by"] for job in jobs] == ["tablet", "admin"]
    problem(client.get("/v1/keys", headers={"Authorization": "Bearer sesame "}), 401)


def test_an_idempotency_key_is_its_callers_own(serve: Serve, key: KeyFactory) -> None:
    one, other = key("jobs:write", name="one"), key("jobs:write", name="other")
    client = serve()

    def submit(header: dict[str, str], body: dict[str, Any] = NOOP) -> Any:
        return client.post("/v1/jobs", json=body, headers=header | {"Idempotency-Key": "lesson-1"})

    assert submit(one).json()["id"] == submit(one).json()["id"] != submit(other).json()["id"]
    assert submit(other, NOOP | {"options": {"priority": 9}}).status_code == 422


# -- without any key


def test_without_a_key_it_says_so_at_the_start_and_with_one_it_does_not(
    serve: Serve, key: KeyFactory, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as said:
        serve()
    assert [line["event"] for line in said] == [
        "no API key: listening on loopback only, and whoever is on this machine may do everything"
    ]
    key("jobs:read")
    with structlog.testing.capture_logs() as said:
        serve()
        serve(api_key="sesame")
    assert said == []


def test_it_starts_without_a_database_that_could_say_whether_there_are_keys(serve: Serve, conn: Connection) -> None:
    conn.execute("ALTER TABLE api_keys RENAME TO not_yet_there")
    for client in (serve(), serve(database_url=f"postgresql://127.0.0.1:{free_port()}/none")):
        assert client.get("/healthz").status_code == 200
        problem(client.get("/healthz", headers={"Host": "evil.example"}), 400)


def test_beyond_loopback_a_valid_key_in_the_table_is_enough(database_url: str, conn: Connection, key: KeyFactory) -> None:
    settings = Settings(_env_file=None, database_url=database_url, host="0.0.0.0")
    with pytest.raises(GoldsmithError, match="goldsmith keys create"):
        create_app(settings)
    key("jobs:read")
    create_app(settings)
    keys.revoke(conn, "tablet", actor="test")
    with pytest.raises(GoldsmithError, match="goldsmith keys create"):
        create_app(settings)


def test_beyond_loopback_nobody_gets_in_without_a_key_also_when_all_are_gone(
    serve: Serve, conn: Connection, key: KeyFactory
) -> None:
    key("admin")
    client = serve(host="0.0.0.0")
    conn.execute("DELETE FROM api_keys")
    client.app.state.goldsmith.keys.forget()  # type: ignore[attr-defined]
    problem(client.get("/v1/jobs"), 401)


def test_with_a_key_in_the_table_another_host_name_is_served(serve: Serve, key: KeyFactory) -> None:
    tablet = key("jobs:read")
    answer = serve().get("/v1/jobs", headers=tablet | {"Host": "goldsmith.example"})
    assert answer.status_code == 200


# -- what is written down


def test_a_promotion_is_written_down_with_who_did_it_and_is_undone_with_it(
    serve: Serve, conn: Connection, key: KeyFactory
) -> None:
    tablet, boss = key("jobs:write"), key("admin", name="boss")
    conn.execute("INSERT INTO adapters (name) VALUES ('fox')")
    conn.execute("INSERT INTO jobs (kind, status, queue, timeout) VALUES ('train', 'queued', 'gpu', 60)")
    conn.execute(
        "INSERT INTO adapter_versions (adapter_id, version, job_id, base_model, base_sha256, tokenizer_sha256, template_sha256,"
        " dataset, uri) SELECT a.id, 1, j.id, 'm', 'x', 'x', 'x', 'dataset:d@1', 'file:nowhere' FROM adapters a, jobs j"
    )
    client = serve()
    assert client.put("/v1/adapters/fox/aliases/champion", json={"version": 1}, headers=tablet).status_code == 200
    problem(client.put("/v1/adapters/fox/aliases/champion", json={"version": 2}, headers=tablet), 404)
    page = client.get("/v1/audit", params={"limit": 1}, headers=boss).json()
    newest = page["entries"][0]
    assert (newest["actor"], newest["action"], newest["subject"]) == ("tablet", "adapter.promote", "adapter:fox@champion")
    assert newest["data"] == {"version": 1}
    rest = client.get("/v1/audit", params={"cursor": page["next_cursor"]}, headers=boss).json()
    assert [(entry["action"], entry["subject"]) for entry in rest["entries"]] == [
        ("key.create", "boss"),
        ("key.create", "tablet"),
    ]
    assert rest["next_cursor"] is None


def test_an_act_without_its_entry_is_not_done(conn: Connection) -> None:
    conn.execute("ALTER TABLE audit_log ADD CHECK (action <> 'key.create')")
    with pytest.raises(psycopg.errors.CheckViolation):
        keys.create(conn, keys.NewKey(name="tablet", scopes=["admin"]), actor="test")
    assert keys.list_keys(conn) == []


# -- quotas


def test_a_submit_over_the_quota_says_which_and_when_it_is_free(serve: Serve, conn: Connection, key: KeyFactory) -> None:
    tablet = key("jobs:write", jobs_per_hour=2)
    client = serve()
    first = client.post("/v1/jobs", json=NOOP, headers=tablet | {"Idempotency-Key": "lesson-1"})
    assert client.post("/api/job/start", json=NOOP, headers=tablet).status_code == 202
    answer = client.post("/v1/jobs", json=NOOP, headers=tablet)
    document = problem(answer, 429, says="quota jobs_per_hour")
    assert (document["quota"], document["limit"], document["used"]) == ("jobs_per_hour", 2, 2)
    assert document["free_at"] > str(first.json()["created_at"])
    assert 3500 < int(answer.headers["retry-after"]) <= 3600
    again = client.post("/v1/jobs", json=NOOP, headers=tablet | {"Idempotency-Key": "lesson-1"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    count = conn.execute("SELECT count(*) AS n FROM jobs").fetchone()
    assert count == {"n": 2}


def test_a_pipeline_counts_with_all_its_jobs_or_not_at_all(serve: Serve, conn: Connection, key: KeyFactory) -> None:
    tablet = key("jobs:write", jobs_per_hour=3)
    client = serve()
    pair = {"jobs": {"first": NOOP, "second": NOOP | {"depends_on": ["first"]}}}
    assert client.post("/v1/pipelines", json=pair, headers=tablet).status_code == 202
    assert problem(client.post("/v1/pipelines", json=pair, headers=tablet), 429, says="2 more would be too many")["used"] == 2
    assert conn.execute(
        "SELECT (SELECT count(*) FROM jobs) AS jobs, (SELECT count(*) FROM pipelines) AS pipelines"
    ).fetchone() == {
        "jobs": 2,
        "pipelines": 1,
    }
    assert client.post("/v1/jobs", json=NOOP, headers=tablet).status_code == 202


def test_a_keys_budgets_hold_at_once_also_for_jobs_that_run(
    serve: Serve, conn: Connection, key: KeyFactory, job_factory: JobFactory
) -> None:
    mine, chief = key("jobs:write", budget_usd=5), key("admin", name="chief")
    client = serve()
    account = budgets.open_account(conn, job_factory(created_by="tablet"), 1, budget_usd=9)
    changed = client.patch("/v1/keys/tablet", json={"budget_usd_per_day": 0.5}, headers=chief)
    assert (changed.status_code, changed.json()["budget_usd"], changed.json()["budget_usd_per_day"]) == (200, None, 0.5)
    [place] = budgets.reserve(conn, account, [budgets.Call("row", "a" * 64, "anthropic", "m", Decimal("0.6"))])
    assert isinstance(place, budgets.NoRoom)
    assert audit_of(conn)[-1] == ("chief", "key.budget", "tablet")

    assert client.patch("/v1/keys/tablet", json={}, headers=mine).status_code == 403
    assert client.patch("/v1/keys/nobody", json={}, headers=chief).status_code == 404
    refused = client.patch("/v1/keys/tablet", json={"budget_usd": -1}, headers=chief)
    problem(refused, 422, "budget_usd")
