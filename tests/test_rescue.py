"""Rescue and the queue: what the broker loses is told again, and no more than that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import kombu
import psycopg
import pytest
import redis

from goldsmith import jobs
from goldsmith.db import Connection, Database
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.jobs import NewJob
from goldsmith.queue import Queue, celery_app
from goldsmith.rescue import rescue_once, tell_untold
from tests.conftest import wait_until


def flush(valkey: EmbeddedValkey) -> Queue:
    redis.Redis.from_url(valkey.url).flushall()
    return Queue(valkey.url)


def submit(conn: Connection, count: int) -> None:
    for _ in range(count):
        jobs.submit(conn, NewJob("noop", {"kind": "noop"}, "io", 60, 3))


def test_a_wiped_broker_gets_every_queued_job_again(conn: Connection, valkey: EmbeddedValkey) -> None:
    queue = flush(valkey)
    submit(conn, 3)
    conn.execute("UPDATE jobs SET published_at = now() - interval '31 seconds'")
    rescue_once(conn, queue, lease_s=30)
    assert queue.depth("io") == 3


def test_a_long_queue_is_not_told_again(conn: Connection, valkey: EmbeddedValkey) -> None:
    queue = flush(valkey)
    submit(conn, 4)
    conn.execute("UPDATE jobs SET published_at = NULL")
    assert tell_untold(conn, queue) == 4
    for _ in range(5):
        conn.execute("UPDATE jobs SET published_at = now() - interval '1 hour'")
        assert tell_untold(conn, queue) == 0
    assert queue.depth("io") == 4


def test_what_the_broker_refuses_stays_untold(conn: Connection, valkey: EmbeddedValkey) -> None:
    away = Queue("redis://127.0.0.1:9/0")
    job, _ = jobs.submit(conn, NewJob("noop", {"kind": "noop"}, "io", 60, 3))
    refused = away.publish(jobs.told(job))
    assert refused == [job.id]
    jobs.untell(conn, refused)
    queue = flush(valkey)
    assert tell_untold(conn, queue) == 1


def test_an_urgent_job_is_told_before_the_others(conn: Connection) -> None:
    submit(conn, 3)
    urgent, _ = jobs.submit(conn, NewJob("noop", {"kind": "noop"}, "io", 60, 3, priority=9))
    conn.execute("UPDATE jobs SET published_at = NULL")
    assert [told.id for told in jobs.tell(conn, "io", 1)] == [urgent.id]


def test_silence_that_nobody_could_hear_loses_no_job(conn: Connection, job_factory: Callable[..., UUID]) -> None:
    job = job_factory(heartbeat_at="now")
    conn.execute("UPDATE jobs SET heartbeat_at = now() - interval '1 hour'")
    now = conn.execute("SELECT now() - interval '5 seconds' AS resumed").fetchone()
    assert now is not None
    conn.execute("UPDATE jobs SET started_at = now()")
    assert jobs.rescue(conn, lease_s=30, since=now["resumed"]) == []
    assert jobs.rescue(conn, lease_s=0.1, since=now["resumed"]) == [job]  # the server may have just been started


def test_a_process_stopped_in_the_middle_of_rescue_does_not_stop_the_others(
    conn: Connection, database: Database, job_factory: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_factory()
    conn.execute("UPDATE jobs SET started_at = now() - interval '1 hour', heartbeat_at = now() - interval '1 hour'")
    monkeypatch.setattr(jobs, "RESCUER_SLEEPS_WITHIN_S", 1)
    inside, woken = threading.Event(), threading.Event()
    first, wake_due = threading.current_thread(), jobs.wake_due

    def stopped(*given: Any) -> list[UUID]:
        if threading.current_thread() is not first:
            inside.set()
            woken.wait(60)
        return wake_due(*given)

    monkeypatch.setattr(jobs, "wake_due", stopped)
    ends: list[Exception] = []

    def rescuer() -> None:
        try:
            with database.connection() as own:
                jobs.rescue(own, lease_s=30)
        except psycopg.Error as error:
            ends.append(error)

    thread = threading.Thread(target=rescuer)
    thread.start()
    try:
        assert inside.wait(30)
        assert jobs.rescue(conn, lease_s=30) == []
        rescued: list[UUID] = []
        wait_until(lambda: bool(rescued.extend(jobs.rescue(conn, lease_s=30)) or rescued), "the rescue by another")
    finally:
        woken.set()
        thread.join()
    assert rescued == [job]
    assert len(ends) == 1  # what the stopped one had done is undone


def test_no_connection_keeps_its_locks_while_its_process_sleeps(conn: Connection, database: Database) -> None:
    with database.connection() as pooled:
        for each in (conn, pooled):
            row = each.execute("SHOW idle_in_transaction_session_timeout").fetchone()
            assert row == {"idle_in_transaction_session_timeout": "30s"}


def test_a_run_far_over_its_time_limit_fails_although_its_worker_beats(
    conn: Connection, job_factory: Callable[..., UUID]
) -> None:
    job = job_factory(timeout=10)
    conn.execute("UPDATE jobs SET started_at = now() - interval '80 seconds', heartbeat_at = now()")
    assert jobs.rescue(conn, lease_s=30) == []
    conn.execute("UPDATE jobs SET started_at = now() - interval '101 seconds', heartbeat_at = now()")
    assert jobs.rescue(conn, lease_s=30) == [job]
    failed = jobs.get(conn, job)
    assert failed.status == "failed"
    assert failed.error is not None
    assert "time limit of 10 s" in failed.error["detail"]


def test_a_message_under_way_leaves_nothing_in_the_broker(conn: Connection, valkey: EmbeddedValkey) -> None:
    flush(valkey)
    told = jobs.told(jobs.submit(conn, NewJob("noop", {"kind": "noop"}, "io", timeout=60, max_attempts=1))[0])
    assert Queue(valkey.url).publish(told) == []
    got: list[Any] = []
    with celery_app(valkey.url).connection_for_read() as connection, connection.channel() as channel:
        with kombu.Consumer(channel, kombu.Queue("io"), callbacks=[lambda _, message: got.append(message)], accept=["json"]):
            connection.drain_events(timeout=120)
        left = redis.Redis.from_url(valkey.url).keys("unacked*")
        got[0].ack()
    assert [got[0].headers["argsrepr"], left] == [repr([str(told[0].id)]), []]
