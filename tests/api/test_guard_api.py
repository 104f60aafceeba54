"""`/v1/experiments/{id}`: report, rollback, force, promote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from goldsmith.db import Connection
from goldsmith.storage import Storage
from tests.ab_data import mixed
from tests.api.problems import problem
from tests.conftest import wait_until
from tests.experimenting import begin, register, write_units

JobFactory = Callable[..., UUID]


@pytest.fixture
def running(conn: Connection, storage: Storage, job_factory: JobFactory, tmp_path: Path, client: TestClient) -> str:
    """The URL of a running experiment."""
    register(conn, storage, job_factory(kind="train"), tmp_path / "trained", alias="challenger")
    experiment = begin(conn, "adapter:workshop@challenger")
    return f"/v1/experiments/{experiment.id}"


def test_a_report_of_nothing_says_that_nothing_is_known(client: TestClient, running: str) -> None:
    answer = client.get(f"{running}/report")
    report = answer.json()
    assert report["experiment"] == client.get(running).json()
    look = report["look"]
    assert (look["events"], look["verdict"]) == (0, {"decision": "continue", "reason": "There are no events yet.", "arm": None})
    assert {one["state"] for one in look["guardrails"]} == {"unknown"}
    assert look["srm"]["state"] == look["contamination"]["state"] == "unknown"
    assert [arm["as_treated"] for arm in look["arms"]] == [None, None]
    assert all(one["estimate"] is None for metric in look["metrics"] for one in metric["differences"])
    assert report["looks"] == []
    assert [one["decision"] for one in report["decisions"]] == ["start", "create"]
    again = client.get(f"{running}/report", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_draft_has_no_look(client: TestClient, running: str) -> None:
    plan = client.get(running).json()["plan"] | {"name": "second"}
    draft = client.post("/v1/experiments", json=plan).json()
    report = client.get(f"/v1/experiments/{draft['id']}/report").json()
    assert (report["look"], report["looks"]) == (None, [])
    problem(client.get(f"/v1/experiments/{uuid4()}/report"), 404)


def test_a_report_has_every_number(client: TestClient, conn: Connection, running: str) -> None:
    write_units(
        conn, UUID(running.rpartition("/")[2]), mixed({"base": 900, "lora": 100}, favorites=(0.2, 0.3), blocks=(0.02, 0.02))
    )
    # The guard may have looked a moment before the events came, and rests.
    wait_until(lambda: client.get(f"{running}/report").json()["look"]["pending_events"] == 0, "a look at all of them")
    look = client.get(f"{running}/report").json()["look"]
    assert look["events"] == 1000
    assert [(arm["name"], arm["units"]) for arm in look["arms"]] == [("base", 900), ("lora", 100)]
    favorite = next(metric for metric in look["metrics"] if metric["name"] == "favorite")
    assert favorite["arms"] == {"base": {"n": 900, "value": 0.2}, "lora": {"n": 100, "value": 0.3}}
    (difference,) = favorite["differences"]
    assert difference["estimate"] == pytest.approx(0.1)
    assert difference["lower"] < 0.1 < difference["upper"]
    assert {one["name"] for one in look["guardrails"]} == {"safety_block", "entropy", "latency", "error"}
    *_, point = client.get(f"{running}/report").json()["looks"]  # the guard may have looked, too
    assert point["differences"]["favorite"]["lora"] == [difference["estimate"], difference["lower"], difference["upper"]]


@pytest.mark.parametrize("act", ["rollback", "force", "promote"])
@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "reason"), ({"reason": "  "}, "reason"), ({"reason": "x" * 2001}, "reason"), ({"reason": "a", "why": 1}, "why")],
)
def test_a_reason_is_needed(client: TestClient, running: str, act: str, body: dict[str, Any], field: str) -> None:
    problem(client.post(f"{running}/{act}", json=body), 422, field)
    problem(client.post(f"/v1/experiments/{uuid4()}/{act}", json={"reason": "a"}), 404)
    assert client.get(running).json()["status"] == "running"


def test_a_person_rolls_back_and_forces_it_on_again(client: TestClient, running: str) -> None:
    rolled_back = client.post(f"{running}/rollback", json={"reason": "Too dark."}).json()
    assert rolled_back["status"] == "rolled_back"
    assert client.post(f"{running}/rollback", json={"reason": "Too dark."}).json() == rolled_back
    forced = client.post(f"{running}/force", json={"reason": "A false alarm."}).json()
    assert (forced["status"], forced["forced"]["reason"]) == ("running", "A false alarm.")
    decisions = client.get(f"{running}/report").json()["decisions"]
    assert [
        (one["decision"], one["actor"], one["reason"]) for one in decisions if one["decision"] in ("rollback", "force")
    ] == [
        ("force", "local", "A false alarm."),
        ("rollback", "local", "Too dark."),
    ]


def test_a_promotion_without_proof_lists_what_is_missing(client: TestClient, running: str) -> None:
    answer = client.post(f"{running}/promote", json={"reason": "Go."})
    problem(answer, 409, says="cannot be promoted")
    assert len(answer.json()["missing"]) == 4
    problem(client.post(f"{running}/promote", json={"reason": "Go.", "arm": "nobody"}), 422, "arm", "it has lora")
    client.post(f"{running}/end")
    problem(client.post(f"{running}/rollback", json={"reason": "Too dark."}), 409, says="is completed")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_snapshot_is_only_read(client: TestClient, method: str) -> None:
    answer = client.request(method, "/v1/experiments/snapshot")
    problem(answer, 405)
    assert answer.headers["allow"] == "GET"
