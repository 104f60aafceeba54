"""The statements of a job's life; `goldsmith.jobs` says what each does and when."""

from __future__ import annotations

from goldsmith.job import Job

LATE_S = 60  # a run over its time limit has its worker's grace to go; then rescue writes the end

# Named, not `*`: a migration that adds a column must not change what a prepared statement returns.
COLUMNS = ", ".join(Job.model_fields)

# For one job or a thousand: `items` is a JSON array of rows, written, and returned, in its order.
SUBMIT = f"""
WITH item AS MATERIALIZED (
    SELECT uuidv7() AS id, item.* FROM ROWS FROM (jsonb_to_recordset(%(items)s) AS (
        kind text, config jsonb, queue text, timeout int, max_attempts int, priority int, run_at timestamptz,
        idempotency_key text, idempotency_sha256 text, created_by text, parents uuid[], on_parent_failure text, unique_key text,
        concurrency_key text, concurrency_limit int, pipeline_id uuid, pipeline_name text, submitted_by uuid,
        outside_workshops bool)) WITH ORDINALITY AS item
), new AS (
    INSERT INTO jobs (id, kind, config, queue, timeout, max_attempts, priority, run_at, idempotency_key, idempotency_sha256,
                      created_by, on_parent_failure, unique_key, concurrency_key, concurrency_limit, pipeline_id, pipeline_name,
                      submitted_by, outside_workshops, seq, status, blocked_by, published_at)
    SELECT item.id, kind, config, queue, timeout, max_attempts, priority, run_at, idempotency_key, idempotency_sha256,
           created_by, on_parent_failure, unique_key, concurrency_key, concurrency_limit, pipeline_id, pipeline_name,
           submitted_by, outside_workshops, 1, first.status, CASE WHEN first.status = 'queued' THEN first.blocked_by END,
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

WAITS = """
SELECT count(*) AS times, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS seconds
FROM job_events
WHERE job_id = %(id)s AND event = 'log' AND data->>'message' = %(waiting)s AND seq > (
    SELECT coalesce(max(seq), 0) FROM job_events
    WHERE job_id = %(id)s AND (event = 'retried' OR (event = 'log' AND data->>'message' = %(begun)s)))
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
SELECT id, queue, kind, status, gpu_id, concurrency_key, submitted_by, CASE WHEN caller_slot IS NOT NULL THEN created_by END AS limited,
    EXISTS (SELECT 1 FROM job_dependencies d WHERE d.parent_id = job.id) AS has_children
FROM job
"""

UNENDED_OF = "SELECT id FROM jobs WHERE submitted_by = ANY(%(ids)s) AND completed_at IS NULL ORDER BY id"

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

# Those whose time has come, and `also` whatever its time.
# Here and below, `completed_at IS NULL` lets the planner use the index of live jobs: 0.3 ms instead of 429 beside 300,000 ended ones.
WAKE_DUE = f"""
WITH job AS (
    UPDATE jobs SET status = 'queued', published_at = NULL, blocked_by = {PAUSED}, seq = seq + 1
    WHERE status = 'scheduled' AND completed_at IS NULL AND (run_at <= now() OR id = %(also)s::uuid)
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
  AND (%(submitted_by)s::uuid IS NULL OR submitted_by = %(submitted_by)s)
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
