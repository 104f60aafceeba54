"""The life of a job, against a real Postgres."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from goldsmith import jobs
from goldsmith.db import Connection
from goldsmith.errors import Conflict, FencedOut, InvalidInput
from goldsmith.jobs import NewJob, Outcome


def new(**more: object) -> NewJob:
    values: dict[str, object] = {"kind": "noop", "config": {"kind": "noop"}, "queue": "io", "timeout": 60, "max_attempts": 2}
    return NewJob(**(values | more))  # type: ignore[arg-type]


def events(conn: Connection, job_id: UUID) -> list[str]:
    rows = conn.execute("SELECT event FROM job_events WHERE job_id = %s ORDER BY seq", (job_id,)).fetchall()
    return [row["event"] for row in rows]


def test_a_job_lives_from_submit_to_completed(conn: Connection) -> None:
    job, created = jobs.submit(conn, new())
    assert created
    assert job.status == "queued"
    claimed = jobs.claim(conn, job.id, worker="w", gpu_id=None)
    assert claimed is not None
    assert claimed.attempt == 1
    assert jobs.progress(conn, job.id, 1, 50, "half", [{"loss": 1.5}]) is False
    assert jobs.heartbeat(conn, job.id, 1) is False
    jobs.finish(conn, job.id, 1, Outcome("completed", result={"n": 1}))
    done = jobs.get(conn, job.id)
    assert (done.status, done.progress, done.message, done.result) == ("completed", 100, "Completed", {"n": 1})
    assert events(conn, job.id) == ["submitted", "started", "progress", "completed"]


def test_only_one_worker_claims(conn: Connection) -> None:
    job, _ = jobs.submit(conn, new())
    assert jobs.claim(conn, job.id, worker="a", gpu_id=None)
    assert jobs.claim(conn, job.id, worker="b", gpu_id=None) is None


def test_a_fenced_out_attempt_changes_nothing(conn: Connection) -> None:
    job, _ = jobs.submit(conn, new())
    jobs.claim(conn, job.id, worker="a", gpu_id=None)
    conn.execute("UPDATE jobs SET heartbeat_at = now() - interval '1 hour'")
    conn.execute("SELECT 1")
    assert jobs.rescue(conn, lease_s=0) == [job.id]
    assert jobs.claim(conn, job.id, worker="b", gpu_id=None)
    before = jobs.get(conn, job.id)
    for write in (
        lambda: jobs.progress(conn, job.id, 1, 99, "ghost", []),
        lambda: jobs.heartbeat(conn, job.id, 1),
        lambda: jobs.log(conn, job.id, 1, "ghost", {}),
        lambda: jobs.fence(conn, job.id, 1),
        lambda: jobs.finish(conn, job.id, 1, Outcome("completed", result={})),
    ):
        with pytest.raises(FencedOut):
            write()
    assert jobs.get(conn, job.id) == before


def test_the_same_idempotency_key_returns_the_first_job(conn: Connection) -> None:
    first, created = jobs.submit(conn, new(idempotency_key="k", idempotency_sha256="a"))
    again, created_again = jobs.submit(conn, new(idempotency_key="k", idempotency_sha256="a"))
    assert created
    assert not created_again
    assert again.id == first.id
    with pytest.raises(InvalidInput):
        jobs.submit(conn, new(idempotency_key="k", idempotency_sha256="b"))


def test_two_jobs_never_run_on_one_gpu_and_the_next_is_let_go(conn: Connection) -> None:
    first, _ = jobs.submit(conn, new(queue="gpu"))
    second, _ = jobs.submit(conn, new(queue="gpu"))
    assert jobs.claim(conn, first.id, worker="a", gpu_id="GPU-1")
    assert jobs.claim(conn, second.id, worker="b", gpu_id="GPU-1") is None
    assert jobs.get(conn, second.id).blocked_by == "gpu:GPU-1"
    assert jobs.tell(conn, "gpu", 10, retell_after_s=0) == []
    jobs.finish(conn, first.id, 1, Outcome("completed", result={}))
    assert [told.id for told in jobs.tell(conn, "gpu", 10)] == [second.id]
    assert jobs.claim(conn, second.id, worker="b", gpu_id="GPU-1")


@pytest.mark.parametrize(
    ("outcome", "status", "failures"),
    [("retry", "scheduled", 1), ("requeue", "scheduled", 0), ("failed", "failed", 1), ("cancelled", "cancelled", 0)],
)
def test_what_an_ending_counts(conn: Connection, outcome: str, status: str, failures: int) -> None:
    job, _ = jobs.submit(conn, new())
    jobs.claim(conn, job.id, worker="a", gpu_id=None)
    jobs.finish(conn, job.id, 1, Outcome(outcome, message="why"))  # type: ignore[arg-type]
    after = jobs.get(conn, job.id)
    assert (after.status, after.failures) == (status, failures)


def test_a_retry_after_the_last_allowed_failure_is_failed(conn: Connection) -> None:
    job, _ = jobs.submit(conn, new(max_attempts=1))
    jobs.claim(conn, job.id, worker="a", gpu_id=None)
    jobs.finish(conn, job.id, 1, Outcome("retry", message="Error: again", error={"title": "T", "detail": "D"}))
    assert jobs.get(conn, job.id).error == {"title": "T", "detail": "D"}


def test_cancel_wins_over_being_put_back_and_completed_wins_over_cancel(conn: Connection) -> None:
    put_back, _ = jobs.submit(conn, new())
    jobs.claim(conn, put_back.id, worker="a", gpu_id=None)
    jobs.cancel(conn, put_back.id)
    jobs.finish(conn, put_back.id, 1, Outcome("requeue", after_s=5))
    assert jobs.get(conn, put_back.id).status == "cancelled"

    done, _ = jobs.submit(conn, new())
    jobs.claim(conn, done.id, worker="a", gpu_id=None)
    jobs.cancel(conn, done.id)
    jobs.finish(conn, done.id, 1, Outcome("completed", result={}))
    assert jobs.get(conn, done.id).status == "completed"
    with pytest.raises(Conflict):
        jobs.cancel(conn, done.id)


def test_cancelling_twice_is_a_no_op_and_retry_starts_anew(conn: Connection) -> None:
    job, _ = jobs.submit(conn, new())
    assert jobs.cancel(conn, job.id).status == "cancelled"
    assert jobs.cancel(conn, job.id).status == "cancelled"
    assert jobs.retry(conn, job.id).id == job.id
    assert jobs.get(conn, job.id).status == "queued"
    with pytest.raises(Conflict):
        jobs.retry(conn, job.id)


def test_a_retried_child_waits_for_its_retried_parent(conn: Connection) -> None:
    parent, _ = jobs.submit(conn, new())
    child, _ = jobs.submit(conn, new(parents=[parent.id]))
    jobs.claim(conn, parent.id, worker="a", gpu_id=None)
    jobs.finish(conn, parent.id, 1, Outcome("failed", message="Error: no"))
    assert jobs.get(conn, child.id).status == "failed"

    assert jobs.retry(conn, parent.id).status == "queued"
    assert jobs.retry(conn, child.id).status == "waiting"
    jobs.claim(conn, parent.id, worker="a", gpu_id=None)
    jobs.finish(conn, parent.id, 2, Outcome("completed", result={}))
    assert jobs.get(conn, child.id).status == "queued"


def test_a_lost_job_goes_back_and_ends_failed_after_its_last_attempt(conn: Connection) -> None:
    job, _ = jobs.submit(conn, new(max_attempts=2))
    for attempt in (1, 2):
        assert jobs.claim(conn, job.id, worker="a", gpu_id=None)
        jobs.rescue(conn, lease_s=-1)
        expected = "queued" if attempt == 1 else "failed"
        assert jobs.get(conn, job.id).status == expected
    error = jobs.get(conn, job.id).error
    assert error is not None
    assert "no sign of life" in error["detail"]


def test_a_live_heartbeat_is_not_rescued(conn: Connection) -> None:
    job, _ = jobs.submit(conn, new())
    jobs.claim(conn, job.id, worker="a", gpu_id=None)
    assert jobs.rescue(conn, lease_s=30) == []


def test_a_child_waits_for_its_parents_and_fails_with_them(conn: Connection) -> None:
    parent, _ = jobs.submit(conn, new())
    child, _ = jobs.submit(conn, new(parents=[parent.id]))
    grandchild, _ = jobs.submit(conn, new(parents=[child.id]))
    assert (child.status, grandchild.status) == ("waiting", "waiting")
    jobs.claim(conn, parent.id, worker="a", gpu_id=None)
    jobs.finish(conn, parent.id, 1, Outcome("completed", result={}))
    assert jobs.get(conn, child.id).status == "queued"
    jobs.cancel(conn, child.id)
    end = jobs.get(conn, grandchild.id)
    assert end.status == "failed"
    assert str(child.id) in str(end.error)


def test_a_due_scheduled_job_is_woken(conn: Connection, job_factory: Callable[..., UUID]) -> None:
    due = job_factory(status="scheduled", run_at="now")
    jobs.rescue(conn, lease_s=30)
    assert jobs.get(conn, due).status == "queued"


def test_a_long_queue_is_not_told_twice(conn: Connection) -> None:
    made = [jobs.submit(conn, new())[0].id for _ in range(5)]
    assert jobs.tell(conn, "io", 10) == []  # submitting marks them as told
    jobs.untell(conn, made[:2])
    assert {told.id for told in jobs.tell(conn, "io", 10)} == set(made[:2])
    assert jobs.untold(conn) == {"io": 5}


def test_a_message_from_before_a_change_of_priority_claims_nothing(conn: Connection) -> None:
    job, _ = jobs.submit(conn, new(priority=9))
    assert jobs.set_priority(conn, job.id, 1).priority == 1
    before = conn.execute("SELECT published_at, seq FROM jobs").fetchone()
    assert jobs.claim(conn, job.id, worker="a", gpu_id=None, priority=9) is None
    assert conn.execute("SELECT published_at, seq FROM jobs").fetchone() == before
    assert jobs.claim(conn, job.id, worker="a", gpu_id=None, priority=1)
