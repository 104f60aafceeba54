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
from goldsmith.db import AsyncConnection, Connection
from goldsmith.errors import Conflict, FencedOut, InvalidInput, NotFound
from goldsmith.job import FINAL, Job, Status

Fate = Literal["fail", "run", "cancel"]
"""What becomes of a job when one that it depends on failed or was cancelled."""

LATE_S = 60  # a run over its time limit has its worker's grace to go; then rescue writes the end
RETELL_AFTER_S = 30  # a message told this long ago and not claimed is either behind a long queue or lost


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
    outside_workshops: bool = False
    forced: bool = False
    """It would wait for the end of a workshop and was told not to: `submit` and `submit_many` write that into the audit log."""


@dataclass(frozen=True)
class Ended:
    status: Status
    woke: bool
    """Whether other jobs may now be queued that the broker has not heard of."""


# Named, not `*`: a migration that adds a column must not change what a prepared statement returns.
COLUMNS = ", ".join(Job.model_fields)

# For one job or a thousand: `items` is a JSON array of rows, written, and returned, in its order.
SUBMIT = f"""
WITH item AS MATERIALIZED (
    SELECT uuidv7() AS id, item.* FROM ROWS FROM (jsonb_to_recordset(%(items)s) AS (
        kind text, config jsonb, queue text, timeout int, max_attempts int, priority int, run_at timestamptz,
        idempotency_key text, idempotency_sha256 text, created_by text, parents uuid[], on_parent_failure text, unique_key text,
        concurrency_key text, concurrency_limit int, pipeline_id uuid, pipeline_name text, outside_workshops bool)) WITH ORDINALITY AS item
), new AS (
    INSERT INTO jobs (id, kind, config, queue, timeout, max_attempts, priority, run_at, idempotency_key, idempotency_sha256,
                      created_by, on_parent_failure, unique_key, concurrency_key, concurrency_limit, pipeline_id, pipeline_name,
                      outside_workshops, seq, status, blocked_by, published_at)
    SELECT item.id, kind, config, queue, timeout, max_attempts, priority, run_at, idempotency_key, idempotency_sha256,
           created_by, on_parent_failure, unique_key, concurrency_key, concurrency_limit, pipeline_id, pipeline_name,
           outside_workshops, 1, first.status, CASE WHEN first.status = 'queued' THEN first.blocked_by END,
           CASE WHEN first.status = 'queued' AND first.blocked_by IS NULL THEN now() END
    FROM item CROSS JOIN LATERAL (SELECT CASE
        WHEN cardinality(item.parents) > 0 AND EXISTS (
            SELECT 1 FROM unnest(item.parents) AS one JOIN jobs parent ON parent.id = one
            WHERE CASE WHEN item.on_parent_failure = 'run' THEN completed_at IS NULL ELSE status <> 'completed' END
        ) THEN 'waiting'
        WHEN item.run_at > now() THEN 'scheduled'
        ELSE 'queued' END AS status,
        (SELECT 'paused:' || p.kind FROM paused_kinds p WHERE p.kind = item.kind) AS blocked_by) AS first
    ON CONFLICT (created_by, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING *
), parents AS (
    INSERT INTO job_dependencies (job_id, parent_id) SELECT new.id, unnest(parents) FROM new JOIN item ON item.id = new.id
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data)
    SELECT id, 1, 0, 'submitted', jsonb_strip_nulls(jsonb_build_object('status', status, 'request_id', %(request_id)s::text)) FROM new
)
SELECT {", ".join(f"new.{name}" for name in Job.model_fields)} FROM new JOIN item ON item.id = new.id ORDER BY item.ordinality
"""

# Of two submits with one key the second waits here, and then sees the first one's row. Jobs without a key never come by.
UNIQUE_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(kind)s || ' ' || %(unique_key)s, 0))"
UNIQUE = f"""
SELECT {COLUMNS} FROM jobs
WHERE kind = %(kind)s AND unique_key = %(unique_key)s AND status NOT IN ('failed', 'cancelled')
  AND (completed_at IS NULL OR created_at > now() - %(unique_for_s)s * interval '1 second')
ORDER BY id DESC LIMIT 1
"""

PAUSED = "(SELECT 'paused:' || p.kind FROM paused_kinds p WHERE p.kind = jobs.kind)"
RUNNING_WITH_KEY = "(SELECT count(*) FROM jobs r WHERE r.status = 'running' AND r.concurrency_key = jobs.concurrency_key)"
RUNNING_OF_CALLER = "(SELECT count(*) FROM jobs r WHERE r.status = 'running' AND r.created_by = jobs.created_by)"
RUNNING_AT_ONCE = "(SELECT k.running_at_once FROM api_keys k WHERE k.name = jobs.created_by)"

# The counts refuse; the slots' unique indexes decide between two claims that counted at the same moment.
CLAIM = f"""
WITH job AS (
    UPDATE jobs SET status = 'running', attempt = attempt + 1, worker = %(worker)s, gpu_id = %(gpu_id)s,
        heartbeat_at = now(), started_at = now(), blocked_by = NULL, seq = seq + 1,
        concurrency_slot = CASE WHEN concurrency_key IS NOT NULL THEN (
            SELECT min(slot) FROM generate_series(1, concurrency_limit) AS slot WHERE NOT EXISTS (SELECT 1 FROM jobs r
            WHERE r.status = 'running' AND r.concurrency_key = jobs.concurrency_key AND r.concurrency_slot = slot)) END,
        caller_slot = (
            SELECT min(slot) FROM generate_series(1, {RUNNING_AT_ONCE}) AS slot WHERE NOT EXISTS (SELECT 1 FROM jobs r
            WHERE r.status = 'running' AND r.created_by = jobs.created_by AND r.caller_slot = slot))
    WHERE id = %(id)s AND status = 'queued' AND priority = coalesce(%(priority)s::int, priority)
      AND NOT EXISTS (SELECT 1 FROM paused_kinds p WHERE p.kind = jobs.kind)
      AND CASE WHEN concurrency_key IS NULL THEN true ELSE {RUNNING_WITH_KEY} < concurrency_limit END
      AND CASE WHEN {RUNNING_AT_ONCE} IS NULL THEN true ELSE {RUNNING_OF_CALLER} < {RUNNING_AT_ONCE} END
    RETURNING *
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data)
    SELECT id, seq, attempt, 'started', jsonb_build_object('worker', worker, 'gpu_id', gpu_id) FROM job
)
SELECT id, kind, config, attempt, failures, max_attempts, timeout,
    (SELECT data->>'request_id' FROM job_events WHERE job_id = job.id AND seq = 1) AS request_id
FROM job
"""

# After a claim that got nothing: why, if the row still waits. Where there is no reason any more, rescue tells it at once.
BLOCK = f"""
UPDATE jobs SET seq = seq + 1, published_at = NULL, blocked_by = CASE
    WHEN EXISTS (SELECT 1 FROM paused_kinds p WHERE p.kind = jobs.kind) THEN 'paused:' || kind
    WHEN {RUNNING_WITH_KEY} >= concurrency_limit THEN 'concurrency:' || concurrency_key
    WHEN {RUNNING_OF_CALLER} >= {RUNNING_AT_ONCE} THEN 'key:' || created_by END
WHERE id = %(id)s AND status = 'queued' AND priority = coalesce(%(priority)s::int, priority)
"""

HEARTBEAT = """
UPDATE jobs SET heartbeat_at = now() WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'running'
RETURNING cancel_requested_at IS NOT NULL AS cancel
"""

PROGRESS = """
WITH job AS (
    UPDATE jobs SET progress = %(progress)s, message = %(message)s, seq = seq + 1
    WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'running'
    RETURNING id, seq, attempt, cancel_requested_at
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data) SELECT id, seq, attempt, %(event)s, %(data)s FROM job
)
SELECT cancel_requested_at IS NOT NULL AS cancel FROM job
"""

LOG = """
WITH job AS (
    UPDATE jobs SET seq = seq + 1 WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'running'
    RETURNING id, seq, attempt
)
INSERT INTO job_events (job_id, seq, attempt, event, data) SELECT id, seq, attempt, 'log', %(data)s FROM job
RETURNING seq
"""

# One statement for every ending. A cancel that was asked for wins over being put back; `completed` wins over a cancel.
FINISH = """
WITH before AS (
    SELECT id, CASE
        WHEN %(outcome)s IN ('completed', 'failed', 'cancelled') THEN %(outcome)s
        WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
        WHEN %(outcome)s = 'retry' AND failures + 1 >= max_attempts THEN 'failed'
        ELSE 'scheduled' END AS status
    FROM jobs WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'running' FOR UPDATE
), job AS (
    UPDATE jobs SET status = before.status, seq = seq + 1,
        failures = failures + (%(outcome)s IN ('failed', 'retry'))::int,
        result = CASE WHEN before.status = 'completed' THEN %(result)s ELSE result END,
        error = CASE WHEN before.status = 'failed' THEN %(error)s ELSE NULL END,
        progress = CASE WHEN before.status = 'completed' THEN 100 ELSE progress END,
        message = CASE before.status WHEN 'completed' THEN 'Completed' WHEN 'cancelled' THEN 'Cancelled' ELSE %(message)s END,
        run_at = CASE WHEN before.status = 'scheduled' THEN
            coalesce(%(run_at)s::timestamptz, now() + %(after_s)s * interval '1 second') ELSE run_at END,
        published_at = NULL,
        completed_at = CASE WHEN before.status = 'scheduled' THEN NULL ELSE now() END
    FROM before WHERE jobs.id = before.id
    RETURNING jobs.*
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data)
    SELECT id, seq, attempt, status, jsonb_build_object('message', message, 'failures', failures, 'run_at', run_at,
        'seconds', extract(epoch FROM now() - started_at)) FROM job
)
SELECT id, queue, kind, status, gpu_id, concurrency_key, CASE WHEN caller_slot IS NOT NULL THEN created_by END AS limited,
    EXISTS (SELECT 1 FROM job_dependencies d WHERE d.parent_id = job.id) AS has_children
FROM job
"""

# The numbers of /metrics; last in a transaction, as others wait for these rows.
COUNT_FAILED_ATTEMPTS = """
INSERT INTO failed_attempts (queue, kind, cause, count)
SELECT queue, kind, cause, count(*) FROM jsonb_to_recordset(%(failed)s) AS failed (queue text, kind text, cause text)
GROUP BY queue, kind, cause ORDER BY queue, kind, cause
ON CONFLICT (queue, kind, cause) DO UPDATE SET count = failed_attempts.count + excluded.count
"""

CANCEL = """
WITH job AS (
    UPDATE jobs SET cancel_requested_at = now(), seq = seq + 1,
        status = CASE WHEN status = 'running' THEN status ELSE 'cancelled' END,
        message = CASE WHEN status = 'running' THEN message ELSE 'Cancelled' END,
        completed_at = CASE WHEN status = 'running' THEN NULL ELSE now() END
    WHERE id = ANY(%(ids)s) AND status IN ('waiting', 'scheduled', 'queued', 'running') AND cancel_requested_at IS NULL
    RETURNING *
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data)
    SELECT id, seq, attempt, CASE WHEN status = 'cancelled' THEN 'cancelled' ELSE 'cancel_requested' END, '{}' FROM job
)
SELECT id, status FROM job
"""

# Before its first attempt `run_at` is the caller's and stays; afterwards it was a back-off, which a retry does not keep.
RETRY = f"""
WITH job AS (
    UPDATE jobs SET status = again.status, failures = 0, error = NULL, result = NULL, progress = 0, message = '',
        completed_at = NULL, cancel_requested_at = NULL, run_at = again.run_at,
        blocked_by = CASE WHEN again.status = 'queued' THEN {PAUSED} END, seq = seq + 1,
        published_at = CASE WHEN again.status = 'queued' THEN now() END
    FROM (SELECT c.id, later.run_at, CASE WHEN EXISTS (
        SELECT 1 FROM job_dependencies d JOIN jobs p ON p.id = d.parent_id
        WHERE d.job_id = c.id
          AND CASE WHEN c.on_parent_failure = 'run' THEN p.completed_at IS NULL ELSE p.status <> 'completed' END
    ) THEN 'waiting' WHEN later.run_at > now() THEN 'scheduled' ELSE 'queued' END AS status
    FROM jobs c, LATERAL (SELECT CASE WHEN c.attempt = 0 THEN c.run_at END AS run_at) AS later WHERE c.id = ANY(%(ids)s)) AS again
    WHERE jobs.id = again.id AND jobs.status IN ('failed', 'cancelled')
    RETURNING jobs.*
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data)
    SELECT id, seq, attempt, 'retried', jsonb_build_object('status', status) FROM job
)
SELECT {COLUMNS} FROM job
"""

SET_PRIORITY = f"""
WITH job AS (
    UPDATE jobs SET priority = %(priority)s, seq = seq + 1,
        published_at = CASE WHEN status = 'queued' AND blocked_by IS NULL THEN now() ELSE published_at END
    WHERE id = %(id)s AND status IN ('waiting', 'scheduled', 'queued')
    RETURNING *
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data)
    SELECT id, seq, attempt, 'priority', jsonb_build_object('priority', priority) FROM job
)
SELECT {COLUMNS} FROM job
"""

LOST = f"""
WITH lost AS (
    SELECT id, CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                    WHEN now() - started_at > (timeout + %(lease)s + {LATE_S}) * interval '1 second' THEN 'failed'
                    WHEN failures + 1 >= max_attempts THEN 'failed' ELSE 'queued' END AS status,
        CASE WHEN now() - started_at > (timeout + %(lease)s + {LATE_S}) * interval '1 second'
             THEN format('it ran longer than its time limit of %%s s and worker %%s could not end it', timeout, worker)
             ELSE format('worker %%s gave no sign of life for more than %%s s', worker, %(lease)s::float) END AS cause,
        CASE WHEN now() - started_at > (timeout + %(lease)s + {LATE_S}) * interval '1 second' THEN 'Time limit' ELSE 'Worker lost' END AS title
    FROM jobs
    WHERE completed_at IS NULL AND status = 'running' AND (
        now() - greatest(heartbeat_at, pg_postmaster_start_time(), %(since)s::timestamptz) > %(lease)s * interval '1 second'
        OR now() - started_at > (timeout + %(lease)s + {LATE_S}) * interval '1 second')
    FOR UPDATE SKIP LOCKED
), job AS (
    UPDATE jobs SET status = lost.status, failures = failures + 1, seq = seq + 1, published_at = NULL,
        blocked_by = CASE WHEN lost.status = 'queued' THEN {PAUSED} END, message =
            CASE lost.status WHEN 'failed' THEN 'Error: ' || lost.cause WHEN 'cancelled' THEN 'Cancelled' ELSE 'Put back: ' || lost.cause END,
        error = CASE WHEN lost.status = 'failed' THEN jsonb_build_object('type', 'about:blank', 'title', lost.title,
            'detail', format('%%s; attempt %%s of %%s', lost.cause, failures + 1, max_attempts)) END,
        completed_at = CASE WHEN lost.status = 'queued' THEN NULL ELSE now() END
    FROM lost WHERE jobs.id = lost.id
    RETURNING jobs.*, lost.title
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data)
    SELECT id, seq, attempt, CASE WHEN status = 'queued' THEN 'rescued' ELSE status END, jsonb_build_object('message', message) FROM job
)
SELECT id, queue, kind, title AS cause FROM job
"""

# Here and below, `completed_at IS NULL` lets the planner use the index of live jobs: 0.3 ms instead of 429 beside 300,000 ended ones.
WAKE_DUE = f"""
WITH job AS (
    UPDATE jobs SET status = 'queued', published_at = NULL, blocked_by = {PAUSED}, seq = seq + 1
    WHERE status = 'scheduled' AND completed_at IS NULL AND run_at <= now()
    RETURNING *
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data)
    SELECT id, seq, attempt, 'woken', jsonb_build_object('message', message) FROM job
)
SELECT id FROM job
"""

# Who judges a child holds its row first, in a statement of its own: of two parents that end at the same moment the second
# one sees the first's end, and a parent's retry comes before the judgement or after it. `parents`: of these; null: all that
# can be judged, without those that somebody else holds, who judges them.
LOCK_CHILDREN = """
SELECT id FROM jobs WHERE status = 'waiting' AND completed_at IS NULL
  AND id IN (SELECT job_id FROM job_dependencies WHERE parent_id = ANY(%(parents)s)) ORDER BY id FOR NO KEY UPDATE
"""
LOCK_WAITING = """
SELECT id FROM jobs j WHERE status = 'waiting' AND completed_at IS NULL AND EXISTS (
    SELECT 1 FROM job_dependencies d JOIN jobs p ON p.id = d.parent_id WHERE d.job_id = j.id
    HAVING bool_and(p.completed_at IS NOT NULL) OR j.on_parent_failure <> 'run' AND bool_or(p.status IN ('failed', 'cancelled')))
FOR NO KEY UPDATE SKIP LOCKED
"""

# Children of ended parents: when all have ended they go; when one failed or was cancelled, `on_parent_failure` decides.
WAKE_WAITING = f"""
WITH parents AS (
    SELECT j.id, j.on_parent_failure AS fate, j.run_at, bool_and(p.completed_at IS NOT NULL) AS ended,
        string_agg(p.id::text || ' (' || p.kind || ') ended ' || p.status, ', ') FILTER (WHERE p.status IN ('failed', 'cancelled')) AS bad
    FROM jobs j JOIN job_dependencies d ON d.job_id = j.id JOIN jobs p ON p.id = d.parent_id
    WHERE j.id = ANY(%(ids)s) AND j.status = 'waiting'
    GROUP BY j.id
), next AS (
    SELECT id, bad, CASE
        WHEN bad IS NOT NULL AND fate = 'fail' THEN 'failed'
        WHEN bad IS NOT NULL AND fate = 'cancel' THEN 'cancelled'
        WHEN ended AND run_at > now() THEN 'scheduled'
        WHEN ended THEN 'queued' END AS status
    FROM parents
), job AS (
    UPDATE jobs SET seq = seq + 1, published_at = NULL, status = next.status,
        blocked_by = CASE WHEN next.status = 'queued' THEN {PAUSED} END,
        completed_at = CASE WHEN next.status IN ('failed', 'cancelled') THEN now() END,
        message = CASE next.status WHEN 'failed' THEN 'Error: it waited for ' || bad
                                   WHEN 'cancelled' THEN 'Cancelled: it waited for ' || bad ELSE message END,
        error = CASE WHEN next.status = 'failed' THEN
            jsonb_build_object('type', 'about:blank', 'title', 'Parent job did not complete', 'detail', 'it waited for ' || bad) END
    FROM next WHERE jobs.id = next.id AND jobs.status = 'waiting' AND next.status IS NOT NULL
    RETURNING jobs.*
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data)
    SELECT id, seq, attempt, CASE WHEN completed_at IS NULL THEN 'woken' ELSE status END, jsonb_build_object('message', message)
    FROM job
)
SELECT id, status FROM job
"""

# A row waits by name: for a device, or for a concurrency key. One for each name is let go, the most urgent first, when the
# device is idle or fewer run with the key than the row allows. `names`: only these; null: all.
UNBLOCK = f"""
WITH names AS (
    SELECT name, (SELECT count(*) FROM jobs r WHERE r.status = 'running' AND r.completed_at IS NULL
                  AND name IN ('gpu:' || r.gpu_id, 'concurrency:' || r.concurrency_key, 'key:' || r.created_by)) AS running
    FROM (SELECT DISTINCT blocked_by AS name FROM jobs WHERE completed_at IS NULL AND status = 'queued' AND blocked_by IS NOT NULL
          AND (%(names)s::text[] IS NULL OR blocked_by = ANY(%(names)s))) AS waited_for
), go AS (
    SELECT next.id FROM names, LATERAL (
        SELECT id FROM jobs WHERE completed_at IS NULL AND status = 'queued' AND blocked_by = name AND CASE
            WHEN name LIKE 'gpu:%%' THEN running = 0
            WHEN name LIKE 'concurrency:%%' THEN running < concurrency_limit
            WHEN name LIKE 'key:%%' THEN running < coalesce({RUNNING_AT_ONCE}, running + 1) END
        ORDER BY priority DESC, id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS next
)
UPDATE jobs SET blocked_by = NULL, published_at = NULL, seq = seq + 1 FROM go WHERE jobs.id = go.id
"""

# All rows that wait for a kind which is not paused any more.
UNPAUSE = """
UPDATE jobs SET blocked_by = NULL, published_at = NULL, seq = seq + 1
WHERE completed_at IS NULL AND status = 'queued' AND blocked_by = 'paused:' || kind AND NOT EXISTS (SELECT 1 FROM paused_kinds p WHERE p.kind = jobs.kind)
RETURNING id
"""

TELL = """
UPDATE jobs SET published_at = now() WHERE id IN (
    SELECT id FROM jobs
    WHERE status = 'queued' AND completed_at IS NULL AND queue = %(queue)s AND blocked_by IS NULL
      AND (published_at IS NULL OR published_at < now() - %(retell_after_s)s * interval '1 second')
    ORDER BY (published_at IS NOT NULL), priority DESC, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) RETURNING id, kind, queue, priority
"""

LIST = f"""
SELECT {COLUMNS} FROM jobs
WHERE (%(kind)s::text IS NULL OR kind = %(kind)s) AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(created_after)s::timestamptz IS NULL OR created_at > %(created_after)s)
  AND (%(before)s::uuid IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(limit)s
"""

DEAD = """
SELECT id, kind, queue, error, attempt, failures, max_attempts, created_by, created_at, completed_at AS failed_at FROM jobs
WHERE status = 'failed' AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(before_at)s::timestamptz IS NULL OR (completed_at, id) < (%(before_at)s, %(before_id)s::uuid))
ORDER BY completed_at DESC, id DESC LIMIT %(limit)s
"""

# One statement, so that the state is that of just these events: a reader that has the last one knows whether more can come.
EVENTS = """
SELECT job.status, e.seq, e.attempt, e.event, e.data, e.created_at
FROM jobs job LEFT JOIN LATERAL (
    SELECT seq, attempt, event, data, created_at FROM job_events WHERE job_id = job.id AND seq > %(after)s ORDER BY seq LIMIT %(limit)s
) e ON true
WHERE job.id = %(id)s ORDER BY e.seq
"""

DEVSERVER_STATUS = """
SELECT id, status, progress, message, result, error, created_at, started_at, completed_at FROM jobs
WHERE id = %(id)s AND (completed_at IS NULL OR completed_at > now() - interval '24 hours')
"""

GET = f"SELECT {COLUMNS} FROM jobs WHERE id = %(id)s"


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
            "outside_workshops": new.outside_workshops,
        }
        for new in news
    ]
    return {"items": Jsonb(rows), "request_id": logging.request_id()}


def _unique(new: NewJob) -> dict[str, Any]:
    return {"kind": new.kind, "unique_key": new.unique_key, "unique_for_s": new.unique_for_s}


_BY_KEY = f"SELECT {COLUMNS}, idempotency_sha256 FROM jobs WHERE created_by = %s AND idempotency_key = %s"


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
            conn.execute(UNIQUE_LOCK, _unique(new))
            if there := conn.execute(UNIQUE, _unique(new)).fetchone():
                return Job.model_validate(there), False
        row = conn.execute(SUBMIT, _items([new])).fetchone()
        _note_force(conn, new, row)
    if row is not None:
        return Job.model_validate(row), True
    return _same_request(conn.execute(_BY_KEY, (new.created_by, new.idempotency_key)).fetchone(), new), False


async def submit_async(conn: AsyncConnection, new: NewJob) -> tuple[Job, bool]:
    """`submit` for the event loop; the same statements."""
    async with conn.transaction() if new.unique_key is not None else nullcontext():
        if new.unique_key is not None:
            await conn.execute(UNIQUE_LOCK, _unique(new))
            if there := await (await conn.execute(UNIQUE, _unique(new))).fetchone():
                return Job.model_validate(there), False
        row = await (await conn.execute(SUBMIT, _items([new]))).fetchone()
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
        rows = conn.execute(SUBMIT, _items([news[index] for index in plain])).fetchall()
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
    row = conn.execute(GET, {"id": job_id}).fetchone()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return Job.model_validate(row)


async def get_async(conn: AsyncConnection, job_id: UUID) -> Job:
    """`get` for the event loop; the same statement."""
    row = await (await conn.execute(GET, {"id": job_id})).fetchone()
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


def list_jobs(
    conn: Connection,
    *,
    kind: str | None = None,
    status: str | None = None,
    created_after: datetime | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[Job]:
    """Newest first; `before` is the last id of the page before (ids sort by age)."""
    values = {"kind": kind, "status": status, "created_after": created_after, "before": before, "limit": limit}
    return [Job.model_validate(row) for row in conn.execute(LIST, values).fetchall()]


async def events_async(
    conn: AsyncConnection, job_id: UUID, *, after: int = 0, limit: int = 500
) -> tuple[Status, list[dict[str, Any]]]:
    """The job's state, and its events after `after` in the order in which they were committed."""
    rows = await (await conn.execute(EVENTS, {"id": job_id, "after": after, "limit": limit})).fetchall()
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
            row = conn.execute(CLAIM, values).fetchone()
        except pg.UniqueViolation as error:
            if error.diag.constraint_name in ("ix_jobs_one_run_per_slot", "ix_jobs_one_run_per_caller_slot"):
                continue  # another claim took that slot at this very moment; it is counted now
            conn.execute(
                "UPDATE jobs SET blocked_by = %s, seq = seq + 1 WHERE id = %s AND status = 'queued'", (f"gpu:{gpu_id}", job_id)
            )
            return None
        if row is not None:
            return Claimed(**row)
        conn.execute(BLOCK, {"id": job_id, "priority": priority})
        return None


def heartbeat(conn: Connection, job_id: UUID, attempt: int) -> bool:
    """Say that the attempt lives. Returns whether a cancel was asked for; raises `FencedOut` when it was given up."""
    row = conn.execute(HEARTBEAT, {"id": job_id, "attempt": attempt}).fetchone()
    if row is None:
        raise FencedOut(f"attempt {attempt} of job {job_id} was given up")
    return bool(row["cancel"])


def progress(
    conn: Connection, job_id: UUID, attempt: int, percent: float, message: str, metrics: Sequence[Mapping[str, float | None]]
) -> bool:
    """Record one event with the metrics gathered since the last. Returns whether a cancel was asked for."""
    data = Jsonb({"progress": percent, "message": message, "metrics": list(metrics)})
    values = {"id": job_id, "attempt": attempt, "progress": percent, "message": message, "event": "progress", "data": data}
    row = conn.execute(PROGRESS, values).fetchone()
    if row is None:
        raise FencedOut(f"attempt {attempt} of job {job_id} was given up")
    return bool(row["cancel"])


def log(conn: Connection, job_id: UUID, attempt: int, message: str, data: Mapping[str, Any]) -> None:
    row = conn.execute(LOG, {"id": job_id, "attempt": attempt, "data": Jsonb({"message": message, **data})}).fetchone()
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
        row = conn.execute(FINISH, values).fetchone()
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
            woke = conn.execute(UNBLOCK, {"names": freed}).rowcount > 0 or woke
    return Ended(row["status"], woke)


def _count_failed(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    failed = [{name: row[name] for name in ("queue", "kind", "cause")} for row in rows]
    conn.execute(COUNT_FAILED_ATTEMPTS, {"failed": Jsonb(failed)})


def _wake_children(conn: Connection, parents: Sequence[UUID] | None) -> bool:
    """Wake or end what waited for these, or for any; a child that ends here may itself have children. Whether there was any."""
    found = False
    while True:
        held = conn.execute(LOCK_WAITING) if parents is None else conn.execute(LOCK_CHILDREN, {"parents": list(parents)})
        ids = [row["id"] for row in held.fetchall()]
        woken = conn.execute(WAKE_WAITING, {"ids": ids}).fetchall() if ids else []
        found = found or bool(woken)
        parents = [row["id"] for row in woken if row["status"] in FINAL]
        if not parents:
            return found


def cancel(conn: Connection, job_id: UUID) -> Job:
    """Ask for a cancel: what has not started is cancelled at once; what runs is asked. Twice is a no-op."""
    with conn.transaction():
        row = conn.execute(CANCEL, {"ids": [job_id]}).fetchone()
        if row is not None and row["status"] == "cancelled":
            _wake_children(conn, [job_id])
        job = get(conn, job_id)
    if row is None and job.status in ("completed", "failed"):
        raise Conflict(f"job {job_id} is already {job.status}; there is nothing to cancel", job_status=job.status)
    return job


def retry(conn: Connection, job_id: UUID) -> Job:
    """Put a failed or cancelled job back, its failures counted anew; it waits while a parent has not completed, or for `run_at`."""
    if again := retry_many(conn, [job_id]):
        return again[0]
    job = get(conn, job_id)
    raise Conflict(f"job {job_id} is {job.status}; only failed and cancelled jobs can be retried", job_status=job.status)


def cancel_many(conn: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """`cancel` for all of these that have not ended and were not asked yet; returns which."""
    with conn.transaction():
        asked = conn.execute(CANCEL, {"ids": list(ids)}).fetchall()
        _wake_children(conn, [row["id"] for row in asked if row["status"] in FINAL])
    return [row["id"] for row in asked]


def retry_many(conn: Connection, ids: Sequence[UUID]) -> list[Job]:
    """`retry` for all of these that failed or were cancelled; returns them."""
    with conn.transaction():
        conn.execute(LOCK_CHILDREN, {"parents": list(ids)})
        return [Job.model_validate(row) for row in conn.execute(RETRY, {"ids": list(ids)}).fetchall()]


def set_priority(conn: Connection, job_id: UUID, priority: int) -> Job:
    """Change what has not started. Tell the broker again afterwards: it holds ids in lists by priority."""
    row = conn.execute(SET_PRIORITY, {"id": job_id, "priority": priority}).fetchone()
    if row is None:
        job = get(conn, job_id)
        raise Conflict(f"job {job_id} is {job.status}; only what has not started has a priority", job_status=job.status)
    return Job.model_validate(row)


def dead(
    conn: Connection, *, kind: str | None = None, before: tuple[datetime, UUID] | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """What failed for good, the last to fail first; `before` is `failed_at` and `id` of the last one of the page before."""
    at, job_id = before or (None, None)
    return conn.execute(DEAD, {"kind": kind, "before_at": at, "before_id": job_id, "limit": limit}).fetchall()


def rescue(conn: Connection, *, lease_s: float, since: datetime | None = None) -> list[UUID]:
    """Put back what was lost, wake what is due, fail or wake what waited for ended parents, free what a device blocked.

    Silence counts from `since` at the earliest: before it the caller could not have heard anybody's heartbeat.
    One process at a time does it (advisory lock); the others return at once with nothing. Returns the lost jobs.
    """
    with conn.transaction():
        held = conn.execute("SELECT pg_try_advisory_xact_lock(hashtext('goldsmith.rescue')) AS held").fetchone()
        if not held or not held["held"]:
            return []
        lost = conn.execute(LOST, {"lease": lease_s, "since": since}).fetchall()
        wake_due(conn)
        _wake_children(conn, None)
        conn.execute(UNBLOCK, {"names": None})
        conn.execute(UNPAUSE)
        if lost:
            _count_failed(conn, lost)
    return [row["id"] for row in lost]


def running_attempts(conn: Connection) -> set[str]:
    """`<id>-<attempt>` of each running job."""
    rows = conn.execute("SELECT id, attempt FROM jobs WHERE completed_at IS NULL AND status = 'running'")
    return {f"{row['id']}-{row['attempt']}" for row in rows}


def wake_due(conn: Connection) -> list[UUID]:
    """Queue the scheduled jobs whose time has come; returns which."""
    return [row["id"] for row in conn.execute(WAKE_DUE).fetchall()]


def tell(conn: Connection, queue: str, limit: int, *, retell_after_s: float = RETELL_AFTER_S) -> list[Told]:
    """Mark up to `limit` queued jobs as told, those never told first, and return them for publishing."""
    rows = conn.execute(TELL, {"queue": queue, "limit": limit, "retell_after_s": retell_after_s}).fetchall()
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
