"""Jobs that a running job submits, and its wait for a person's approval.

A child is submitted once for each key, whatever happens to the worker in between. It is cancelled with the job that
submitted it (`jobs.cancel`), and a retry of that job puts back those of its children that had failed or were cancelled
before. It counts as one job more of the caller's, but not against what the caller may submit in an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from goldsmith import audit, jobs, jobs_sql, submit
from goldsmith.db import Connection
from goldsmith.errors import Conflict, FencedOut, JobCancelled
from goldsmith.job import FINAL, Job
from goldsmith.settings import Settings

PLAN = "plan.json"
"""The artifact that a job leaves before it waits for approval."""

# Whoever submits for a job holds its row: a cancel comes before and is seen here, or after and sees the child.
HOLD = """
SELECT created_by, cancel_requested_at IS NOT NULL AS cancel FROM jobs
WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'running' FOR NO KEY UPDATE
"""

CHILD = f"""
SELECT {jobs_sql.COLUMNS} FROM jobs
WHERE submitted_by = %(id)s AND created_by = %(created_by)s AND idempotency_key = %(key)s
"""

# A cancel may take its time: what counts is when it was asked for.
ENDED_BEFORE_RETRY = """
SELECT 1 FROM jobs c WHERE c.id = %(child)s AND c.status IN ('failed', 'cancelled') AND coalesce(c.cancel_requested_at, c.completed_at) < (
    SELECT max(created_at) FROM job_events WHERE job_id = %(id)s AND event = 'retried')
"""

APPROVED = "SELECT 1 FROM job_events WHERE job_id = %(id)s AND event = 'approved' LIMIT 1"

APPROVE = f"""
WITH job AS (
    UPDATE jobs SET seq = seq + 1, run_at = CASE WHEN status = 'scheduled' THEN now() ELSE run_at END
    WHERE id = %(id)s AND completed_at IS NULL AND cancel_requested_at IS NULL AND NOT EXISTS ({APPROVED})
      AND EXISTS (SELECT 1 FROM artifacts WHERE job_id = %(id)s AND name = '{PLAN}')
    RETURNING id, seq, attempt
)
INSERT INTO job_events (job_id, seq, attempt, event, data)
SELECT id, seq, attempt, 'approved', jsonb_build_object('by', %(by)s::text) FROM job RETURNING seq
"""


def submit_child(
    conn: Connection, settings: Settings, job_id: UUID, attempt: int, body: Mapping[str, Any], key: str
) -> tuple[Job, bool]:
    """The child that this key stands for, and whether the broker must hear of it: it was written, or put back, just now.

    What the key stands for does not change: another body for it is not looked at.
    """
    with conn.transaction():
        held = conn.execute(HOLD, {"id": job_id, "attempt": attempt}).fetchone()
        if held is None:
            raise FencedOut(f"attempt {attempt} of job {job_id} was given up; it submits nothing any more")
        if held["cancel"]:
            raise JobCancelled("a cancel was asked for")
        values = {"id": job_id, "created_by": held["created_by"], "key": f"{job_id}/{key}"}
        if row := conn.execute(CHILD, values).fetchone():
            if conn.execute(ENDED_BEFORE_RETRY, {"id": job_id, "child": row["id"]}).fetchone():
                return jobs.retry(conn, row["id"]), True
            return Job.model_validate(row), False
        config, options = submit.parse(body)
        submit.check_models(config, settings)
        new = submit.resolved(
            conn, config, options, body={"key": key}, created_by=held["created_by"], idempotency_key=values["key"]
        )
        return submit.write(conn, replace(new, submitted_by=job_id))


def cancel_child(conn: Connection, job_id: UUID, child_id: UUID) -> None:
    """Ask a child that has not ended to stop; one that has is left as it is."""
    child = jobs.get(conn, child_id)
    if child.submitted_by != job_id:
        raise Conflict(f"job {child_id} was not submitted by job {job_id}")
    if child.status not in FINAL:
        jobs.cancel_many(conn, [child_id])


def approve(conn: Connection, job_id: UUID, actor: str) -> Job:
    """Let a job that showed its plan go on. Twice is a no-op; raises `Conflict` where there is nothing to approve."""
    with conn.transaction():
        if conn.execute(APPROVE, {"id": job_id, "by": actor}).fetchone():
            audit.record(conn, actor, "job.approve", f"job:{job_id}")
        job = jobs.get(conn, job_id)
        if not is_approved(conn, job_id):
            why = (
                f"is {job.status}"
                if job.completed_at
                else "is being cancelled"
                if job.cancel_requested_at
                else "has shown no plan yet"
            )
            raise Conflict(f"job {job_id} {why}; there is nothing to approve", job_status=job.status)
    return job


def is_approved(conn: Connection, job_id: UUID) -> bool:
    return conn.execute(APPROVED, {"id": job_id}).fetchone() is not None
