"""Jobs that a job submits: once for each key, cancelled with it, put back by its retry; and its plan's approval."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from goldsmith import artifacts, children, jobs
from goldsmith.db import Connection, Database, connect
from goldsmith.errors import Conflict, FencedOut, InvalidInput, JobCancelled
from goldsmith.job import Job
from goldsmith.jobs import Outcome
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from worker.context import RunContext

JobFactory = Callable[..., UUID]
NOOP = {"kind": "noop"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


@pytest.fixture
def parent(job_factory: JobFactory) -> UUID:
    return job_factory(created_by="museum")


@pytest.fixture
def context(database: Database, settings: Settings, parent: UUID, tmp_path: Path) -> RunContext:
    return RunContext(database, settings, job_id=parent, kind="noop", attempt=1, scratch=tmp_path)


def end(conn: Connection, job_id: UUID, outcome: str) -> None:
    claimed = jobs.claim(conn, job_id, worker="w", gpu_id=None)
    assert claimed is not None
    jobs.finish(conn, job_id, claimed.attempt, Outcome(outcome, result={"n": 1}, message="no"))  # type: ignore[arg-type]


def again(conn: Connection, parent: UUID) -> int:
    """The parent fails, is retried and claimed; its new attempt."""
    jobs.finish(conn, parent, jobs.get(conn, parent).attempt, Outcome("failed", message="a child failed"))
    jobs.retry(conn, parent)
    claimed = jobs.claim(conn, parent, worker="w", gpu_id=None)
    assert claimed is not None
    return claimed.attempt


def test_a_key_stands_for_one_job_on_every_attempt(
    conn: Connection, database: Database, settings: Settings, context: RunContext, parent: UUID, tmp_path: Path
) -> None:
    first = context.submit(NOOP, "sessions")
    other = context.submit(NOOP, "rules")
    assert context.submit(NOOP, "sessions") == first != other
    attempt = again(conn, parent)
    later = RunContext(database, settings, job_id=parent, kind="noop", attempt=attempt, scratch=tmp_path)
    assert later.submit(NOOP, "sessions") == first
    child = later.child(first)
    assert (child.created_by, child.submitted_by) == ("museum", parent)
    assert {job.id for job in jobs.list_jobs(conn, submitted_by=parent)} == {first, other}


def test_two_workers_with_one_attempt_submit_one_job(database_url: str, settings: Settings, parent: UUID) -> None:
    def submit(_: int) -> UUID:
        with connect(database_url) as conn:
            return children.submit_child(conn, settings, parent, 1, NOOP, "train-c1")[0].id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(submit, range(16)))) == 1


def test_an_attempt_that_was_given_up_submits_nothing(conn: Connection, settings: Settings, parent: UUID) -> None:
    with pytest.raises(FencedOut):
        children.submit_child(conn, settings, parent, 7, NOOP, "sessions")
    assert jobs.list_jobs(conn, submitted_by=parent) == []


def test_a_bad_config_is_refused_as_at_the_door(context: RunContext) -> None:
    with pytest.raises(InvalidInput, match="train"):
        context.submit({"kind": "trian"}, "train")


def test_a_cancel_reaches_what_was_submitted_and_nothing_is_submitted_after_it(
    conn: Connection, database: Database, settings: Settings, context: RunContext, parent: UUID, tmp_path: Path
) -> None:
    queued, running, done = (context.submit(NOOP, key) for key in ("a", "b", "c"))
    assert jobs.claim(conn, running, worker="w", gpu_id=None)
    end(conn, done, "completed")
    grandchild, _ = children.submit_child(conn, settings, running, 1, NOOP, "d")
    jobs.cancel(conn, parent)
    assert [jobs.get(conn, one).status for one in (queued, done, grandchild.id)] == ["cancelled", "completed", "cancelled"]
    assert jobs.get(conn, running).cancel_requested_at is not None
    with pytest.raises(JobCancelled):
        context.submit(NOOP, "e")


def test_a_scheduled_job_is_cancelled_with_its_children(conn: Connection, context: RunContext, parent: UUID) -> None:
    child = context.submit(NOOP, "a")
    jobs.finish(conn, parent, 1, Outcome("requeue", after_s=60, message="waits"))
    jobs.cancel_many(conn, [parent])
    assert [jobs.get(conn, one).status for one in (parent, child)] == ["cancelled", "cancelled"]


@pytest.mark.parametrize("bad", ["failed", "cancelled"])
def test_a_retry_puts_back_what_had_ended_badly_before_it_and_only_that(
    conn: Connection, settings: Settings, context: RunContext, parent: UUID, bad: str
) -> None:
    good, broken = context.submit(NOOP, "good"), context.submit(NOOP, "broken")
    end(conn, good, "completed")
    if bad == "failed":
        end(conn, broken, "failed")
    else:
        jobs.cancel(conn, broken)
    assert context.submit(NOOP, "broken") == broken
    assert context.child(broken).status == bad  # without a retry it stays what it is

    attempt = again(conn, parent)
    put_back, new = children.submit_child(conn, settings, parent, attempt, NOOP, "broken")
    assert (put_back.id, put_back.status, new) == (broken, "queued", True)
    assert not children.submit_child(conn, settings, parent, attempt, NOOP, "good")[1]
    end(conn, broken, "failed")  # again: this is the end of the new round
    assert children.submit_child(conn, settings, parent, attempt, NOOP, "broken")[0].status == "failed"


def test_the_end_of_a_child_wakes_who_waits_for_it(conn: Connection, context: RunContext, parent: UUID) -> None:
    child = context.submit(NOOP, "a")
    jobs.finish(conn, parent, 1, Outcome("requeue", after_s=3600, message="waits"))
    end(conn, child, "completed")
    assert jobs.get(conn, parent).status == "queued"


def test_only_who_submitted_a_job_may_cancel_it_as_a_child(
    conn: Connection, context: RunContext, job_factory: JobFactory
) -> None:
    own, foreign = context.submit(NOOP, "a"), job_factory(status="queued", attempt=0)
    context.cancel_child(own)
    context.cancel_child(own)
    assert context.child(own).status == "cancelled"
    with pytest.raises(Conflict):
        context.cancel_child(foreign)


def test_a_child_is_on_its_way_to_a_worker_at_once(conn: Connection, context: RunContext) -> None:
    child = context.submit(NOOP, "a")
    told = [one.id for one in jobs.tell(conn, "io", 10)]  # without a queue of its own, the context leaves it to rescue
    assert told == [child]


def plan(conn: Connection, settings: Settings, job_id: UUID) -> None:
    artifacts.save(conn, Storage(settings.state_dir), job_id, 1, children.PLAN, b"{}", "application/json")


def test_a_plan_is_approved_once_and_wakes_its_job(
    conn: Connection, settings: Settings, context: RunContext, parent: UUID
) -> None:
    with pytest.raises(Conflict, match="no plan"):
        children.approve(conn, parent, "museum")
    plan(conn, settings, parent)
    jobs.finish(conn, parent, 1, Outcome("requeue", after_s=3600, message="waits for approval"))
    assert not context.approved()
    approved: Job = children.approve(conn, parent, "museum")
    assert children.approve(conn, parent, "museum").seq == approved.seq
    assert context.approved()
    assert jobs.wake_due(conn) == [parent]
    rows = conn.execute("SELECT actor FROM audit_log WHERE action = 'job.approve'").fetchall()
    assert [row["actor"] for row in rows] == ["museum"]


@pytest.mark.parametrize("how", ["completed", "cancelled"])
def test_what_has_ended_is_not_approved(conn: Connection, settings: Settings, parent: UUID, how: str) -> None:
    plan(conn, settings, parent)
    jobs.finish(conn, parent, 1, Outcome(how, result={}))  # type: ignore[arg-type]
    with pytest.raises(Conflict, match=how):
        children.approve(conn, parent, "museum")
