"""`/v1/jobs`: submit, look, page, cancel, retry, fetch artifacts; what the broker does not take is published later."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from goldsmith import artifacts, jobs
from goldsmith.db import Connection
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.job import Job
from goldsmith.jobs import Outcome
from goldsmith.queue import Queue
from goldsmith.rescue import rescue_once
from goldsmith.storage import Storage
from tests.api.conftest import Serve
from tests.api.problems import problem
from tests.conftest import free_port, wait_until

JobFactory = Callable[..., UUID]
NOOP = {"kind": "noop"}


# -- submit


def test_a_submit_answers_with_the_job_and_where_it_is(client: TestClient) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    options = {"priority": 9, "max_attempts": 7, "timeout_s": 60}
    answer = client.post("/v1/jobs", json={"kind": "probe", "do": "return", "options": options})
    assert answer.status_code == 202
    job = Job.model_validate(answer.json())
    assert answer.headers["location"] == f"/v1/jobs/{job.id}"
    assert (job.kind, job.status, job.queue, job.progress, job.message) == ("probe", "queued", "gpu", 0, "")
    assert (job.priority, job.max_attempts, job.timeout, job.attempt, job.failures) == (9, 7, 60, 0, 0)
    assert job.config == {"kind": "probe", "do": "return", "effects": None}
    assert job.created_at > before
    assert (job.result, job.error) == (None, None)
    assert Job.model_validate(client.get(answer.headers["location"]).json()) == job


def test_a_job_with_a_time_is_scheduled(client: TestClient) -> None:
    run_at = "2100-01-01T00:00:00+02:00"
    job = client.post("/v1/jobs", json=NOOP | {"options": {"run_at": run_at}}).json()
    assert job["status"] == "scheduled"
    assert datetime.fromisoformat(job["run_at"]) == datetime.fromisoformat(run_at)


def test_a_submitted_job_reaches_the_broker(client: TestClient, valkey: EmbeddedValkey) -> None:
    queue = Queue(valkey.url)
    before = queue.depth("gpu")
    client.post("/v1/jobs", json={"kind": "probe", "do": "return"})
    wait_until(lambda: queue.depth("gpu") == before + 1, "the message in the gpu queue")


def test_the_same_key_and_body_is_the_same_job(client: TestClient) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    first = client.post("/v1/jobs", json={"kind": "noop", "wait_s": 1}, headers=headers)
    again = client.post("/v1/jobs", json={"wait_s": 1, "kind": "noop"}, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len(client.get("/v1/jobs").json()["jobs"]) == 1


def test_the_same_key_and_another_body_is_refused(client: TestClient) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    first = client.post("/v1/jobs", json=NOOP, headers=headers).json()
    answer = client.post("/v1/jobs", json={"kind": "noop", "wait_s": 1}, headers=headers)
    problem(answer, 422, "Idempotency-Key", "another body")
    assert first["id"] in answer.json()["detail"]


def test_a_key_sent_many_times_at_once_makes_one_job(client: TestClient) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/jobs", json=NOOP, headers=headers), range(16)))
    accepted = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert len(accepted) == 1
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len(client.get("/v1/jobs").json()["jobs"]) == 1


def test_a_key_stands_for_its_job_also_when_what_it_pointed_to_has_failed(
    client: TestClient, conn: Connection, job_factory: JobFactory
) -> None:
    parent = job_factory(kind="import")
    body, headers = {"kind": "corpus", "name": "corpus", "runs": f"job:{parent}"}, {"Idempotency-Key": uuid4().hex}
    first = client.post("/v1/jobs", json=body, headers=headers)
    jobs.finish(conn, parent, 1, Outcome("failed", message="on purpose"))
    again = client.post("/v1/jobs", json=body, headers=headers)
    assert again.status_code == 202, again.text
    assert again.json()["id"] == first.json()["id"]
    problem(client.post("/v1/jobs", json=body), 422, "runs", "failed")


def test_a_child_goes_when_its_parent_completes_and_fails_with_it(
    client: TestClient, conn: Connection, job_factory: JobFactory
) -> None:
    good, bad = job_factory(kind="import"), job_factory(kind="import")
    children = [
        client.post("/v1/jobs", json={"kind": "corpus", "name": "corpus", "runs": f"job:{parent}"}).json()["id"]
        for parent in (good, bad)
    ]
    jobs.finish(conn, good, 1, Outcome("completed", result={}))
    jobs.finish(conn, bad, 1, Outcome("failed", message="on purpose"))
    woken, failed = (client.get(f"/v1/jobs/{child}").json() for child in children)
    assert woken["status"] == "queued"
    assert failed["status"] == "failed"
    assert str(bad) in failed["error"]["detail"]


# -- the broker is away


def test_a_submit_does_not_need_the_broker_and_rescue_publishes_it_when_it_is_back(
    serve: Serve, conn: Connection, tmp_path: Path
) -> None:
    broker = EmbeddedValkey(tmp_path / "broker", free_port())
    broker.initialise()
    client = serve(broker_url=broker.url)
    answer = client.post("/v1/jobs", json=NOOP)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    told = "SELECT published_at FROM jobs WHERE id = %s"

    def untold() -> bool:
        found = conn.execute(told, (answer.json()["id"],)).fetchone()
        return found is not None and found["published_at"] is None

    wait_until(untold, "the note that the broker did not take it")
    process = subprocess.Popen(broker.command(), stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(broker.is_up, "the start of the broker")
        queue = Queue(broker.url)
        assert queue.depth("io") == 0
        rescue_once(conn, queue, lease_s=30)
        assert queue.depth("io") == 1
        assert not untold()
        rescue_once(conn, queue, lease_s=30)
        assert queue.depth("io") == 1, "a message that the broker holds is not sent again"
    finally:
        process.terminate()
        process.wait(120)


def test_a_broker_that_takes_the_call_and_says_nothing_holds_up_no_submit(serve: Serve, conn: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = serve(broker_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        ids = [client.post("/v1/jobs", json=NOOP).json()["id"] for _ in range(20)]

        def untold() -> int:
            found = conn.execute("SELECT count(*) AS n FROM jobs WHERE published_at IS NULL").fetchone()
            return int(found["n"]) if found else 0

        wait_until(lambda: untold() == len(ids), "the note that the broker took none of them")
        assert client.get("/v1/jobs", params={"status": "queued"}).json()["jobs"][0]["id"] == ids[-1]


# -- list


def test_pages_reach_every_job_once_newest_first(client: TestClient) -> None:
    made = [client.post("/v1/jobs", json=NOOP).json()["id"] for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        page = client.get("/v1/jobs", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["jobs"]) == 3
    assert seen == made[::-1]


def test_a_last_page_that_is_full_says_that_it_is_the_last(client: TestClient) -> None:
    for _ in range(3):
        client.post("/v1/jobs", json=NOOP)
    assert client.get("/v1/jobs", params={"limit": 3}).json()["next_cursor"] is None
    assert client.get("/v1/jobs", params={"limit": 2}).json()["next_cursor"] is not None


def test_jobs_are_filtered_by_kind_status_and_age(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    old = job_factory(kind="train", status="completed")
    conn.execute("UPDATE jobs SET created_at = now() - interval '3 days' WHERE id = %s", (old,))
    failed, queued = job_factory(kind="train", status="failed"), job_factory(kind="noop", status="queued")

    def ids(**filters: str) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params=filters).json()["jobs"]]

    assert ids() == [str(queued), str(failed), str(old)]
    assert ids(kind="train") == [str(failed), str(old)]
    assert ids(status="failed") == [str(failed)]
    assert ids(kind="noop", status="failed") == []
    assert ids(created_after=(datetime.now(UTC) - timedelta(days=1)).isoformat()) == [str(queued), str(failed)]
    assert ids(created_after="2200-01-01T00:00:00Z") == []


# -- events


def test_events_come_in_order_page_by_page(client: TestClient, conn: Connection) -> None:
    job_id = UUID(client.post("/v1/jobs", json=NOOP).json()["id"])
    claimed = jobs.claim(conn, job_id, worker="w", gpu_id=None)
    assert claimed is not None
    for step in range(1, 4):
        jobs.progress(conn, job_id, claimed.attempt, step * 25, f"step {step}", [{"loss": 1 / step}])
    jobs.finish(conn, job_id, claimed.attempt, Outcome("completed", result={"attempt": 1}))

    seen: list[dict[str, object]] = []
    after = 0
    while True:
        page = client.get(f"/v1/jobs/{job_id}/events", params={"after": after, "limit": 2}).json()
        assert page["status"] == "completed"
        if not page["events"]:
            assert page["next_after"] == after
            break
        assert len(page["events"]) <= 2
        seen += page["events"]
        after = page["next_after"]
    assert [event["event"] for event in seen] == ["submitted", "started", "progress", "progress", "progress", "completed"]
    assert [event["seq"] for event in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[2]["data"] == {"progress": 25, "message": "step 1", "metrics": [{"loss": 1.0}]}


# -- cancel and retry


@pytest.mark.parametrize("status", ["waiting", "scheduled", "queued"])
def test_what_has_not_started_is_cancelled_at_once(client: TestClient, job_factory: JobFactory, status: str) -> None:
    job_id = job_factory(status=status, attempt=0, **({"run_at": "2100-01-01T00:00:00Z"} if status == "scheduled" else {}))
    answer = client.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["message"]) == (202, "cancelled", "Cancelled")
    again = client.post(f"/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()) == (202, answer.json())


def test_what_runs_is_asked_to_stop(client: TestClient, conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory(status="running")
    first = client.post(f"/v1/jobs/{job_id}/cancel")
    assert (first.status_code, first.json()["status"]) == (202, "running")
    assert first.json()["cancel_requested_at"] is not None
    again = client.post(f"/v1/jobs/{job_id}/cancel")
    assert again.json()["cancel_requested_at"] == first.json()["cancel_requested_at"]
    assert jobs.heartbeat(conn, job_id, 1) is True


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_what_has_ended_cannot_be_cancelled(client: TestClient, job_factory: JobFactory, status: str) -> None:
    job_id = job_factory(status=status)
    assert problem(client.post(f"/v1/jobs/{job_id}/cancel"), 409, says=f"already {status}")["job_status"] == status
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == status


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_what_failed_or_was_cancelled_can_be_tried_again(client: TestClient, job_factory: JobFactory, status: str) -> None:
    job_id = job_factory(status=status, failures=3)
    answer = client.post(f"/v1/jobs/{job_id}/retry")
    assert answer.status_code == 202
    job = answer.json()
    assert (job["status"], job["failures"], job["error"], job["completed_at"], job["attempt"]) == ("queued", 0, None, None, 1)
    problem(client.post(f"/v1/jobs/{job_id}/retry"), 409, says="is queued")


@pytest.mark.parametrize("status", ["running", "completed", "queued"])
def test_nothing_else_can_be_tried_again(client: TestClient, job_factory: JobFactory, status: str) -> None:
    problem(client.post(f"/v1/jobs/{job_factory(status=status)}/retry"), 409, says="only failed and cancelled")


# -- artifacts

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def report(conn: Connection, storage: Storage, job_factory: JobFactory) -> str:
    """The URL of a job's artifacts; it has `report.bin`."""
    job_id = job_factory(status="running")
    artifacts.save(conn, storage, job_id, 1, "report.bin", CONTENT, "application/octet-stream")
    artifacts.save(conn, storage, job_id, 1, "page.html", b"<script>alert(1)</script>", "text/html")
    return f"/v1/jobs/{job_id}/artifacts"


def test_artifacts_are_listed_and_come_back_byte_for_byte(client: TestClient, report: str) -> None:
    page, binary = client.get(report).json()
    assert (page["name"], binary["name"], binary["bytes"]) == ("page.html", "report.bin", len(CONTENT))
    assert binary["ref"] == f"job:{report.split('/')[3]}/report.bin"
    answer = client.get(binary["url"])
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == "application/octet-stream"


def test_an_artifact_is_never_run_by_a_browser(client: TestClient, report: str) -> None:
    headers = client.get(f"{report}/page.html").headers
    assert headers["content-disposition"] == 'attachment; filename="page.html"'
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox"


def test_a_part_of_an_artifact_can_be_asked_for(client: TestClient, report: str) -> None:
    part = client.get(f"{report}/report.bin", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, CONTENT[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(CONTENT)}"
    assert client.get(f"{report}/report.bin", headers={"Range": "bytes=-5"}).content == CONTENT[-5:]
    assert client.get(f"{report}/report.bin", headers={"Range": f"bytes={len(CONTENT)}-"}).status_code == 416
    assert client.get(f"{report}/report.bin", headers={"Range": "bytes=9-3"}).status_code in (400, 416)


def test_an_artifact_that_is_not_there_is_a_404(client: TestClient, report: str) -> None:
    for name in ("other.bin", "%2e%2e", "..%5c..%5cetc", "a%00b", "x" * 200, "report.bin%20", "%ff", ".put-1"):
        problem(client.get(f"{report}/{name}"), 404)


def test_no_name_leaves_the_storage(client: TestClient, report: str, storage: Storage) -> None:
    (storage.root / "secret").write_text("of the server")
    for path in ("..%2f..%2f..%2fsecret", "%2fetc%2fpasswd", "%2e%2e/%2e%2e/%2e%2e/secret", "..%2fsecret"):
        problem(client.get(f"{report}/{path}"), 404)


def test_an_artifact_whose_file_is_gone_is_a_404(client: TestClient, report: str, storage: Storage) -> None:
    next(storage.root.rglob("*report.bin")).unlink()
    problem(client.get(f"{report}/report.bin"), 404, says="no longer in the storage")


# -- what an import loads

HEAVY = ("torch", "transformers", "sklearn", "scipy", "datasets")  # numpy the guard's looks need from the start
SERVER = ("fastapi", "celery", "psycopg", "sqlalchemy", "anthropic", "redis", "alembic", "pydantic_settings")


@pytest.mark.parametrize(("module", "forbidden"), [("api.app", HEAVY), ("goldsmith.client", SERVER + HEAVY + ("numpy",))])
def test_importing_loads_no_more_than_needed(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({forbidden!r})), sep=',', end='')"
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == ""


# -- logs


@pytest.fixture
def logged(client: TestClient, tmp_path: Path) -> str:
    """The URL of a job's log; attempts 1 and 2 left one."""
    job_id = client.post("/v1/jobs", json=NOOP).json()["id"]
    folder = tmp_path / "logs" / "jobs"
    folder.mkdir(parents=True)
    for attempt in (1, 2):
        (folder / f"{job_id}.{attempt}.log").write_text(f"of attempt {attempt} <b>\n" * 10_000)
    return f"/v1/jobs/{job_id}/log"


def test_a_log_is_that_of_the_last_attempt_or_of_the_one_that_is_named(client: TestClient, logged: str) -> None:
    last, first = client.get(logged), client.get(logged, params={"attempt": 1})
    assert (last.status_code, last.text) == (200, "of attempt 2 <b>\n" * 10_000)
    assert (first.headers["goldsmith-attempt"], first.text) == ("1", "of attempt 1 <b>\n" * 10_000)
    assert last.headers["content-type"] == "text/plain; charset=utf-8"
    assert last.headers["x-content-type-options"] == "nosniff"
    problem(client.get(logged, params={"attempt": 3}), 404, says="attempts with one: 1, 2")
    problem(client.get(logged, params={"attempt": 0}), 422, "attempt")


def test_a_part_of_a_log_can_be_asked_for(client: TestClient, logged: str, tmp_path: Path) -> None:
    assert client.get(logged).headers["accept-ranges"] == "bytes"
    whole = client.get(logged).content
    part = client.get(logged, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    assert client.get(logged, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416
    with next(tmp_path.rglob("*.2.log")).open("a") as file:
        file.write("more")
    assert client.get(logged, headers={"Range": f"bytes={len(whole)}-"}).content == b"more"


def test_a_job_without_a_log_says_so(client: TestClient) -> None:
    job_id = client.post("/v1/jobs", json=NOOP).json()["id"]
    problem(client.get(f"/v1/jobs/{job_id}/log"), 404, says="attempts with one: none")
    problem(client.get(f"/v1/jobs/{uuid4()}/log"), 404, says="there is no job")


def test_what_a_job_submitted_is_listed_and_its_plan_approved(
    client: TestClient, conn: Connection, storage: Storage, job_factory: Callable[..., UUID]
) -> None:
    parent = job_factory()
    child = job_factory(submitted_by=parent)
    assert [job["id"] for job in client.get("/v1/jobs", params={"submitted_by": str(parent)}).json()["jobs"]] == [str(child)]
    problem(client.post(f"/v1/jobs/{parent}/approve"), 409, says="no plan")
    artifacts.save(conn, storage, parent, 1, "plan.json", b"{}", "application/json")
    assert client.post(f"/v1/jobs/{parent}/approve").status_code == 202
    assert "approved" in [one["event"] for one in client.get(f"/v1/jobs/{parent}/events").json()["events"]]
    problem(client.post(f"/v1/jobs/{uuid4()}/approve"), 404)
