"""Many jobs at once: a batch is submitted in one transaction; a filter says which jobs are cancelled or retried."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self
from uuid import UUID

from psycopg import errors as pg
from pydantic import BaseModel, ConfigDict, Field, model_validator

from goldsmith import audit, jobs
from goldsmith.db import Connection
from goldsmith.errors import InvalidInput, ReferenceNotUsable
from goldsmith.job import Job
from goldsmith.jobs import NewJob
from goldsmith.kinds.base import Moment
from goldsmith.submit import EARLIEST, LATEST

LARGEST_BATCH = 1000
SHOWN_ERRORS = 100

Unfinished = Literal["waiting", "scheduled", "queued", "running"]
Retryable = Literal["failed", "cancelled"]


class _Filter(BaseModel):
    """Which jobs; what is given must hold for each of them."""

    model_config = ConfigDict(extra="forbid")

    ids: list[UUID] | None = Field(None, min_length=1, max_length=10_000)
    kind: str | None = Field(None, max_length=64)
    created_after: Moment | None = Field(None, ge=EARLIEST, lt=LATEST, description="Submitted after this moment.")
    created_before: Moment | None = Field(None, ge=EARLIEST, lt=LATEST, description="Submitted before this moment.")
    dry_run: bool = Field(False, strict=True, description="Only say which jobs it would be.")

    @model_validator(mode="after")
    def _not_everything(self) -> Self:
        names = [name for name in type(self).model_fields if name != "dry_run"]
        if all(getattr(self, name) is None for name in names):
            raise ValueError(f"give at least one of: {', '.join(names)}")
        return self


class CancelFilter(_Filter):
    status: Unfinished | None = None


class RetryFilter(_Filter):
    status: Retryable | None = None


# In the order of their ids, so that two of these never wait for each other.
MATCHING = """
SELECT id FROM jobs
WHERE status = ANY(%(statuses)s) AND (completed_at IS NOT NULL OR cancel_requested_at IS NULL)
  AND (%(kind)s::text IS NULL OR kind = %(kind)s) AND (%(ids)s::uuid[] IS NULL OR id = ANY(%(ids)s))
  AND (%(created_after)s::timestamptz IS NULL OR created_at > %(created_after)s)
  AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s)
ORDER BY id
"""


def _matching(conn: Connection, which: CancelFilter | RetryFilter, statuses: Sequence[str]) -> list[UUID]:
    values = which.model_dump(exclude={"status", "dry_run"}) | {"statuses": [which.status] if which.status else list(statuses)}
    return [row["id"] for row in conn.execute(MATCHING + ("" if which.dry_run else "FOR NO KEY UPDATE"), values)]


def _record(conn: Connection, actor: str, action: str, which: CancelFilter | RetryFilter, ids: Sequence[UUID]) -> None:
    given = which.model_dump(mode="json", exclude_none=True, exclude={"dry_run"})
    audit.record(conn, actor, action, f"{len(ids)} jobs", {"filter": given, "count": len(ids)})


def cancel(conn: Connection, which: CancelFilter, *, actor: str) -> list[UUID]:
    """Cancel what has not started, ask what runs to stop, and wake or end what waited for them. Returns the jobs."""
    with conn.transaction():
        ids = _matching(conn, which, ("waiting", "scheduled", "queued", "running"))
        if not which.dry_run:
            ids = jobs.cancel_many(conn, ids)
            _record(conn, actor, "jobs.cancel", which, ids)
    return ids


def retry(conn: Connection, which: RetryFilter, *, actor: str) -> tuple[list[UUID], list[Job]]:
    """Put failed and cancelled jobs back. Returns their ids, and the jobs as they are now; tell the broker of these."""
    with conn.transaction():
        ids = _matching(conn, which, ("failed", "cancelled"))
        again = [] if which.dry_run else jobs.retry_many(conn, ids)
        if not which.dry_run:
            ids = [job.id for job in again]
            _record(conn, actor, "jobs.retry", which, ids)
    return ids, again


# -- a batch


def each(items: Sequence[Any], parse: Callable[[Any], Any]) -> list[Any]:
    """`parse` of every item; raises one `InvalidInput` whose fields begin with `jobs.` and the index of the item."""
    parsed, wrong, first = [], [], ""
    for index, item in enumerate(items):
        try:
            parsed.append(parse(item))
        except InvalidInput as error:
            first = first or f"jobs.{index}: {error.detail}"
            entries = error.errors or [{"field": "", "message": error.detail}]
            wrong += [entry | {"field": f"jobs.{index}.{entry['field']}".rstrip(".")} for entry in entries]
    if wrong:
        raise InvalidInput(f"no job was submitted: {first}", errors=wrong[:SHOWN_ERRORS])
    return parsed


CLAIM_KEY = """
INSERT INTO batches (created_by, idempotency_key, idempotency_sha256) VALUES (%(created_by)s, %(key)s, %(sha256)s)
ON CONFLICT (created_by, idempotency_key) DO NOTHING RETURNING created_by
"""
BY_KEY = "SELECT idempotency_sha256, job_ids FROM batches WHERE created_by = %(created_by)s AND idempotency_key = %(key)s"
KEEP_IDS = "UPDATE batches SET job_ids = %(ids)s WHERE created_by = %(created_by)s AND idempotency_key = %(key)s"


def submit(
    conn: Connection,
    prepare: Callable[[], Sequence[NewJob]],
    *,
    body: Mapping[str, Any],
    created_by: str,
    idempotency_key: str | None,
) -> tuple[list[UUID], list[Job] | None]:
    """Write all jobs or none. Returns their ids in order, and those that are new; tell the broker of these.

    A repeated key with the same body returns the first ids, and None: `prepare` is not asked for the rows. Two requests with
    one key at the same time wait for each other.
    """
    sha256 = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    values: dict[str, Any] = {"created_by": created_by, "key": idempotency_key, "sha256": sha256}
    with conn.transaction():
        if idempotency_key is not None and conn.execute(CLAIM_KEY, values).fetchone() is None:
            first = conn.execute(BY_KEY, values).fetchone()
            if first is None or first["idempotency_sha256"] != sha256:
                raise InvalidInput(
                    f"Idempotency-Key {idempotency_key!r} was used for another batch; use a new key",
                    errors=[{"field": "Idempotency-Key", "value": idempotency_key, "message": "used with another body"}],
                )
            return first["job_ids"], None
        try:
            made = jobs.submit_many(conn, prepare())
        except pg.ForeignKeyViolation:
            raise ReferenceNotUsable("a job that one of them depends on was removed in this moment") from None
        ids = [job.id for job, _ in made]
        if idempotency_key is not None:
            conn.execute(KEEP_IDS, values | {"ids": ids})
    return ids, [job for job, created in made if created]
