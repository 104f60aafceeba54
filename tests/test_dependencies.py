"""Jobs that wait for other jobs, and what becomes of them when those fail."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from goldsmith import jobs, submit
from goldsmith.db import Connection, Database, connect
from goldsmith.errors import ReferenceNotUsable
from goldsmith.job import Job
from goldsmith.jobs import Outcome
from goldsmith.settings import Settings
from tests.conftest import wait_until
from worker.context import RunContext


def put(conn: Connection, **options: object) -> Job:
    body = {"kind": "noop", "options": options}
    return submit.submit(conn, *submit.parse(body), body=body)[0]


def end(conn: Connection, job: Job, outcome: str) -> None:
    if outcome == "cancelled":
        jobs.cancel(conn, job.id)
        return
    claimed = jobs.claim(conn, job.id, worker="w", gpu_id=None)
    assert claimed is not None
    jobs.finish(conn, job.id, claimed.attempt, Outcome(outcome, result={"n": 1}, message="no"))  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["failed", "cancelled"])
@pytest.mark.parametrize(("fate", "status"), [("fail", "failed"), ("run", "queued"), ("cancel", "cancelled")])
def test_a_parent_that_did_not_complete_decides_as_chosen(conn: Connection, fate: str, status: str, bad: str) -> None:
    parent = put(conn)
    child = put(conn, depends_on=[f"job:{parent.id}"], on_parent_failure=fate)
    assert child.status == "waiting"
    end(conn, parent, bad)
    after = jobs.get(conn, child.id)
    assert after.status == status
    if status != "queued":
        assert str(parent.id) in after.message


def test_a_job_that_runs_all_the_same_still_waits_for_every_parent(conn: Connection) -> None:
    first, second = put(conn), put(conn)
    child = put(conn, depends_on=[str(first.id), str(second.id)], on_parent_failure="run")
    end(conn, first, "failed")
    assert jobs.get(conn, child.id).status == "waiting"
    end(conn, second, "completed")
    assert jobs.get(conn, child.id).status == "queued"


def test_cancelling_by_fate_goes_on_to_the_grandchildren(conn: Connection) -> None:
    parent = put(conn)
    child = put(conn, depends_on=[str(parent.id)], on_parent_failure="cancel")
    grandchild = put(conn, depends_on=[str(child.id)])
    end(conn, parent, "failed")
    assert [jobs.get(conn, job.id).status for job in (child, grandchild)] == ["cancelled", "failed"]


@pytest.mark.parametrize(("fate", "status"), [("fail", "failed"), ("run", "queued"), ("cancel", "cancelled")])
def test_a_parent_that_failed_before_the_submit_counts_the_same(conn: Connection, fate: str, status: str) -> None:
    parent = put(conn)
    end(conn, parent, "failed")
    child = put(conn, depends_on=[str(parent.id)], on_parent_failure=fate)
    jobs.rescue(conn, lease_s=30)
    assert jobs.get(conn, child.id).status == status


def test_a_completed_parent_holds_nobody_back(conn: Connection) -> None:
    parent = put(conn)
    end(conn, parent, "completed")
    assert put(conn, depends_on=[str(parent.id)]).status == "queued"


def test_an_unknown_parent_is_named(conn: Connection) -> None:
    known, unknown = put(conn), uuid4()
    with pytest.raises(ReferenceNotUsable) as caught:
        put(conn, depends_on=[str(known.id), str(unknown)])
    assert caught.value.errors == [
        {"field": "options.depends_on.1", "value": str(unknown), "message": f"there is no job {unknown}"}
    ]


def test_a_run_reads_its_parents_results(conn: Connection, database: Database, tmp_path: Path) -> None:
    good, bad = put(conn), put(conn)
    end(conn, good, "completed")
    end(conn, bad, "failed")
    child = put(conn, depends_on=[str(good.id), str(bad.id)], on_parent_failure="run")
    settings = Settings(_env_file=None, state_dir=tmp_path)
    context = RunContext(database, settings, job_id=child.id, kind="noop", attempt=1, scratch=tmp_path)
    assert context.parents() == {f"job:{good.id}": {"n": 1}, f"job:{bad.id}": None}


def test_a_retried_job_of_a_failed_parent_does_as_chosen(conn: Connection, job_factory: Callable[..., UUID]) -> None:
    parent = put(conn)
    child = put(conn, depends_on=[str(parent.id)], on_parent_failure="run")
    jobs.cancel(conn, child.id)
    end(conn, parent, "failed")
    assert jobs.retry(conn, child.id).status == "queued"


def waits_for_a_lock(conn: Connection) -> bool:
    found = conn.execute(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    return found is not None


def test_two_parents_that_end_at_the_same_moment_leave_no_child_behind(conn: Connection, database_url: str) -> None:
    parents = [put(conn), put(conn)]
    child = put(conn, depends_on=[str(parent.id) for parent in parents])
    for parent in parents:
        assert jobs.claim(conn, parent.id, worker="w", gpu_id=None)

    def end_the_second() -> None:
        with connect(database_url) as own:
            jobs.finish(own, parents[1].id, 1, Outcome("completed", result={}))

    with ThreadPoolExecutor(1) as pool:
        with conn.transaction():
            jobs.finish(conn, parents[0].id, 1, Outcome("completed", result={}))
            second = pool.submit(end_the_second)
            with connect(database_url) as watching:
                wait_until(lambda: second.done() or waits_for_a_lock(watching), "the second end")
        second.result(10)
    assert jobs.get(conn, child.id).status == "queued"


def test_a_child_is_not_judged_by_the_end_that_a_retry_takes_back(conn: Connection, database_url: str) -> None:
    parent = put(conn)
    end(conn, parent, "failed")
    child = put(conn, depends_on=[str(parent.id)])
    with conn.transaction(), connect(database_url) as other:
        jobs.retry(conn, parent.id)
        with other.transaction():
            other.execute("SET LOCAL statement_timeout = '5s'")
            jobs.rescue(other, lease_s=30)
    assert jobs.get(conn, child.id).status == "waiting"
    end(conn, parent, "completed")
    assert jobs.get(conn, child.id).status == "queued"


def test_a_round_of_rescue_judges_grandchildren_too(conn: Connection) -> None:
    parent = put(conn)
    end(conn, parent, "failed")
    child = put(conn, depends_on=[str(parent.id)])
    grandchild = put(conn, depends_on=[str(child.id)])
    jobs.rescue(conn, lease_s=30)
    assert [jobs.get(conn, job.id).status for job in (child, grandchild)] == ["failed", "failed"]


def test_a_retry_keeps_the_moment_that_the_caller_chose_and_forgets_a_back_off(conn: Connection) -> None:
    later = put(conn, run_at="2100-01-01T00:00:00Z")
    jobs.cancel(conn, later.id)
    again = jobs.retry(conn, later.id)
    assert (again.status, again.run_at) == ("scheduled", later.run_at)

    parent = put(conn)
    child = put(conn, run_at="2100-01-01T00:00:00Z", depends_on=[str(parent.id)])
    end(conn, parent, "failed")
    jobs.retry(conn, parent.id)
    assert jobs.retry(conn, child.id).status == "waiting"
    end(conn, jobs.get(conn, parent.id), "completed")
    assert jobs.get(conn, child.id).status == "scheduled"

    backing_off = put(conn)
    assert jobs.claim(conn, backing_off.id, worker="w", gpu_id=None)
    jobs.finish(conn, backing_off.id, 1, Outcome("retry", message="no", after_s=3600))
    jobs.cancel(conn, backing_off.id)
    assert jobs.retry(conn, backing_off.id).status == "queued"
