"""Unique jobs, concurrency keys, paused kinds: each a promise that threads try to break."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

import pytest

from goldsmith import jobs, paused, submit
from goldsmith.db import Connection, connect
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.job import Job
from goldsmith.jobs import Outcome

THREADS = 20
T = TypeVar("T")


def put(conn: Connection, kind: str = "noop", **options: object) -> tuple[Job, bool]:
    body: dict[str, Any] = {"kind": kind, "options": options} | ({"do": "return"} if kind == "probe" else {})
    return submit.submit(conn, *submit.parse(body), body=body)


def at_once(database_url: str, act: Callable[[Connection, int], T]) -> list[T]:
    """Call it on 20 threads, each with a connection of its own, all let go at the same moment."""
    gate = threading.Barrier(THREADS)

    def one(number: int) -> T:
        with connect(database_url) as conn:
            gate.wait()
            return act(conn, number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def end(conn: Connection, job_id: UUID, outcome: str = "completed") -> None:
    jobs.finish(conn, job_id, jobs.get(conn, job_id).attempt, Outcome(outcome, result={}))  # type: ignore[arg-type]


def take(conn: Connection, job_id: UUID) -> bool:
    return jobs.claim(conn, job_id, worker="w", gpu_id=None) is not None


# -- unique


def test_twenty_submits_at_once_make_one_job(conn: Connection, database_url: str) -> None:
    made = at_once(database_url, lambda own, _: put(own, unique_key="nightly"))
    assert len({job.id for job, _ in made}) == 1
    assert sum(created for _, created in made) == 1
    assert len(jobs.list_jobs(conn)) == 1


def test_the_key_holds_while_the_job_has_not_ended_and_in_the_window(conn: Connection) -> None:
    first, _ = put(conn, unique_key="k")
    assert put(conn, unique_key="k") == (first, False)
    take(conn, first.id)
    end(conn, first.id)
    assert put(conn, unique_key="k", unique_for_s=60)[0].id == first.id  # completed, but in the window
    conn.execute("UPDATE jobs SET created_at = now() - interval '61 seconds'")
    second, created = put(conn, unique_key="k", unique_for_s=60)
    assert created
    assert second.id != first.id


def test_without_a_window_a_completed_job_is_no_obstacle(conn: Connection) -> None:
    first, _ = put(conn, unique_key="k")
    take(conn, first.id)
    end(conn, first.id)
    assert put(conn, unique_key="k")[1]


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_a_job_that_failed_is_no_obstacle(conn: Connection, outcome: str) -> None:
    first, _ = put(conn, unique_key="k", unique_for_s=60)
    take(conn, first.id)
    end(conn, first.id, outcome)
    assert put(conn, unique_key="k", unique_for_s=60)[1]


def test_the_key_of_another_kind_is_another_key(conn: Connection) -> None:
    put(conn, unique_key="k")
    assert put(conn, "probe", unique_key="k")[1]


@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        ({"unique_for_s": 5}, "options.unique_for_s", "needs a unique_key"),
        ({"concurrency_limit": 2}, "options.concurrency_limit", "needs a concurrency_key"),
        ({"unique_key": ""}, "options.unique_key", "pattern"),
        ({"unique_key": "k", "unique_for_s": 0}, "options.unique_for_s", "greater than or equal to 1"),
        ({"concurrency_key": "k", "concurrency_limit": 0}, "options.concurrency_limit", "greater than or equal to 1"),
        ({"depends_on": ["nobody"]}, "options.depends_on.0", "UUID"),
        ({"on_parent_failure": "explode"}, "options.on_parent_failure", "'fail', 'run' or 'cancel'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        submit.parse({"kind": "noop", "options": options})
    assert caught.value.errors[0]["field"] == field
    assert says in caught.value.errors[0]["message"]


# -- concurrency


@pytest.mark.parametrize("limit", [1, 3])
def test_twenty_claims_at_once_start_no_more_than_the_limit(conn: Connection, database_url: str, limit: int) -> None:
    ids = [put(conn, concurrency_key="api", concurrency_limit=limit)[0].id for _ in range(THREADS)]
    taken = at_once(database_url, lambda own, number: take(own, ids[number]))
    assert sum(taken) == limit
    waiting = [job for job in jobs.list_jobs(conn, status="queued") if job.blocked_by == "concurrency:api"]
    assert len(waiting) == THREADS - limit
    assert jobs.tell(conn, "io", 100, retell_after_s=0) == []


def test_each_end_lets_exactly_one_go_the_most_urgent_first(conn: Connection) -> None:
    ids = [put(conn, concurrency_key="api", concurrency_limit=2)[0].id for _ in range(4)]
    urgent = put(conn, concurrency_key="api", concurrency_limit=2, priority=9)[0].id
    assert [take(conn, one) for one in [*ids, urgent]] == [True, True, False, False, False]
    end(conn, ids[0])
    assert [told.id for told in jobs.tell(conn, "io", 100)] == [urgent]
    assert take(conn, urgent)
    end(conn, ids[1], "requeue")
    assert [told.id for told in jobs.tell(conn, "io", 100)] == [ids[2]]


def test_all_slots_freed_at_once_are_filled_again_and_no_more(conn: Connection, database_url: str) -> None:
    ids = [put(conn, concurrency_key="api", concurrency_limit=THREADS)[0].id for _ in range(3 * THREADS)]
    for one in ids:
        take(conn, one)
    at_once(database_url, lambda own, number: end(own, ids[number]))
    told = [told.id for told in jobs.tell(conn, "io", 100)]
    assert len(told) == THREADS
    assert all(take(conn, one) for one in told)
    assert not any(take(conn, one) for one in ids)


def test_a_lost_runs_slot_is_free_again(conn: Connection) -> None:
    first, second = (put(conn, concurrency_key="api")[0].id for _ in range(2))
    assert take(conn, first)
    assert not take(conn, second)
    jobs.rescue(conn, lease_s=-1)
    assert jobs.get(conn, second).blocked_by is None
    assert take(conn, second)


def test_other_keys_and_jobs_without_one_are_not_held_back(conn: Connection) -> None:
    for key in ("a", "b"):
        assert take(conn, put(conn, concurrency_key=key)[0].id)
    assert take(conn, put(conn)[0].id)
    assert take(conn, put(conn)[0].id)


# -- paused kinds


def test_nothing_of_a_paused_kind_starts_until_it_is_resumed(conn: Connection) -> None:
    before, other = put(conn)[0], put(conn, "probe")[0]
    paused.pause(conn, "noop", "me")
    paused.pause(conn, "noop", "me")
    after = put(conn)[0]
    assert jobs.told(after) == []
    for job in (before, after):
        assert jobs.get(conn, job.id).blocked_by == "paused:noop"
        assert not take(conn, job.id)
    assert take(conn, other.id)
    jobs.rescue(conn, lease_s=30)
    assert jobs.tell(conn, "io", 100, retell_after_s=0) == []

    released, told = paused.resume(conn, "noop", "me")
    assert set(released) == {one.id for one in told} == {before.id, after.id}
    assert paused.paused(conn) == {}
    assert take(conn, before.id)


def test_a_job_that_becomes_due_while_its_kind_is_paused_waits_too(conn: Connection) -> None:
    late = put(conn, run_at="2100-01-01T00:00:00Z")[0]
    paused.pause(conn, "noop", "me")
    conn.execute("UPDATE jobs SET run_at = now()")
    jobs.wake_due(conn)
    assert jobs.get(conn, late.id).blocked_by == "paused:noop"
    assert jobs.tell(conn, "io", 9) == []
    assert not take(conn, late.id)
    assert [told.id for told in paused.resume(conn, "noop", "me")[1]] == [late.id]


def test_a_block_that_outlived_its_pause_is_lifted_by_rescue(conn: Connection) -> None:
    job = put(conn)[0]
    conn.execute("UPDATE jobs SET blocked_by = 'paused:noop'")
    jobs.rescue(conn, lease_s=30)
    assert [told.id for told in jobs.tell(conn, "io", 9)] == [job.id]


def test_an_unknown_kind_cannot_be_paused(conn: Connection) -> None:
    with pytest.raises(NotFound):
        paused.pause(conn, "nonsense", "me")
