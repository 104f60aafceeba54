"""What `options` of a submit and the routes of the kinds do, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import redis
from starlette.testclient import TestClient

from goldsmith import jobs
from goldsmith.db import Connection
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.jobs import Told
from goldsmith.kinds.intercept.schema import InterceptConfig
from goldsmith.kinds.registry import kinds
from goldsmith.queue import Queue
from tests.api.problems import problem
from tests.conftest import wait_until


def test_a_second_submit_of_a_unique_key_is_200_and_the_same_job(client: TestClient) -> None:
    body = {"kind": "noop", "options": {"unique_key": "nightly", "unique_for_s": 3600}}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/jobs", json=body), range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert not any("idempotent-replayed" in answer.headers for answer in answers)


def test_a_job_that_depends_on_another_waits(client: TestClient) -> None:
    parent = client.post("/v1/jobs", json={"kind": "noop"}).json()["id"]
    options = {"depends_on": [parent], "on_parent_failure": "run"}
    child = client.post("/v1/jobs", json={"kind": "noop", "options": options})
    assert child.status_code == 202, child.text
    assert (child.json()["status"], child.json()["on_parent_failure"]) == ("waiting", "run")

    unknown = str(uuid4())
    answer = client.post("/v1/jobs", json={"kind": "noop", "options": {"depends_on": [parent, unknown]}})
    problem(answer, 422, "options.depends_on.1", f"there is no job {unknown}")


def test_a_kind_is_paused_and_resumed(client: TestClient, conn: Connection, valkey: EmbeddedValkey) -> None:
    assert client.post("/v1/kinds/noop/pause").json()["paused_at"] is not None
    shown = {kind["kind"]: kind["paused_at"] for kind in client.get("/v1/kinds").json()}
    assert [kind for kind, since in shown.items() if since] == ["noop"]
    job = client.post("/v1/jobs", json={"kind": "noop"}).json()
    assert job["blocked_by"] == "paused:noop"
    assert jobs.claim(conn, UUID(job["id"]), worker="w", gpu_id=None) is None

    queue = Queue(valkey.url)
    before = queue.depth("io")
    assert client.post("/v1/kinds/noop/resume").json()["paused_at"] is None
    wait_until(lambda: queue.depth("io") == before + 1, "the message of the job that was let go")
    assert jobs.claim(conn, UUID(job["id"]), worker="w", gpu_id=None)
    for verb in ("pause", "resume"):
        problem(client.post(f"/v1/kinds/nonsense/{verb}"), 404, None, "there is no kind 'nonsense'")


def test_what_somebody_waits_for_stands_above_batch_work(valkey: EmbeddedValkey) -> None:
    others = {name: kind.config.priority for name, kind in kinds().items() if kind.config is not InterceptConfig}
    assert InterceptConfig.priority > max(others.values())
    redis.Redis.from_url(valkey.url).flushall()
    queue = Queue(valkey.url)
    batch = [Told(uuid4(), "rules", "io", others["rules"]) for _ in range(3)]
    asked = Told(uuid4(), "intercept", "io", InterceptConfig.priority)
    queue.publish([*batch, asked])
    with queue._app.connection_for_read() as connection:
        first = connection.default_channel.basic_get("io", no_ack=True)
    assert first.headers["argsrepr"] == repr([str(asked.id)])


def test_an_option_overrides_the_kinds_priority(client: TestClient) -> None:
    assert client.post("/v1/jobs", json={"kind": "noop"}).json()["priority"] == 4
    assert client.post("/v1/jobs", json={"kind": "noop", "options": {"priority": 0}}).json()["priority"] == 0


def test_a_sweep_is_asked_for(client: TestClient, job_factory: Callable[..., UUID], conn: Connection) -> None:
    job_factory(status="completed")
    conn.execute("UPDATE jobs SET created_at = now() - interval '9 days', completed_at = now() - interval '8 days'")
    assert (
        client.post("/v1/sweep", json={}).json() | {"jobs": 0, "keep_jobs_days": 0} == client.post("/v1/sweep", json={}).json()
    )
    assert client.post("/v1/sweep", json={"days": 7, "dry_run": True}).json()["jobs"] == 1
    assert client.post("/v1/sweep", json={"days": 7}).json()["jobs"] == 1
    assert client.get("/v1/jobs").json()["jobs"] == []
    assert [entry["action"] for entry in client.get("/v1/audit").json()["entries"]] == ["sweep"] * 3
    problem(client.post("/v1/sweep", json={"days": 0}), 422, "days", "greater than or equal to 1")
