"""What a key may use up: jobs in an hour, jobs that run at once. Both exact under threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from goldsmith import jobs, keys, limits
from goldsmith.db import Connection, connect
from goldsmith.errors import TooManyRequests
from goldsmith.jobs import Outcome
from goldsmith.keys import Caller

JobFactory = Callable[..., UUID]
THREADS = 12


def caller(conn: Connection, *, jobs_per_hour: int | None = None, running_at_once: int | None = None) -> Caller:
    new = keys.NewKey(name="tablet", scopes=["jobs:write"], jobs_per_hour=jobs_per_hour, running_at_once=running_at_once)
    made = keys.create(conn, new, actor="test")
    return Caller(made.name, frozenset(made.scopes), made.id, made.jobs_per_hour)


def test_of_many_at_once_just_as_many_are_let_through_as_the_hour_allows(conn: Connection, database_url: str) -> None:
    tablet, gate = caller(conn, jobs_per_hour=7), threading.Barrier(THREADS)

    def take(_: int) -> bool:
        with connect(database_url) as own:
            gate.wait()
            try:
                with own.transaction():
                    limits.take_jobs(own, tablet)
            except TooManyRequests:
                return False
        return True

    with ThreadPoolExecutor(THREADS) as threads:
        assert sum(threads.map(take, range(THREADS))) == 7


def test_an_hour_after_its_first_job_the_next_hour_begins(conn: Connection) -> None:
    tablet = caller(conn, jobs_per_hour=3)

    def take(count: int) -> None:
        with conn.transaction():
            limits.take_jobs(conn, tablet, count)

    take(2)
    with pytest.raises(TooManyRequests) as refused:
        take(2)
    assert (refused.value.extra["quota"], refused.value.extra["limit"], refused.value.extra["used"]) == ("jobs_per_hour", 3, 2)
    assert 3590 <= int(refused.value.extra["headers"]["Retry-After"]) <= 3600
    take(1)
    conn.execute("UPDATE api_keys SET hour_started_at = hour_started_at - interval '59 minutes'")
    with pytest.raises(TooManyRequests) as refused:
        take(1)
    assert 50 <= int(refused.value.extra["headers"]["Retry-After"]) <= 60
    conn.execute("UPDATE api_keys SET hour_started_at = hour_started_at - interval '1 minute'")
    take(3)


def test_of_many_claims_at_once_just_as_many_run_as_the_key_may(
    conn: Connection, database_url: str, job_factory: JobFactory
) -> None:
    caller(conn, running_at_once=3)
    queued = [job_factory(status="queued", created_by="tablet") for _ in range(THREADS)]
    others = job_factory(status="queued")
    gate = threading.Barrier(THREADS)

    def claim(job_id: UUID) -> bool:
        with connect(database_url) as own:
            gate.wait()
            return jobs.claim(own, job_id, worker="w", gpu_id=None) is not None

    with ThreadPoolExecutor(THREADS) as threads:
        assert sum(threads.map(claim, queued)) == 3
    waiting = [job for job in jobs.list_jobs(conn) if job.status == "queued" and job.created_by == "tablet"]
    assert {job.blocked_by for job in waiting} == {"key:tablet"}
    assert jobs.claim(conn, others, worker="w", gpu_id=None) is not None


def test_the_end_of_one_lets_the_most_urgent_go(conn: Connection, job_factory: JobFactory) -> None:
    caller(conn, running_at_once=1)
    first, later, urgent = (job_factory(status="queued", created_by="tablet", priority=priority) for priority in (4, 4, 9))
    claimed = jobs.claim(conn, first, worker="w", gpu_id=None)
    assert claimed is not None
    for waiting in (later, urgent):
        assert jobs.claim(conn, waiting, worker="w", gpu_id=None) is None
    assert jobs.finish(conn, first, claimed.attempt, Outcome("completed", result={})).woke
    assert [jobs.get(conn, job).blocked_by for job in (later, urgent)] == ["key:tablet", None]
    assert jobs.claim(conn, urgent, worker="w", gpu_id=None) is not None


@pytest.mark.parametrize("change", ["UPDATE api_keys SET running_at_once = NULL", "UPDATE api_keys SET running_at_once = 2"])
def test_a_raised_quota_is_seen_by_rescue(conn: Connection, job_factory: JobFactory, change: str) -> None:
    caller(conn, running_at_once=1)
    first, second = (job_factory(status="queued", created_by="tablet") for _ in range(2))
    assert jobs.claim(conn, first, worker="w", gpu_id=None) is not None
    assert jobs.claim(conn, second, worker="w", gpu_id=None) is None
    conn.execute(change)
    jobs.rescue(conn, lease_s=600)
    assert jobs.claim(conn, second, worker="w", gpu_id=None) is not None
