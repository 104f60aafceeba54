"""Readers that wait: ETag, long-poll and the event stream, over real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from starlette.testclient import TestClient

from api import access, stream
from goldsmith import jobs, keys, wake
from goldsmith.db import Connection, Database, connect, connect_async
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.jobs import Outcome
from tests.api.problems import problem
from tests.client.server import Api, api
from tests.conftest import free_port, wait_until

__all__ = ["api"]

NOOP = {"kind": "noop"}
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def http(api: Api) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, timeout=60) as client:
        yield client


def submitted(http: httpx.Client) -> UUID:
    return UUID(http.post("/v1/jobs", json=NOOP).json()["id"])


def claimed(conn: Connection, job_id: UUID) -> int:
    found = jobs.claim(conn, job_id, worker="w", gpu_id=None)
    assert found is not None
    return found.attempt


def parsed(text: str) -> list[dict[str, Any]]:
    """What the stream said, without its comments."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append({"id": int(fields["id"]), "event": fields["event"], "data": json.loads(fields["data"])})
    return found


def listeners(conn: Connection) -> int:
    """Connections of this database whose last statement shows that they are there for wake-ups."""
    found = conn.execute(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'goldsmith wake'"
    ).fetchone()
    return int(found["n"]) if found else 0


# -- ETag


def test_an_unchanged_job_is_a_304_and_a_changed_one_comes_with_another_etag(client: TestClient, conn: Connection) -> None:
    job_id = UUID(client.post("/v1/jobs", json=NOOP).json()["id"])
    first = client.get(f"/v1/jobs/{job_id}")
    tag = first.headers["etag"]
    for given in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)

    claimed(conn, job_id)
    changed = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["status"]) == (200, "running")
    assert changed.headers["etag"] != tag
    assert jobs.heartbeat(conn, job_id, 1) is False
    assert client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": changed.headers["etag"]}).status_code == 304


def test_every_change_of_state_has_its_own_etag(client: TestClient, conn: Connection) -> None:
    job_id = UUID(client.post("/v1/jobs", json=NOOP).json()["id"])
    tags = []

    def look() -> None:
        tags.append(client.get(f"/v1/jobs/{job_id}").headers["etag"])

    look()
    attempt = claimed(conn, job_id)
    look()
    jobs.finish(conn, job_id, attempt, Outcome("requeue", message="later"))
    look()
    assert jobs.wake_due(conn) == [job_id]
    look()
    client.post(f"/v1/jobs/{job_id}/cancel")
    look()
    client.post(f"/v1/jobs/{job_id}/retry")
    look()
    assert len(set(tags)) == len(tags)


def test_a_job_that_waits_for_a_device_says_so_under_a_new_etag(client: TestClient, conn: Connection) -> None:
    first, second = (UUID(client.post("/v1/jobs", json={"kind": "probe", "do": "return"}).json()["id"]) for _ in range(2))
    tag = client.get(f"/v1/jobs/{second}").headers["etag"]
    assert jobs.claim(conn, first, worker="a", gpu_id="GPU-1")
    assert jobs.claim(conn, second, worker="b", gpu_id="GPU-1") is None
    blocked = client.get(f"/v1/jobs/{second}", headers={"If-None-Match": tag})
    assert blocked.json()["blocked_by"] == "gpu:GPU-1"
    jobs.finish(conn, first, 1, Outcome("completed", result={}))
    freed = client.get(f"/v1/jobs/{second}", headers={"If-None-Match": blocked.headers["etag"]})
    assert freed.json()["blocked_by"] is None


# -- long-poll


def test_a_wait_ends_with_the_next_change(api: Api, http: httpx.Client, conn: Connection) -> None:
    job_id = submitted(http)
    tag = http.get(f"/v1/jobs/{job_id}").headers["etag"]
    with ThreadPoolExecutor(2) as pool:
        known = pool.submit(http.get, f"/v1/jobs/{job_id}", params={"wait": 60}, headers={"If-None-Match": tag})
        unknown = pool.submit(http.get, f"/v1/jobs/{job_id}", params={"wait": 60})
        wait_until(lambda: _readers(api, job_id) == 2, "both waits")
        assert not known.done()
        assert not unknown.done()
        claimed(conn, job_id)  # says nothing to the readers: they look by themselves
        answers = [known.result(30), unknown.result(30)]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "running")] * 2
    assert all(answer.headers["etag"] != tag for answer in answers)
    assert _readers(api, job_id) == 0


def test_a_wait_for_what_already_changed_is_answered_at_once(http: httpx.Client, conn: Connection) -> None:
    job_id = submitted(http)
    tag = http.get(f"/v1/jobs/{job_id}").headers["etag"]
    claimed(conn, job_id)
    answer = http.get(f"/v1/jobs/{job_id}", params={"wait": 60}, headers={"If-None-Match": tag}, timeout=50)
    assert (answer.status_code, answer.json()["status"]) == (200, "running")


def test_a_wait_without_a_change_ends_with_what_is_known(http: httpx.Client) -> None:
    job_id = submitted(http)
    first = http.get(f"/v1/jobs/{job_id}", params={"wait": 0.1})
    assert (first.status_code, first.json()["status"]) == (200, "queued")
    same = http.get(f"/v1/jobs/{job_id}", params={"wait": 0.1}, headers={"If-None-Match": first.headers["etag"]})
    assert same.status_code == 304


def test_nobody_waits_for_a_job_that_has_ended(http: httpx.Client) -> None:
    job_id = submitted(http)
    http.post(f"/v1/jobs/{job_id}/cancel")
    ended = http.get(f"/v1/jobs/{job_id}", params={"wait": 60}, timeout=50)
    assert ended.json()["status"] == "cancelled"
    same = http.get(f"/v1/jobs/{job_id}", params={"wait": 60}, headers={"If-None-Match": ended.headers["etag"]}, timeout=50)
    assert same.status_code == 304


@pytest.fixture
def only_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named before `api`: it looks once, at its start, and then hears only what it is told."""
    monkeypatch.setattr(wake, "LOOK_EVERY_S", 3600.0)


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/v1/jobs/{parent}/cancel", "failed"),
        ("/v1/pipelines/{pipeline}/cancel", "cancelled"),
        ("/v1/kinds/noop/pause", "queued"),
    ],
)
def test_a_reader_hears_of_what_others_did_to_its_job(
    only_told: None, api: Api, http: httpx.Client, path: str, end: str
) -> None:
    last: dict[str, Any] = {"depends_on": ["first"]} if end != "queued" else {}
    made = http.post("/v1/pipelines", json={"jobs": {"first": NOOP, "between": NOOP | last, "last": NOOP | last}}).json()
    ids = {"pipeline": made["id"], "parent": made["jobs"]["first"]["id"]}
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(http.get, f"/v1/jobs/{made['jobs']['last']['id']}", params={"wait": 60})
        wait_until(lambda: _readers(api, UUID(made["jobs"]["last"]["id"])) == 1, "the wait")
        http.post(path.format(**ids))
        assert told.result(20).json()["status"] == end


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "inf", "soon"])
def test_a_wait_that_is_none_is_refused(shared: TestClient, wait: str) -> None:
    problem(shared.get(f"/v1/jobs/{uuid4()}", params={"wait": wait}), 422, "wait")


def test_a_wait_for_a_job_that_is_not_there_is_a_404(shared: TestClient) -> None:
    problem(shared.get(f"/v1/jobs/{uuid4()}", params={"wait": 30}), 404)


# -- stream


def test_a_stream_tells_what_happened_and_ends_with_the_job(http: httpx.Client, conn: Connection) -> None:
    job_id = submitted(http)
    with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        attempt = claimed(conn, job_id)
        jobs.progress(conn, job_id, attempt, 50, "half\nway: ü", [{"loss": 0.5}])
        jobs.finish(conn, job_id, attempt, Outcome("completed", result={}))
        told = parsed(answer.read().decode())
    page = http.get(f"/v1/jobs/{job_id}/events").json()
    assert [event["data"] for event in told] == page["events"]
    assert [event["event"] for event in told] == ["submitted", "started", "progress", "completed"]
    assert [event["id"] for event in told] == [1, 2, 3, 4]
    assert told[2]["data"]["data"]["message"] == "half\nway: ü"


def test_a_stream_resumes_after_the_last_event_seen(http: httpx.Client, conn: Connection) -> None:
    job_id = submitted(http)
    attempt = claimed(conn, job_id)
    for step in range(250):  # more than one page
        jobs.progress(conn, job_id, attempt, 1, f"step {step}", [])
    jobs.finish(conn, job_id, attempt, Outcome("completed", result={}))
    url = f"/v1/jobs/{job_id}/events"

    def ids(**more: Any) -> list[int]:
        return [event["id"] for event in parsed(http.get(url, **more).text)]

    assert ids(headers=STREAM) == list(range(1, 254))
    assert ids(headers=STREAM | {"Last-Event-ID": "240"}) == list(range(241, 254))
    assert ids(headers=STREAM, params={"after": 250}) == [251, 252, 253]
    assert ids(headers=STREAM | {"Last-Event-ID": "252"}, params={"after": 3}) == [253]
    done = http.get(url, headers=STREAM | {"Last-Event-ID": "253"})
    assert (done.status_code, done.content) == (204, b""), "an EventSource comes back until it is told that there is no more"


def test_the_stream_of_a_retried_job_goes_on(http: httpx.Client, conn: Connection) -> None:
    job_id = submitted(http)
    jobs.finish(conn, job_id, claimed(conn, job_id), Outcome("failed", message="no"))
    assert [event["event"] for event in parsed(http.get(f"/v1/jobs/{job_id}/events", headers=STREAM).text)][-1] == "failed"
    http.post(f"/v1/jobs/{job_id}/retry")
    with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM | {"Last-Event-ID": "2"}) as answer:
        jobs.finish(conn, job_id, claimed(conn, job_id), Outcome("completed", result={}))
        told = [event["event"] for event in parsed(answer.read().decode())]
    assert told == ["failed", "retried", "started", "completed"]


def test_a_silent_stream_says_that_it_lives(api: Api, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    job_id = submitted(http)
    with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM) as answer:
        lines = answer.iter_lines()
        said = [next(lines) for _ in range(12)]
    assert said[0].startswith("retry: ")
    assert said.count(":") + said.count(": ") >= 2
    wait_until(lambda: _readers(api, job_id) == 0, "the end of the reader that left")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_stream_ends_when_its_key_is_revoked(
    api: Api, http: httpx.Client, conn: Connection, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    assert stream.LOOK_AT_KEY_S + 2 * access.CACHE_S < 10
    monkeypatch.setattr(stream, "LOOK_AT_KEY_S", 0.1)
    monkeypatch.setattr(access, "CACHE_S", 0.1)
    job_id = submitted(http)
    boss, reader, other = (
        {"Authorization": f"Bearer {keys.create(conn, keys.NewKey(name=name, scopes=['admin']), actor='test').key}"}
        for name in ("boss", "reader", "other")
    )
    api.state.keys.forget()
    with (
        http.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM | reader) as answer,
        http.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM | other) as goes_on,
    ):
        assert answer.status_code == goes_on.status_code == 200
        if elsewhere:
            keys.revoke(conn, "reader", actor="test")
        else:
            http.post("/v1/keys/reader/revoke", headers=boss).raise_for_status()
        told = parsed(answer.read().decode())
        jobs.finish(conn, job_id, claimed(conn, job_id), Outcome("completed", result={}))
        told_on = parsed(goes_on.read().decode())
    assert [event["event"] for event in told] in ([], ["submitted"])
    assert [event["event"] for event in told_on] == ["submitted", "started", "completed"]


@pytest.mark.parametrize("given", ["-1", "x", str(2**70)])
def test_a_last_event_id_that_is_none_is_refused(shared: TestClient, given: str) -> None:
    answer = shared.get(f"/v1/jobs/{uuid4()}/events", headers=STREAM | {"Last-Event-ID": given})
    problem(answer, 422, "last-event-id")


def test_a_stream_of_a_job_that_is_not_there_is_a_404(shared: TestClient) -> None:
    problem(shared.get(f"/v1/jobs/{uuid4()}/events", headers=STREAM), 404)


# -- what many readers cost


def _readers(api: Api, job_id: UUID) -> int:
    watched = api.state.wakeups._watched.get(job_id)
    return watched.readers if watched else 0


def test_many_readers_share_one_connection_and_every_page(
    api: Api, http: httpx.Client, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submitted(http)
    told: list[list[str]] = []

    def read() -> None:
        with httpx.Client(base_url=api.url, timeout=60) as own:
            text = own.get(f"/v1/jobs/{job_id}/events", headers=STREAM).text
        told.append([event["event"] for event in parsed(text)])

    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    wait_until(lambda: _readers(api, job_id) == 20, "twenty readers")
    assert listeners(conn) == 1
    queries = []
    read_page = api.state.readers._read

    async def counted(*args: Any) -> Any:
        queries.append(args)
        return await read_page(*args)

    monkeypatch.setattr(api.state.readers, "_read", counted)
    jobs.finish(conn, job_id, claimed(conn, job_id), Outcome("completed", result={}))
    for thread in threads:
        thread.join(120)
    assert told == [["submitted", "started", "completed"]] * 20
    assert len(queries) < 20
    assert _readers(api, job_id) == 0


def test_readers_see_what_happened_while_their_wake_ups_were_away(api: Api, http: httpx.Client, conn: Connection) -> None:
    job_id = submitted(http)
    with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM) as answer:
        wait_until(lambda: listeners(conn) == 1, "the listener")
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'goldsmith wake' AND datname = current_database()"
        )
        jobs.finish(conn, job_id, claimed(conn, job_id), Outcome("completed", result={}))
        told = parsed(answer.read().decode())
    assert told[-1]["event"] == "completed"
    wait_until(lambda: listeners(conn) == 1, "a new listener")


# -- the sender


def test_changes_are_said_together_and_by_id_alone(database: Database, database_url: str) -> None:
    ids = [uuid4() for _ in range(450)]
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute(f"LISTEN {wake.CHANNEL}")
        for job_id in ids * 3:
            database.changed(job_id)
        said: list[str] = []
        while len({one for payload in said for one in payload.split(",")}) < len(ids):
            notes = list(listener.notifies(timeout=20, stop_after=1))
            assert notes, "a wake-up"
            said += [note.payload for note in notes]
    assert {one for payload in said for one in payload.split(",")} == set(map(str, ids))
    assert len(said) < 20
    assert max(map(len, said)) < 8000


def test_a_change_wakes_its_reader_without_a_look(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setattr(wake, "LOOK_EVERY_S", 3600)
    with connect(database_url) as conn:
        job, _ = jobs.submit(conn, jobs.NewJob(kind="noop", config=NOOP, queue="io", timeout=60, max_attempts=1))

    async def read() -> int:
        wakeups = wake.Wakeups(partial(connect_async, database_url, "goldsmith wake"))
        wakeups.open()
        try:
            with wakeups.watching(job.id) as watched:
                watched.seq = 1
                with connect(database_url) as conn:
                    while not listeners(conn):
                        await asyncio.sleep(0.02)
                    claimed(conn, job.id)
                    database.changed(job.id)
                assert await watched.beyond(1, 30)
                return watched.seq
        finally:
            await wakeups.close()

    assert asyncio.run(read()) == 2


def test_a_server_that_is_ended_lets_its_readers_go(database_url: str, valkey: EmbeddedValkey, tmp_path: Path) -> None:
    port = free_port()
    own = {"STATE_DIR": str(tmp_path), "DATABASE_URL": database_url, "BROKER_URL": valkey.url, "PORT": str(port)}
    server = subprocess.Popen(
        [sys.executable, "-m", "api"], env=os.environ | {f"GOLDSMITH_{name}": value for name, value in own.items()}
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:

            def up() -> bool:
                try:
                    return http.get("/healthz").is_success
                except httpx.TransportError:
                    return False

            wait_until(up, "the start of the API")
            job_id = submitted(http)
            with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM) as answer:
                lines = answer.iter_lines()
                while not next(lines).startswith("data"):
                    pass
                server.send_signal(signal.SIGTERM)
                assert [line for line in lines if line] == [], "the answer ends as it should, not torn"
        assert server.wait(120) in (0, -signal.SIGTERM)
    finally:
        server.kill()
        server.wait(120)
