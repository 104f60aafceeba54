"""Many jobs in one request: a batch is all or nothing; cancel and retry take what fits a filter."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from goldsmith import bulk, jobs
from goldsmith.db import Connection
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.errors import ReferenceNotUsable
from goldsmith.jobs import NewJob, Outcome, Told
from goldsmith.queue import Queue
from tests.api.problems import problem
from tests.conftest import free_port, wait_until

JobFactory = Callable[..., UUID]
NOOP = {"kind": "noop"}
NOBODY = "00000000-0000-7000-8000-000000000000"


def rows(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute("SELECT * FROM jobs ORDER BY id").fetchall()


def event_names(conn: Connection, job_id: UUID | str) -> list[str]:
    return [
        row["event"]
        for row in conn.execute("SELECT event FROM job_events WHERE job_id = %s ORDER BY seq", (job_id,)).fetchall()
    ]


# -- batch


def test_a_batch_is_written_in_its_order_and_reaches_the_broker(
    client: TestClient, conn: Connection, valkey: EmbeddedValkey
) -> None:
    queue = Queue(valkey.url)
    before = {name: queue.depth(name) for name in ("io", "gpu")}
    items = [{"kind": "noop", "wait_s": index, "options": {"priority": index % 10}} for index in range(300)]
    items[7] = {"kind": "probe", "do": "return"}
    items[8] = NOOP | {"options": {"run_at": "2100-01-01T00:00:00Z"}}
    answer = client.post("/v1/jobs/batch", json={"jobs": items})
    assert answer.status_code == 202, answer.text
    ids = answer.json()["ids"]
    made = {str(row["id"]): row for row in rows(conn)}
    assert len(ids) == len(made) == 300
    assert [made[one]["config"].get("wait_s") for one in (*ids[:7], *ids[9:])] == [*range(7), *range(9, 300)]
    assert [made[one]["priority"] for one in ids[9:]] == [index % 10 for index in range(9, 300)]
    assert (made[ids[7]]["queue"], made[ids[8]]["status"]) == ("gpu", "scheduled")
    assert event_names(conn, ids[0]) == event_names(conn, ids[299]) == ["submitted"]
    wait_until(lambda: queue.depth("io") == before["io"] + 298, "the messages in the io queue")
    wait_until(lambda: queue.depth("gpu") == before["gpu"] + 1, "the message in the gpu queue")
    claimed = jobs.claim(conn, UUID(ids[0]), worker="w", gpu_id=None)
    assert claimed is not None
    assert claimed.config["wait_s"] == 0


def test_a_wrong_job_refuses_all_and_is_named_by_its_index(client: TestClient, conn: Connection) -> None:
    items: list[Any] = [NOOP] * 20
    items[17] = {"kind": "train", "dataset": "dataset:gold@1", "name": "x", "learning_rate": 5}
    items[18] = NOOP | {"options": {"priority": 10}}
    refused = problem(client.post("/v1/jobs/batch", json={"jobs": items}), 422, "jobs.17.learning_rate", "less than or equal")
    assert [entry["field"] for entry in refused["errors"]] == ["jobs.17.learning_rate", "jobs.18.options.priority"]
    items[17] = {"kind": "corpus", "name": "corpus", "runs": f"job:{NOBODY}"}
    items[18] = NOOP
    problem(client.post("/v1/jobs/batch", json={"jobs": items}), 422, "jobs.17.runs", "there is no job")
    items[17] = {"kind": "nonsense"}
    problem(client.post("/v1/jobs/batch", json={"jobs": items}), 422, "jobs.17.kind", "must be one of")
    items[17] = "noop"
    problem(client.post("/v1/jobs/batch", json={"jobs": items}), 422, "jobs.17", "object")
    assert rows(conn) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "jobs"),
        ({"jobs": []}, "jobs"),
        ({"jobs": NOOP}, "jobs"),
        ({"jobs": [NOOP] * 1001}, "jobs"),
        ({"jobs": [NOOP], "job": 1}, "job"),
        ({"jobs": [NOOP, {"kind": "noop", "x\0": 1}]}, "jobs.1.x\0"),
    ],
)
def test_what_is_no_batch_is_refused(shared: TestClient, body: Any, field: str) -> None:
    problem(shared.post("/v1/jobs/batch", json=body), 422, field)


def test_a_thousand_are_taken(client: TestClient, conn: Connection) -> None:
    ids = client.post("/v1/jobs/batch", json={"jobs": [NOOP] * 1000}).json()["ids"]
    assert len(set(ids)) == 1000
    counted = conn.execute("SELECT count(*) AS n FROM job_events WHERE event = 'submitted'").fetchone()
    assert counted == {"n": 1000}


def test_a_key_stands_for_the_whole_batch(client: TestClient, conn: Connection) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    body = {"jobs": [NOOP, NOOP | {"options": {"unique_key": "one"}}, NOOP]}
    first = client.post("/v1/jobs/batch", json=body, headers=headers)
    again = client.post("/v1/jobs/batch", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    problem(client.post("/v1/jobs/batch", json={"jobs": [NOOP]}, headers=headers), 422, "Idempotency-Key", "another body")
    assert len(rows(conn)) == 3


def test_a_batch_sent_many_times_at_once_is_written_once(client: TestClient, conn: Connection) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/jobs/batch", json={"jobs": [NOOP] * 5}, headers=headers), range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({json.dumps(answer.json()) for answer in answers}) == 1
    assert len(rows(conn)) == 5


def test_a_unique_job_of_a_batch_may_be_there_already(client: TestClient, conn: Connection) -> None:
    unique = NOOP | {"options": {"unique_key": "nightly"}}
    there = client.post("/v1/jobs", json=unique).json()["id"]
    ids = client.post("/v1/jobs/batch", json={"jobs": [NOOP, unique, unique, NOOP]}).json()["ids"]
    assert ids[1] == ids[2] == there
    assert len(set(ids)) == len(rows(conn)) == 3


def test_jobs_of_a_batch_wait_for_their_parents(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    parent, done = job_factory(kind="import"), job_factory(kind="import", status="completed")
    items = [{"kind": "corpus", "name": "c", "runs": f"job:{one}"} for one in (parent, done)]
    ids = client.post("/v1/jobs/batch", json={"jobs": items}).json()["ids"]
    assert [jobs.get(conn, UUID(one)).status for one in ids] == ["waiting", "queued"]
    jobs.finish(conn, parent, 1, Outcome("completed", result={}))
    assert jobs.get(conn, UUID(ids[0])).status == "queued"


def test_a_parent_that_was_removed_meanwhile_refuses_all(conn: Connection) -> None:
    new = NewJob("noop", {"kind": "noop"}, "io", timeout=60, max_attempts=1)
    orphan = replace(new, parents=[uuid4()])

    def write(*news: NewJob) -> None:
        bulk.submit(conn, lambda: news, body={"jobs": len(news)}, created_by="me", idempotency_key="k")

    with pytest.raises(ReferenceNotUsable, match="was removed"):
        write(new, orphan)
    assert rows(conn) == []
    write(new)  # the key is free


def test_a_broker_that_is_away_refuses_the_whole_batch() -> None:
    told = [Told(uuid4(), "noop", "io", 4) for _ in range(3)]
    queue = Queue(f"redis://127.0.0.1:{free_port()}/0")
    assert queue.publish(told) == [one.id for one in told]
    assert queue.publish(told) == [one.id for one in told], "and is not asked again for some seconds"


# -- cancel by filter


def test_cancel_takes_what_fits_and_says_which(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    waiting, queued = job_factory(kind="train", status="waiting"), job_factory(kind="train", status="queued")
    running, other = job_factory(kind="train", status="running"), job_factory(kind="noop", status="queued")
    done, asked = job_factory(kind="train", status="completed"), job_factory(kind="train", cancel_requested_at="now")

    dry = client.post("/v1/jobs/cancel", json={"kind": "train", "dry_run": True}).json()
    assert dry == {"count": 3, "ids": [str(waiting), str(queued), str(running)], "dry_run": True}
    assert [jobs.get(conn, one).status for one in (waiting, queued, running)] == ["waiting", "queued", "running"]
    assert conn.execute("SELECT action FROM audit_log").fetchall() == []

    real = client.post("/v1/jobs/cancel", json={"kind": "train"}).json()
    assert sorted(real["ids"]) == dry["ids"]
    assert [jobs.get(conn, one).status for one in (waiting, queued)] == ["cancelled", "cancelled"]
    assert jobs.heartbeat(conn, running, 1) is True
    assert [jobs.get(conn, one).status for one in (other, done, asked)] == ["queued", "completed", "running"]
    assert event_names(conn, queued) == ["cancelled"]
    assert event_names(conn, running) == ["cancel_requested"]
    audited = conn.execute("SELECT actor, action, data FROM audit_log").fetchall()
    assert audited == [{"actor": "local", "action": "jobs.cancel", "data": {"filter": {"kind": "train"}, "count": 3}}]
    assert client.post("/v1/jobs/cancel", json={"kind": "train"}).json()["count"] == 0


def test_what_waited_for_cancelled_jobs_ends_with_them(client: TestClient, conn: Connection) -> None:
    parent = client.post("/v1/jobs", json=NOOP).json()["id"]
    child = client.post("/v1/jobs", json=NOOP | {"options": {"depends_on": [parent]}}).json()["id"]
    grandchild = client.post("/v1/jobs", json=NOOP | {"options": {"depends_on": [child]}}).json()["id"]
    assert client.post("/v1/jobs/cancel", json={"ids": [parent]}).json()["ids"] == [parent]
    assert [jobs.get(conn, UUID(one)).status for one in (parent, child, grandchild)] == ["cancelled", "failed", "failed"]


def test_filters_hold_together(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    old, new = job_factory(status="queued"), job_factory(status="queued")
    scheduled = job_factory(status="scheduled", run_at="2100-01-01T00:00:00Z")
    conn.execute("UPDATE jobs SET created_at = now() - interval '3 days' WHERE id = %s", (old,))
    day = conn.execute("SELECT now() - interval '1 day' AS at").fetchone()
    assert day is not None

    def would(**filters: Any) -> set[str]:
        return set(client.post("/v1/jobs/cancel", json=filters | {"dry_run": True}).json()["ids"])

    assert would(created_before=day["at"].isoformat()) == {str(old)}
    assert would(created_after=day["at"].isoformat()) == {str(new), str(scheduled)}
    assert would(status="scheduled") == {str(scheduled)}
    assert would(status="queued", ids=[str(new), str(scheduled), NOBODY]) == {str(new)}
    assert would(status="queued", kind="train") == set()


@pytest.mark.parametrize("verb", ["cancel", "retry"])
@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({}, "", "at least one"),
        ({"dry_run": True}, "", "at least one"),
        ({"kind": "nonsense"}, "kind", "must be one of"),
        ({"status": "completed"}, "status", "Input should be"),
        ({"ids": []}, "ids", "at least 1"),
        ({"ids": ["x"]}, "ids.0", "UUID"),
        ({"kind": "noop", "dry_run": "no"}, "dry_run", "boolean"),
        ({"kind": "noop", "limit": 3}, "limit", "unknown key"),
        ({"created_before": "2026-01-01"}, "created_before", "with a zone"),
        ({"created_before": "9999-12-31T23:59:59-12:00"}, "created_before", "less than"),
    ],
)
def test_a_filter_that_is_none_is_refused(shared: TestClient, verb: str, body: Any, field: str, says: str) -> None:
    problem(shared.post(f"/v1/jobs/{verb}", json=body), 422, field, says)


# -- retry by filter


def test_retry_takes_what_fits_and_tells_the_broker(
    client: TestClient, conn: Connection, valkey: EmbeddedValkey, job_factory: JobFactory
) -> None:
    queue = Queue(valkey.url)
    before = queue.depth("cpu")
    failed = [job_factory(status="failed", queue="cpu", failures=3) for _ in range(3)]
    cancelled, done = job_factory(status="cancelled"), job_factory(status="completed")
    dry = client.post("/v1/jobs/retry", json={"status": "failed", "dry_run": True}).json()
    assert dry == {"count": 3, "ids": [str(one) for one in failed], "dry_run": True}
    assert {jobs.get(conn, one).status for one in failed} == {"failed"}

    real = client.post("/v1/jobs/retry", json={"status": "failed"}).json()
    assert sorted(real["ids"]) == dry["ids"]
    assert {(jobs.get(conn, one).status, jobs.get(conn, one).failures) for one in failed} == {("queued", 0)}
    assert (jobs.get(conn, cancelled).status, jobs.get(conn, done).status) == ("cancelled", "completed")
    assert event_names(conn, failed[0]) == ["retried"]
    wait_until(lambda: queue.depth("cpu") == before + 3, "the messages in the cpu queue")


def test_retried_together_a_child_waits_for_its_parent(client: TestClient, conn: Connection) -> None:
    parent = client.post("/v1/jobs", json=NOOP).json()["id"]
    child = client.post("/v1/jobs", json=NOOP | {"options": {"depends_on": [parent]}}).json()["id"]
    client.post(f"/v1/jobs/{parent}/cancel")
    assert client.post("/v1/jobs/retry", json={"kind": "noop"}).json()["count"] == 2
    assert [jobs.get(conn, UUID(one)).status for one in (parent, child)] == ["queued", "waiting"]


# -- one that has not started gets another priority


def test_another_priority_takes_the_message_to_its_place(client: TestClient, conn: Connection, valkey: EmbeddedValkey) -> None:
    job_id = client.post("/v1/jobs", json=NOOP).json()["id"]
    urgent = Queue(valkey.url)._redis
    before = urgent.llen("io")
    answer = client.patch(f"/v1/jobs/{job_id}", json={"priority": 9})
    assert (answer.status_code, answer.json()["priority"]) == (200, 9)
    wait_until(lambda: urgent.llen("io") == before + 1, "the message in the first list")
    assert event_names(conn, job_id) == ["submitted", "priority"]
    assert jobs.claim(conn, UUID(job_id), worker="w", gpu_id=None)
    assert jobs.claim(conn, UUID(job_id), worker="w", gpu_id=None) is None, "the other message does no harm"
    problem(client.patch(f"/v1/jobs/{job_id}", json={"priority": 1}), 409, says="is running")


@pytest.mark.parametrize("status", ["waiting", "scheduled"])
def test_what_waits_keeps_its_new_priority_for_later(client: TestClient, job_factory: JobFactory, status: str) -> None:
    job_id = job_factory(status=status, **({"run_at": "2100-01-01T00:00:00Z"} if status == "scheduled" else {}))
    job = client.patch(f"/v1/jobs/{job_id}", json={"priority": 0}).json()
    assert (job["status"], job["priority"]) == (status, 0)


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "priority"), ({"priority": 10}, "priority"), ({"priority": "9"}, "priority"), ({"priority": 1, "x": 1}, "x")],
)
def test_what_is_no_priority_is_refused(shared: TestClient, body: Any, field: str) -> None:
    problem(shared.patch(f"/v1/jobs/{NOBODY}", json=body), 422, field)


def test_there_is_no_priority_without_a_job(shared: TestClient) -> None:
    problem(shared.patch(f"/v1/jobs/{NOBODY}", json={"priority": 1}), 404)


# -- dead letters


def test_dead_letters_have_their_cause_the_last_to_fail_first(
    client: TestClient, conn: Connection, job_factory: JobFactory
) -> None:
    made = [job_factory(kind="train", status="failed", attempt=4, failures=3) for _ in range(5)]
    job_factory(kind="noop", status="cancelled")
    for age, job_id in enumerate(made):
        conn.execute("UPDATE jobs SET completed_at = now() - %s * interval '1 hour' WHERE id = %s", (age, job_id))
    seen: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = client.get("/v1/jobs/dead", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += page["jobs"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [one["id"] for one in seen] == [str(one) for one in made]
    assert (seen[0]["cause"], seen[0]["attempt"], seen[0]["failures"], seen[0]["kind"]) == ("on purpose", 4, 3, "train")
    assert client.get("/v1/jobs/dead", params={"kind": "noop"}).json()["jobs"] == []


@pytest.mark.parametrize("cursor", ["x", f"2026-13-41T00:00:00.000000Z_{NOBODY}", NOBODY])
def test_a_cursor_of_no_page_is_refused(shared: TestClient, cursor: str) -> None:
    problem(shared.get("/v1/jobs/dead", params={"cursor": cursor}), 422, "cursor")
