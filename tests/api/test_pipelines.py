"""`/v1/pipelines`: all jobs or none, in the order of what they wait for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from goldsmith import artifacts, jobs
from goldsmith.db import Connection
from goldsmith.jobs import Outcome
from goldsmith.storage import Storage
from tests.api.problems import problem

NOOP = {"kind": "noop"}
IMPORT = {"kind": "import", "folder": "examples"}
RULES: dict[str, Any] = {"kind": "rules", "runs": "job:import", "teacher": "rehearsal", "budget_usd": 1}
CHAIN: dict[str, Any] = {
    "cluster": {"kind": "cluster", "rules": "job:rules", "runs": "job:import", "options": {"priority": 9}},
    "rules": RULES,
    "corpus": {"kind": "corpus", "name": "c", "runs": "job:import", "contexts": "job:import/contexts.json"},
    "import": {"kind": "import", "folder": "examples"},
    "report": {"kind": "noop", "depends_on": ["cluster", "corpus"], "options": {"on_parent_failure": "run"}},
}


def post(client: TestClient, every: Any, **more: Any) -> Any:
    return client.post("/v1/pipelines", json={"jobs": every}, **more)


def end(conn: Connection, job_id: str, outcome: str = "completed") -> None:
    claimed = jobs.claim(conn, UUID(job_id), worker="w", gpu_id=None)
    assert claimed is not None
    jobs.finish(conn, claimed.id, claimed.attempt, Outcome(outcome, result={}, message="no"))  # type: ignore[arg-type]


def count(conn: Connection) -> int:
    return len(jobs.list_jobs(conn, limit=500))


def test_names_become_ids_and_parents_come_first(client: TestClient) -> None:
    answer = post(client, CHAIN)
    assert answer.status_code == 202, answer.text
    pipeline = answer.json()
    assert client.get(answer.headers["location"]).json() == pipeline
    made = pipeline["jobs"]
    ids = {name: f"job:{job['id']}" for name, job in made.items()}
    assert {name: (job["kind"], job["status"], sorted(job["depends_on"])) for name, job in made.items()} == {
        "import": ("import", "queued", []),
        "rules": ("rules", "waiting", ["import"]),
        "corpus": ("corpus", "waiting", ["import"]),
        "cluster": ("cluster", "waiting", ["import", "rules"]),
        "report": ("noop", "waiting", ["cluster", "corpus"]),
    }
    cluster = client.get(f"/v1/jobs/{made['cluster']['id']}").json()
    assert (cluster["config"]["rules"], cluster["config"]["runs"]) == (ids["rules"], ids["import"])
    assert (cluster["priority"], cluster["pipeline_id"]) == (9, pipeline["id"])
    corpus = client.get(f"/v1/jobs/{made['corpus']['id']}").json()
    assert corpus["config"]["contexts"] == ids["import"] + "/contexts.json"


def test_it_runs_to_its_end(client: TestClient, conn: Connection) -> None:
    pipeline = post(client, {"b": NOOP | {"depends_on": ["a"]}, "a": NOOP}).json()
    url = f"/v1/pipelines/{pipeline['id']}"
    assert list(pipeline["jobs"]) == ["a", "b"]
    end(conn, pipeline["jobs"]["a"]["id"])
    half = client.get(url).json()
    assert (half["status"], half["jobs"]["a"]["status"], half["jobs"]["b"]["status"]) == ("running", "completed", "queued")
    end(conn, pipeline["jobs"]["b"]["id"])
    assert client.get(url).json()["status"] == "completed"


def test_a_failure_goes_down_the_line_as_chosen(client: TestClient, conn: Connection) -> None:
    tidy = NOOP | {"depends_on": ["b"], "options": {"on_parent_failure": "run"}}
    pipeline = post(client, {"a": NOOP, "b": NOOP | {"depends_on": ["a"]}, "tidy": tidy}).json()
    end(conn, pipeline["jobs"]["a"]["id"], "failed")
    after = client.get(f"/v1/pipelines/{pipeline['id']}").json()
    assert {name: job["status"] for name, job in after["jobs"].items()} == {"a": "failed", "b": "failed", "tidy": "queued"}


@pytest.mark.parametrize(
    ("every", "cycle"),
    [
        (
            {"a": NOOP | {"depends_on": ["c"]}, "b": NOOP | {"depends_on": ["a"]}, "c": NOOP | {"depends_on": ["b"]}},
            "a → b → c → a",
        ),
        ({"a": NOOP | {"depends_on": ["a"]}}, "a → a"),
        ({"rules": RULES | {"runs": "job:x"}, "x": NOOP | {"depends_on": ["rules"]}}, "rules → x → rules"),
        ({"free": NOOP, "p": NOOP | {"depends_on": ["q"]}, "q": NOOP | {"depends_on": ["p"]}}, "p → q → p"),
    ],
)
def test_a_cycle_is_shown(client: TestClient, conn: Connection, every: dict[str, Any], cycle: str) -> None:
    problem(post(client, every), 422, "jobs", cycle)
    assert count(conn) == 0


@pytest.mark.parametrize(
    ("every", "field", "says"),
    [
        ({}, "jobs", "1 to 100"),
        ([NOOP], "jobs", "1 to 100"),
        ({"a": NOOP | {"depends_on": ["b"]}}, "jobs.a.depends_on", "no job 'b' in this pipeline; there are: a"),
        ({"a": NOOP | {"depends_on": "b"}}, "jobs.a.depends_on", "array"),
        ({"rules": RULES}, "jobs.rules.runs", "no job 'import'"),
        ({"a": "noop"}, "jobs.a", "object"),
        ({"A b": NOOP}, "jobs.A b", "name"),
        ({str(UUID(int=1)): NOOP}, f"jobs.{UUID(int=1)}", "no id"),
        ({"a": NOOP, "b": {"kind": "nonsense"}}, "jobs.b.kind", "must be one of"),
        ({"a": NOOP, "b": NOOP | {"wait": 1}}, "jobs.b.wait", "unknown key"),
        ({"a": NOOP, "b": NOOP | {"options": {"priority": 10}}}, "jobs.b.options.priority", "less than"),
        ({"a": NOOP, "b": NOOP | {"options": {"unique_key": "k"}}}, "jobs.b.options.unique_key", "Idempotency-Key"),
        ({"a": NOOP, "rules": RULES | {"runs": "job:a"}}, "jobs.rules.runs", "must point to a job of kind import"),
        ({"import": IMPORT, "rules": RULES | {"teacher": "anthropic", "model": "gpt-9"}}, "jobs.rules.model", "has no price"),
        (
            {"import": IMPORT, "rules": RULES | {"teacher": "anthropic", "model": "rehearsal-1"}},
            "jobs.rules.model",
            "belongs to 'rehearsal'",
        ),
        (
            {"import": IMPORT, "rules": RULES | {"teacher": "anthropic", "budget_usd": 0}},
            "jobs.rules.budget_usd",
            "greater than 0",
        ),
        ({"import": IMPORT, "rules": RULES | {"teacher": "oracle"}}, "jobs.rules.teacher", "anthropic"),
        ({"a": NOOP, "rules": RULES | {"runs": f"job:{UUID(int=1)}"}}, "jobs.rules.runs", "there is no job"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    client: TestClient, conn: Connection, every: Any, field: str, says: str
) -> None:
    problem(post(client, every), 422, field, says)
    assert count(conn) == 0
    assert conn.execute("SELECT 1 FROM pipelines").fetchone() is None


def test_it_may_depend_on_jobs_outside(client: TestClient, conn: Connection, storage: Storage) -> None:
    outside = client.post("/v1/jobs", json=NOOP).json()["id"]
    pipeline = post(client, {"a": NOOP | {"options": {"depends_on": [outside]}}}).json()
    assert (pipeline["jobs"]["a"]["status"], pipeline["jobs"]["a"]["depends_on"]) == ("waiting", [])
    assert artifacts.of_job(conn, UUID(outside)) == []


def test_cancelling_cancels_what_has_not_ended(client: TestClient, conn: Connection) -> None:
    chain = {"a": NOOP, "b": NOOP, "c": NOOP | {"depends_on": ["b"]}, "d": NOOP | {"depends_on": ["c"]}}
    pipeline = post(client, chain).json()
    end(conn, pipeline["jobs"]["a"]["id"])
    url = f"/v1/pipelines/{pipeline['id']}/cancel"
    first = client.post(url)
    assert first.status_code == 202, first.text
    assert {name: job["status"] for name, job in first.json()["jobs"].items()} == {
        "a": "completed",
        "b": "cancelled",
        "c": "cancelled",
        "d": "cancelled",
    }
    assert first.json()["status"] == "cancelled"
    assert client.post(url).json() == first.json()
    for answer in (client.get(f"/v1/pipelines/{uuid4()}"), client.post(f"/v1/pipelines/{uuid4()}/cancel")):
        problem(answer, 404, None, "there is no pipeline")


def test_the_same_key_makes_one_pipeline(client: TestClient, conn: Connection) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(client, {"a": NOOP, "b": NOOP}, headers=headers), range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert count(conn) == 2
    problem(post(client, {"a": NOOP}, headers=headers), 422, "Idempotency-Key", "another body")
