"""`POST /v1/erase` and `goldsmith erase`, and how a run hears of marks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from goldsmith import erasure, keys
from goldsmith.cli import erase as command
from goldsmith.cli.app import app
from goldsmith.client import Client
from goldsmith.db import Connection, Database
from goldsmith.keys import NewKey
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from tests.api.conftest import Serve
from tests.api.problems import problem
from tests.workshop import Workshop
from worker.context import RunContext

DEVICE = "device-3f9c1c2e77a0"


@pytest.fixture
def workshop(conn: Connection, storage: Storage, job_factory: Callable[..., UUID]) -> Workshop:
    made = Workshop(conn, storage, job_factory)
    made.record(DEVICE, "my dog in the rain at night")
    made.record("another", "a tall tower in the evening sun", "a lamp")
    made.make_corpus()
    made.make_gold()
    made.train()
    return made


def test_it_is_counted_then_erased_then_nothing(client: TestClient, workshop: Workshop) -> None:
    would = client.post("/v1/erase", json={"device_id": DEVICE, "dry_run": True}).json()
    assert (would["dry_run"], would["runs"], would["rows"]) == (True, 1, 2)
    did = client.post("/v1/erase", json={"device_id": DEVICE}).json()
    assert (did["dry_run"], did["runs"], did["rows"]) == (False, 1, 2)
    assert did["adapters"] == [{"ref": "adapter:prose@1", "rows": 1}]
    assert client.post("/v1/erase", json={"device_id": DEVICE}).json()["runs"] == 0
    assert client.get("/v1/adapters/prose/1").json()["adapter"]["erased_rows"] == 1
    assert client.get("/v1/datasets/gold/1").json()["dataset"]["erased_at"]
    assert DEVICE not in client.get("/v1/audit").text


def test_wrong_bodies_and_running_jobs_are_refused(client: TestClient, workshop: Workshop) -> None:
    problem(client.post("/v1/erase", json={}), 422, "device_id")
    problem(client.post("/v1/erase", json={"device_id": ""}), 422, "device_id")
    problem(client.post("/v1/erase", json={"device_id": "a\0"}), 422, "device_id")
    problem(client.post("/v1/erase", json={"device_id": DEVICE, "dryrun": True}), 422, "dryrun")
    running = workshop.job("train", config={"kind": "train", "dataset": "dataset:gold@1"})
    problem(client.post("/v1/erase", json={"device_id": DEVICE}), 409, says=f"train job:{running}")


def test_only_an_admin_may(serve: Serve, conn: Connection, workshop: Workshop) -> None:
    made = {}
    for name, scope in (("writer", "jobs:write"), ("owner", "admin")):
        new = NewKey.model_validate({"name": name, "scopes": [scope]})
        made[name] = {"Authorization": f"Bearer {keys.create(conn, new, actor='test').key}"}
    client = serve()
    asked: dict[str, Any] = {"json": {"device_id": DEVICE, "dry_run": True}}
    problem(client.post("/v1/erase", headers=made["writer"], **asked), 403)
    assert client.post("/v1/erase", headers=made["owner"], **asked).status_code == 200


def test_a_run_hears_once_that_what_it_loads_descends_from_erased_data(
    database: Database, conn: Connection, storage: Storage, workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    erasure.erase(conn, storage, DEVICE, actor="test", dry_run=False)
    job_id = workshop.job("evaluate")
    settings = Settings(_env_file=None, state_dir=tmp_path, database_url=database_url)
    run = RunContext(database, settings, job_id=job_id, kind="evaluate", attempt=1, scratch=tmp_path)
    for _ in range(2):
        run.dataset("dataset:gold@1")
        run.adapter("adapter:prose@1")
    said = [row["m"] for row in conn.execute("SELECT data->>'message' AS m FROM job_events WHERE job_id = %s", (job_id,))]
    assert ["dataset:gold@1: 1 of its rows were erased" in each for each in said] == [True, False]
    assert ["adapter:prose@1 descends from data that was erased" in each for each in said] == [False, True]


# -- the command


@pytest.fixture
def goldsmith(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`goldsmith erase …` against the API in this process."""
    server = Client("http://127.0.0.1")
    monkeypatch.setattr(server, "_http", client)
    monkeypatch.setattr(server, "close", lambda: None)
    monkeypatch.setattr(command, "connect", lambda: server)
    return lambda *arguments, **more: CliRunner().invoke(app, ["erase", *arguments], **more)


def test_the_command_shows_what_would_go_and_asks_first(goldsmith: Callable[..., Any], workshop: Workshop) -> None:
    shown = goldsmith("--device", DEVICE, "--dry-run")
    assert (shown.exit_code, "would be erased" in shown.output, "adapter:prose@1 (1 rows)" in shown.output) == (0, True, True)
    refused = goldsmith("--device", DEVICE, input="n\n")
    assert refused.exit_code == 1
    assert "Erase this for good?" in refused.output
    assert goldsmith("--device", DEVICE, "--dry-run", "--json").output.count(DEVICE) == 0
    assert goldsmith("--device", DEVICE, "--json").exit_code == 2
    done = goldsmith("--device", DEVICE, input="y\n")
    assert (done.exit_code, "train it anew" in done.output) == (0, True)
    assert "nothing of this device is here" in goldsmith("--device", DEVICE, "--yes").output
