"""Retention: jobs that ended long ago go, with their events, artifacts and what else they left. Nothing goes that is built on.

Kept, however old: what a dataset or adapter version, a decision, a schedule, an experiment or the live contexts come from,
a router that was asked within the time, and what a job that has not ended depends on; of each of these also its own parents,
by dependency and by the references in its config, and theirs. The ledger of what teachers cost stays too, without the job.

Rows go first, files after: a crash in between leaves files that no row knows, which the next sweep removes.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import structlog
from pydantic import BaseModel

from goldsmith import erasure, metrics
from goldsmith.db import Connection, Database
from goldsmith.kinds.base import UUID_PATTERN
from goldsmith.settings import Settings
from goldsmith.storage import Storage

log = structlog.get_logger()
FIRST_AFTER_S, EVERY_S = 60.0, 3600.0
BATCH = 500  # jobs in a transaction: its locks are held for well under a second
LOG_NAME = re.compile(rf"({UUID_PATTERN})\.\d+\.log")


class Swept(BaseModel):
    """What a sweep removed, or would remove."""

    dry_run: bool
    keep_jobs_days: int
    """0: nothing goes."""
    jobs: int = 0
    events: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    orphans: int = 0
    """Folders and logs of jobs that have no row any more, these jobs' own among them."""


_REFERENCE = f"'job:({UUID_PATTERN})'"

KEPT = f"""
kept (id) AS (
    SELECT id FROM jobs WHERE completed_at IS NULL
    UNION SELECT job_id FROM dataset_versions
    UNION SELECT job_id FROM adapter_versions
    UNION SELECT job_id FROM ab_decisions
    UNION SELECT router_job_id FROM routes WHERE created_at >= now() - %(days)s * interval '1 day'
    UNION SELECT found[1]::uuid FROM (
        SELECT manifest::text || parents::text FROM dataset_versions
        UNION ALL SELECT config::text FROM schedules
        UNION ALL SELECT plan::text FROM experiments
    ) AS texts (text), regexp_matches(text, {_REFERENCE}, 'g') AS found
    UNION (
        SELECT a.job_id FROM artifacts a JOIN jobs j ON j.id = a.job_id
        WHERE a.name = 'contexts.json' AND j.status = 'completed' ORDER BY j.id DESC LIMIT 1
    )
    UNION
    SELECT up.id FROM kept, LATERAL (
        SELECT parent_id FROM job_dependencies WHERE job_id = kept.id
        UNION ALL
        SELECT found[1]::uuid FROM jobs j, regexp_matches(j.config::text, {_REFERENCE}, 'g') AS found WHERE j.id = kept.id
        UNION ALL
        SELECT id FROM jobs WHERE submitted_by = kept.id
    ) AS up (id)
)
"""

OLD = "completed_at < now() - %(days)s * interval '1 day' AND created_at < now() - %(days)s * interval '1 day'"
FREE = f"{OLD} AND NOT EXISTS (SELECT 1 FROM kept WHERE kept.id = jobs.id)"

DOOMED = f"WITH RECURSIVE {KEPT} SELECT id FROM jobs WHERE {FREE} ORDER BY id"
LOCK = f"{DOOMED} LIMIT {BATCH} FOR UPDATE OF jobs SKIP LOCKED"
# Asked again when the rows are locked: from now on nobody can come to depend on them.
STILL_DOOMED = f"WITH RECURSIVE {KEPT} SELECT id FROM jobs WHERE {FREE} AND id = ANY(%(ids)s)"

COUNTS = """
SELECT (SELECT count(*) FROM job_events WHERE job_id = ANY(%(ids)s)) AS events, count(*) AS artifacts,
    coalesce(sum(bytes), 0)::bigint AS artifact_bytes
FROM artifacts WHERE job_id = ANY(%(ids)s)
"""

REMOVE = (
    "UPDATE teacher_calls SET job_id = NULL WHERE job_id = ANY(%(ids)s)",
    "DELETE FROM rules WHERE job_id = ANY(%(ids)s)",
    "DELETE FROM sessions WHERE job_id = ANY(%(ids)s)",
    "DELETE FROM clusters WHERE job_id = ANY(%(ids)s)",
    "DELETE FROM cluster_rules WHERE job_id = ANY(%(ids)s)",
    # a run that a later import found unchanged passes to the newest of those that stay
    """
    UPDATE runs SET job_id = heir.job_id FROM (
        SELECT DISTINCT ON (run_id) run_id, job_id FROM run_imports WHERE NOT job_id = ANY(%(ids)s) ORDER BY run_id, job_id DESC
    ) AS heir
    WHERE runs.id = heir.run_id AND runs.job_id = ANY(%(ids)s)
    """,
    "DELETE FROM runs WHERE job_id = ANY(%(ids)s)",
    "DELETE FROM jobs WHERE id = ANY(%(ids)s)",  # events, artifacts and dependencies go with them
)


def sweep(conn: Connection, settings: Settings, *, days: int | None = None, dry_run: bool = False) -> Swept:
    """Remove what ended more than `days` (else `keep_jobs_days`) days ago and nothing is built on."""
    days = settings.keep_jobs_days if days is None else days
    swept = Swept(dry_run=dry_run, keep_jobs_days=days)
    storage = Storage(settings.state_dir)
    if not dry_run:
        erasure.remove_files(conn, storage)  # what an erasure left that was cut off
    if days == 0:
        return swept
    if dry_run:
        ids = [row["id"] for row in conn.execute(DOOMED, {"days": days}).fetchall()]
        _count(conn, swept, ids)
        swept.orphans = len(list(_orphans(conn, storage, settings.logs, days, also=ids)))
        return swept
    metrics.read(conn)  # adds up: the totals are counted from events
    while _remove_batch(conn, swept, days):
        pass
    for path in list(_orphans(conn, storage, settings.logs, days)):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        swept.orphans += 1
    conn.execute(
        "DELETE FROM pipelines p WHERE created_at < now() - %s * interval '1 day'"
        " AND NOT EXISTS (SELECT 1 FROM jobs WHERE pipeline_id = p.id)",
        (days,),
    )
    conn.execute("DELETE FROM routes WHERE created_at < now() - %s * interval '1 day'", (days,))
    conn.execute(
        "DELETE FROM batches b WHERE created_at < now() - %s * interval '1 day'"
        " AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = ANY(b.job_ids))",
        (days,),
    )
    return swept


def _remove_batch(conn: Connection, swept: Swept, days: int) -> bool:
    """Returns whether there may be more."""
    with conn.transaction():
        locked = [row["id"] for row in conn.execute(LOCK, {"days": days}).fetchall()]
        ids = [row["id"] for row in conn.execute(STILL_DOOMED, {"days": days, "ids": locked}).fetchall()]
        _count(conn, swept, ids)
        for statement in REMOVE:
            conn.execute(statement, {"ids": ids})
    return len(locked) == BATCH and bool(ids)


def _count(conn: Connection, swept: Swept, ids: list[UUID]) -> None:
    row = conn.execute(COUNTS, {"ids": ids}).fetchone()
    assert row is not None
    swept.jobs += len(ids)
    swept.events += row["events"]
    swept.artifacts += row["artifacts"]
    swept.artifact_bytes += row["artifact_bytes"]


def _orphans(conn: Connection, storage: Storage, logs: Path, days: int, also: list[UUID] | None = None) -> Iterator[Path]:
    """What lies there for a job that has no row (or is among `also`), and was not touched for so many days.

    The age protects the files of another database's jobs where two share a folder, and those of a job whose row is just written.
    """
    found: dict[str, list[Path]] = {}
    for folder in (storage.path("artifacts"), storage.path("checkpoints")):
        for path in folder.iterdir() if folder.is_dir() else ():
            if re.fullmatch(UUID_PATTERN, path.name):
                found.setdefault(path.name, []).append(path)
    for path in (logs / "jobs").glob("*.log"):
        if match := LOG_NAME.fullmatch(path.name):
            found.setdefault(match[1], []).append(path)
    rows = conn.execute(
        "SELECT id::text, extract(epoch FROM now() - %s * interval '1 day')::float AS before"
        " FROM unnest(%s::uuid[]) AS f (id) WHERE id = ANY(%s) OR NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = f.id)",
        (days, list(found), also or []),
    ).fetchall()
    for row in rows:
        yield from (path for path in found[row["id"]] if _newest(path) < row["before"])


def _newest(path: Path) -> float:
    return max(one.lstat().st_mtime for one in (path, *path.rglob("*")))


class SweepThread(threading.Thread):
    """Sweeps once an hour until stopped."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(name="sweep", daemon=True)
        self._database, self._settings = database, settings
        self._stopped = threading.Event()

    def run(self) -> None:
        wait_s = FIRST_AFTER_S
        while not self._stopped.wait(wait_s):
            wait_s = EVERY_S
            try:
                with self._database.connection() as conn:
                    swept = sweep(conn, self._settings)
                if swept.jobs or swept.orphans:
                    log.info("swept", **swept.model_dump(exclude={"dry_run"}))
            except (psycopg.OperationalError, OSError) as error:
                log.warning("the sweep waits an hour", error=str(error).splitlines()[0])

    def stop(self) -> None:
        self._stopped.set()
