"""A job's life. Postgres owns the state; every change of state is one UPDATE that says who won.

    waiting ──► queued ──► running ──► completed
       scheduled ─┘  ▲        ├──────► failed
           ▲         └────────┤        cancelled  (from any state that is not final)
           └──────────────────┘

`attempt` rises with every claim: it is the fence. `failures` rises on a crash or a `RetryableError` and is what
`max_attempts` limits. All times are the database's clock. What a function does has committed when it
returns; the broker is told afterwards, and of whatever it is not told, rescue tells it later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from goldsmith import audit, logging
from goldsmith import jobs_sql as sql
from goldsmith.db import AsyncConnection, Connection
from goldsmith.errors import Conflict, FencedOut, InvalidInput, NotFound
from goldsmith.job import FINAL, Job, Status

Fate = Literal["fail", "run", "cancel"]
"""What becomes of a job when one that it depends on failed or was cancelled."""

RETELL_AFTER_S = 30  # a message told this long ago and not claimed is either behind a long queue or lost
RESCUER_SLEEPS_WITHIN_S = 5


@dataclass(frozen=True)
class Told:
    """What the broker carries: the id; the rest routes it and names it in Flower."""

    id: UUID
    kind: str
    queue: str
    priority: int


@dataclass(frozen=True)
class Claimed:
    id: UUID
    kind: str
    config: dict[str, Any]
    attempt: int
    failures: int
    max_attempts: int
    timeout: int
    request_id: str | None = None
    """Of the request that submitted it; None when no request did."""

    @property
    def in_log(self) -> dict[str, Any]:
        """What every line of the log about this attempt carries."""
        submitted_by = {"request_id": self.request_id} if self.request_id else {}
        return {"job_id": str(self.id), "kind": self.kind, "attempt": self.attempt, **submitted_by}


@dataclass(frozen=True)
class NewJob:
    kind: str
    config: Mapping[str, Any]
    queue: str
    timeout: int
    max_attempts: int
    priority: int = 4
    run_at: datetime | None = None
    parents: Sequence[UUID] = ()
    idempotency_key: str | None = None
    idempotency_sha256: str | None = None
    created_by: str = "local"
    on_parent_failure: Fate = "fail"
    unique_key: str | None = None
    unique_for_s: int = 0
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    pipeline_id: UUID | None = None
    pipeline_name: str | None = None
    submitted_by: UUID | None = None
    outside_workshops: bool = False
    forced: bool = False
    """It would wait for the end of a workshop and was told not to: `submit` and `submit_many` write that into the audit log."""


@dataclass(frozen=True)
class Ended:
    status: Status
    woke: bool
    """Whether other jobs may now be queued that the broker has not heard of."""


def fence(conn: Connection, job_id: UUID, attempt: int) -> None:
    """The last statement of a transaction: raise `FencedOut` when this attempt is no longer the one that runs.

    It locks the job's row until the commit, against which the heartbeat waits: what takes long comes before it.
    """
    row = conn.execute(
        "SELECT 1 FROM jobs WHERE id = %s AND attempt = %s AND status = 'running' FOR NO KEY UPDATE", (job_id, attempt)
    ).fetchone()
    if row is None:
        raise FencedOut(f"attempt {attempt} of job {job_id} was given up; its writes are refused")


def _items(news: Sequence[NewJob]) -> dict[str, Any]:
    rows = [
        {
            "kind": new.kind,
            "config": dict(new.config),
            "queue": new.queue,
            "timeout": new.timeout,
            "max_attempts": new.max_attempts,
            "priority": new.priority,
            "run_at": new.run_at and new.run_at.isoformat(),
            "idempotency_key": new.idempotency_key,
            "idempotency_sha256": new.idempotency_sha256,
            "created_by": new.created_by,
            "parents": [str(parent) for parent in new.parents],
            "on_parent_failure": new.on_parent_failure,
            "unique_key": new.unique_key,
            "concurrency_key": new.concurrency_key,
            "concurrency_limit": new.concurrency_limit,
            "pipeline_id": new.pipeline_id and str(new.pipeline_id),
            "pipeline_name": new.pipeline_name,
            "submitted_by": new.submitted_by and str(new.submitted_by),
            "outside_workshops": new.outside_workshops,
        }
        for new in news
    ]
    return {"items": Jsonb(rows), "request_id": logging.request_id()}


def _unique(new: NewJob) -> dict[str, Any]:
    return {"kind": new.kind, "unique_key": new.unique_key, "unique_for_s": new.unique_for_s}


_BY_KEY = f"SELECT {sql.COLUMNS}, idempotency_sha256 FROM jobs WHERE created_by = %s AND idempotency_key = %s"


def _same_request(row: dict[str, Any] | None, new: NewJob) -> Job:
    if row is None:
        raise Conflict("a job with this Idempotency-Key is being written by another request; try again")
    if row["idempotency_sha256"] != new.idempotency_sha256:
        raise InvalidInput(
            f"Idempotency-Key {new.idempotency_key!r} was used for job {row['id']} with another body; use a new key",
            errors=[{"field": "Idempotency-Key", "value": new.idempotency_key, "message": "used with another body"}],
        )
    return Job.model_validate(row)


def _note_force(conn: Connection, new: NewJob, row: Mapping[str, Any] | None) -> None:
    if new.forced and row is not None:
        audit.record(conn, new.created_by, "job.force", f"job:{row['id']}", {"kind": new.kind})


def submit(conn: Connection, new: NewJob) -> tuple[Job, bool]:
    """Write the row and its first event. Returns (job, created).

    A repeated idempotency key returns the first job. So does a unique key whose job has not ended, or was submitted less
    than `unique_for_s` ago; one that failed or was cancelled is no obstacle.
    """
    with conn.transaction() if new.unique_key is not None or new.forced else nullcontext():
        if new.unique_key is not None:
            conn.execute(sql.UNIQUE_LOCK, _unique(new))
            if there := conn.execute(sql.UNIQUE, _unique(new)).fetchone():
                return Job.model_validate(there), False
        row = conn.execute(sql.SUBMIT, _items([new])).fetchone()
        _note_force(conn, new, row)
    if row is not None:
        return Job.model_validate(row), True
    return _same_request(conn.execute(_BY_KEY, (new.created_by, new.idempotency_key)).fetchone(), new), False


async def submit_async(conn: AsyncConnection, new: NewJob) -> tuple[Job, bool]:
    """`submit` for the event loop; the same statements."""
    async with conn.transaction() if new.unique_key is not None else nullcontext():
        if new.unique_key is not None:
            await conn.execute(sql.UNIQUE_LOCK, _unique(new))
            if there := await (await conn.execute(sql.UNIQUE, _unique(new))).fetchone():
                return Job.model_validate(there), False
        row = await (await conn.execute(sql.SUBMIT, _items([new]))).fetchone()
    if row is not None:
        return Job.model_validate(row), True
    found = await conn.execute(_BY_KEY, (new.created_by, new.idempotency_key))
    return _same_request(await found.fetchone(), new), False


def submit_many(conn: Connection, news: Sequence[NewJob]) -> list[tuple[Job, bool]]:
    """`submit` for many, none of which has an idempotency key: all rows and their first events, or none. In the order of `news`."""
    made: dict[int, tuple[Job, bool]] = {}
    with conn.transaction():
        unique = [index for index, new in enumerate(news) if new.unique_key is not None]
        for index in sorted(unique, key=lambda index: (news[index].kind, news[index].unique_key)):
            made[index] = submit(conn, news[index])  # always in this order, so that two batches never wait for each other
        plain = [index for index in range(len(news)) if index not in made]
        rows = conn.execute(sql.SUBMIT, _items([news[index] for index in plain])).fetchall()
        for index, row in zip(plain, rows, strict=True):
            _note_force(conn, news[index], row)
        made |= {index: (Job.model_validate(row), True) for index, row in zip(plain, rows, strict=True)}
    return [made[index] for index in range(len(news))]


def told(job: Job) -> list[Told]:
    """What the broker must hear of a job that was just written."""
    if job.status != "queued" or job.blocked_by is not None:
        return []
    return [Told(job.id, job.kind, job.queue, job.priority)]


def untell(conn: Connection, ids: Sequence[UUID]) -> None:
    """The broker did not take these: rescue publishes them on its next round."""
    conn.execute("UPDATE jobs SET published_at = NULL WHERE id = ANY(%s) AND status = 'queued'", (list(ids),))


def get(conn: Connection, job_id: UUID) -> Job:
    row = conn.execute(sql.GET, {"id": job_id}).fetchone()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return Job.model_validate(row)


async def get_async(conn: AsyncConnection, job_id: UUID) -> Job:
    """`get` for the event loop; the same statement."""
    row = await (await conn.execute(sql.GET, {"id": job_id})).fetchone()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return Job.model_validate(row)


def results_of_parents(conn: Connection, job_id: UUID) -> dict[str, dict[str, Any] | None]:
    """What the jobs that it depends on left, by reference; None for one that left nothing."""
    rows = conn.execute(
        "SELECT p.id, p.result FROM job_dependencies d JOIN jobs p ON p.id = d.parent_id WHERE d.job_id = %s ORDER BY p.id",
        (job_id,),
    )
    return {f"job:{row['id']}": row["result"] for row in rows}


def last_result(conn: Connection, kind: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of the newest completed job of this kind whose config says this; None: there is none."""
    row = conn.execute(
        "SELECT result FROM jobs WHERE kind = %s AND status = 'completed' AND config @> %s ORDER BY created_at DESC LIMIT 1",
        (kind, Jsonb(dict(config))),
    ).fetchone()
    return row["result"] if row else None


def waits(conn: Connection, job_id: UUID, waiting: str, begun: str) -> tuple[int, float]:
    """How often it was put back with the log message `waiting`, and the seconds since the first time; counted from the last
    `begun`, or from the last retry."""
    row = conn.execute(sql.WAITS, {"id": job_id, "waiting": waiting, "begun": begun}).fetchone()
    assert row is not None, "an aggregate has a row"
    return row["times"], row["seconds"]


def list_jobs(
    conn: Connection,
    *,
    kind: str | None = None,
    status: str | None = None,
    created_after: datetime | None = None,
    submitted_by: UUID | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[Job]:
    """Newest first; `before` is the last id of the page before (ids sort by age)."""
    values = {"kind": kind, "status": status, "created_after": created_after, "before": before, "limit": limit}
    values["submitted_by"] = submitted_by
    return [Job.model_validate(row) for row in conn.execute(sql.LIST, values).fetchall()]


async def events_async(
    conn: AsyncConnection, job_id: UUID, *, after: int = 0, limit: int = 500
) -> tuple[Status, list[dict[str, Any]]]:
    """The job's state, and its events after `after` in the order in which they were committed."""
    rows = await (await conn.execute(sql.EVENTS, {"id": job_id, "after": after, "limit": limit})).fetchall()
    if not rows:
        raise NotFound(f"there is no job {job_id}")
    status: Status = rows[0]["status"]
    return status, [row for row in rows if row["seq"] is not None]


def claim(conn: Connection, job_id: UUID, *, worker: str, gpu_id: str | None, priority: int | None = None) -> Claimed | None:
    """Take a queued job for this worker. `priority` is that of the message: one from before a change of it does not count.

    None: someone else has it, or it must wait: its device is busy, its kind is paused, or enough run with its concurrency key
    or of its caller.
    Then `blocked_by` says so, and what removes the block tells the broker again.
    """
    while True:
        try:
            values = {"id": job_id, "worker": worker, "gpu_id": gpu_id, "priority": priority}
            row = conn.execute(sql.CLAIM, values).fetchone()
        except pg.UniqueViolation as error:
            if error.diag.constraint_name in ("ix_jobs_one_run_per_slot", "ix_jobs_one_run_per_caller_slot"):
                continue  # another claim took that slot at this very moment; it is counted now
            conn.execute(
                "UPDATE jobs SET blocked_by = %s, seq = seq + 1 WHERE id = %s AND status = 'queued'", (f"gpu:{gpu_id}", job_id)
            )
            return None
        if row is not None:
            return Claimed(**row)
        conn.execute(sql.BLOCK, {"id": job_id, "priority": priority})
        return None


def heartbeat(conn: Connection, job_id: UUID, attempt: int) -> bool:
    """Say that the attempt lives. Returns whether a cancel was asked for; raises `FencedOut` when it was given up."""
    row = conn.execute(sql.HEARTBEAT, {"id": job_id, "attempt": attempt}).fetchone()
    if row is None:
        raise FencedOut(f"attempt {attempt} of job {job_id} was given up")
    return bool(row["cancel"])


def progress(
    conn: Connection, job_id: UUID, attempt: int, percent: float, message: str, metrics: Sequence[Mapping[str, float | None]]
) -> bool:
    """Record one event with the metrics gathered since the last. Returns whether a cancel was asked for."""
    data = Jsonb({"progress": percent, "message": message, "metrics": list(metrics)})
    values = {"id": job_id, "attempt": attempt, "progress": percent, "message": message, "event": "progress", "data": data}
    row = conn.execute(sql.PROGRESS, values).fetchone()
    if row is None:
        raise FencedOut(f"attempt {attempt} of job {job_id} was given up")
    return bool(row["cancel"])


def log(conn: Connection, job_id: UUID, attempt: int, message: str, data: Mapping[str, Any]) -> None:
    row = conn.execute(sql.LOG, {"id": job_id, "attempt": attempt, "data": Jsonb({"message": message, **data})}).fetchone()
    if row is None:
        raise FencedOut(f"attempt {attempt} of job {job_id} was given up")


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. `requeue` and `retry` put the job back; only `retry` and `failed` count as failures."""

    outcome: Literal["completed", "cancelled", "requeue", "retry", "failed"]
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    message: str = ""
    after_s: float = 0
    run_at: datetime | None = None


def finish(conn: Connection, job_id: UUID, attempt: int, end: Outcome) -> Ended:
    """End an attempt. Raises `FencedOut` when it was given up; then nothing is changed."""
    values = {
        "id": job_id,
        "attempt": attempt,
        "outcome": end.outcome,
        "result": Jsonb(end.result) if end.result is not None else None,
        "error": Jsonb(
            end.error if end.error is not None else {"type": "about:blank", "title": "Failed", "detail": end.message}
        ),
        "message": end.message,
        "after_s": end.after_s,
        "run_at": end.run_at,
    }
    counts = end.outcome in ("retry", "failed")
    with conn.transaction() if counts else nullcontext():
        row = conn.execute(sql.FINISH, values).fetchone()
        if row is None:
            raise FencedOut(f"attempt {attempt} of job {job_id} was given up; its end is refused")
        if counts:
            _count_failed(conn, [row | {"cause": (end.error or {}).get("title", "Failed")}])
    names = (("gpu", "gpu_id"), ("concurrency", "concurrency_key"), ("key", "limited"))
    freed = [f"{name}:{row[of]}" for name, of in names if row[of]]
    woke = False
    with suppress(psycopg.OperationalError):  # the end has committed; what is not done here rescue does
        if row["has_children"] and row["status"] in FINAL:
            with conn.transaction():
                woke = _wake_children(conn, [job_id])
        if freed:
            woke = conn.execute(sql.UNBLOCK, {"names": freed}).rowcount > 0 or woke
        if row["submitted_by"] and row["status"] in FINAL:
            woke = bool(wake_due(conn, also=row["submitted_by"])) or woke
    return Ended(row["status"], woke)


def _count_failed(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    failed = [{name: row[name] for name in ("queue", "kind", "cause")} for row in rows]
    conn.execute(sql.COUNT_FAILED_ATTEMPTS, {"failed": Jsonb(failed)})


def _wake_children(conn: Connection, parents: Sequence[UUID] | None) -> bool:
    """Wake or end what waited for these, or for any; a child that ends here may itself have children. Whether there was any."""
    found = False
    while True:
        held = (
            conn.execute(sql.LOCK_WAITING) if parents is None else conn.execute(sql.LOCK_CHILDREN, {"parents": list(parents)})
        )
        ids = [row["id"] for row in held.fetchall()]
        woken = conn.execute(sql.WAKE_WAITING, {"ids": ids}).fetchall() if ids else []
        found = found or bool(woken)
        parents = [row["id"] for row in woken if row["status"] in FINAL]
        if not parents:
            return found


def cancel(conn: Connection, job_id: UUID) -> Job:
    """Ask for a cancel: what has not started is cancelled at once; what runs is asked. Twice is a no-op.

    What the job submitted, and these submitted, is cancelled with it.
    """
    with conn.transaction():
        row = next(iter(_cancel(conn, [job_id])), None)
        job = get(conn, job_id)
    if row is None and job.status in ("completed", "failed"):
        raise Conflict(f"job {job_id} is already {job.status}; there is nothing to cancel", job_status=job.status)
    return job


def _cancel(conn: Connection, ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """The rows that this asked to end, and then those that they submitted: a job that submits one holds its own row."""
    asked = conn.execute(sql.CANCEL, {"ids": list(ids)}).fetchall()
    if asked:
        _wake_children(conn, [row["id"] for row in asked if row["status"] in FINAL])
        theirs = conn.execute(sql.UNENDED_OF, {"ids": [row["id"] for row in asked]}).fetchall()
        if theirs:
            asked += _cancel(conn, [row["id"] for row in theirs])
    return asked


def retry(conn: Connection, job_id: UUID) -> Job:
    """Put a failed or cancelled job back, its failures counted anew; it waits while a parent has not completed, or for `run_at`."""
    if again := retry_many(conn, [job_id]):
        return again[0]
    job = get(conn, job_id)
    raise Conflict(f"job {job_id} is {job.status}; only failed and cancelled jobs can be retried", job_status=job.status)


def cancel_many(conn: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """`cancel` for all of these that have not ended and were not asked yet, and what they submitted; returns which."""
    with conn.transaction():
        return [row["id"] for row in _cancel(conn, ids)]


def retry_many(conn: Connection, ids: Sequence[UUID]) -> list[Job]:
    """`retry` for all of these that failed or were cancelled; returns them."""
    with conn.transaction():
        conn.execute(sql.LOCK_CHILDREN, {"parents": list(ids)})
        return [Job.model_validate(row) for row in conn.execute(sql.RETRY, {"ids": list(ids)}).fetchall()]


def set_priority(conn: Connection, job_id: UUID, priority: int) -> Job:
    """Change what has not started. Tell the broker again afterwards: it holds ids in lists by priority."""
    row = conn.execute(sql.SET_PRIORITY, {"id": job_id, "priority": priority}).fetchone()
    if row is None:
        job = get(conn, job_id)
        raise Conflict(f"job {job_id} is {job.status}; only what has not started has a priority", job_status=job.status)
    return Job.model_validate(row)


def dead(
    conn: Connection, *, kind: str | None = None, before: tuple[datetime, UUID] | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """What failed for good, the last to fail first; `before` is `failed_at` and `id` of the last one of the page before."""
    at, job_id = before or (None, None)
    return conn.execute(sql.DEAD, {"kind": kind, "before_at": at, "before_id": job_id, "limit": limit}).fetchall()


def rescue(conn: Connection, *, lease_s: float, since: datetime | None = None) -> list[UUID]:
    """Put back what was lost, wake what is due, fail or wake what waited for ended parents, free what a device blocked.

    Silence counts from `since` at the earliest: before it the caller could not have heard anybody's heartbeat.
    One process at a time does it (advisory lock); the others return at once with nothing. One that is stopped in the middle
    loses the lock after `RESCUER_SLEEPS_WITHIN_S`, or nobody would be rescued for as long. Returns the lost jobs.
    """
    with conn.transaction():
        conn.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{RESCUER_SLEEPS_WITHIN_S}s'")
        held = conn.execute("SELECT pg_try_advisory_xact_lock(hashtext('goldsmith.rescue')) AS held").fetchone()
        if not held or not held["held"]:
            return []
        lost = conn.execute(sql.LOST, {"lease": lease_s, "since": since}).fetchall()
        wake_due(conn)
        _wake_children(conn, None)
        conn.execute(sql.UNBLOCK, {"names": None})
        conn.execute(sql.UNPAUSE)
        if lost:
            _count_failed(conn, lost)
    return [row["id"] for row in lost]


def running_attempts(conn: Connection) -> set[str]:
    """`<id>-<attempt>` of each running job."""
    rows = conn.execute("SELECT id, attempt FROM jobs WHERE completed_at IS NULL AND status = 'running'")
    return {f"{row['id']}-{row['attempt']}" for row in rows}


def wake_due(conn: Connection, also: UUID | None = None) -> list[UUID]:
    """Queue the scheduled jobs whose time has come, and `also` whatever its time; returns which."""
    return [row["id"] for row in conn.execute(sql.WAKE_DUE, {"also": also}).fetchall()]


def tell(conn: Connection, queue: str, limit: int, *, retell_after_s: float = RETELL_AFTER_S) -> list[Told]:
    """Mark up to `limit` queued jobs as told, those never told first, and return them for publishing."""
    rows = conn.execute(sql.TELL, {"queue": queue, "limit": limit, "retell_after_s": retell_after_s}).fetchall()
    return [Told(**row) for row in rows]


def untold(conn: Connection) -> dict[str, int]:
    """How many unblocked queued jobs each queue has: what the broker should hold."""
    rows = conn.execute(
        "SELECT queue, count(*) AS n FROM jobs WHERE status = 'queued' AND completed_at IS NULL AND blocked_by IS NULL GROUP BY queue"
    )
    return {row["queue"]: row["n"] for row in rows}


def unfinished(conn: Connection) -> dict[str, dict[str, int]]:
    """Jobs that have not ended, by queue and state; every queue and state is there, also with 0."""
    counts = {queue: dict.fromkeys(("waiting", "scheduled", "queued", "running"), 0) for queue in ("io", "cpu", "gpu")}
    for row in conn.execute("SELECT queue, status, count(*) AS n FROM jobs WHERE completed_at IS NULL GROUP BY queue, status"):
        counts[row["queue"]][row["status"]] = row["n"]
    return counts
