"""From a request's body to a row: the config parsed, its references checked and pinned, the job written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from goldsmith import jobs, references
from goldsmith.db import Connection
from goldsmith.errors import InvalidInput
from goldsmith.job import Job
from goldsmith.jobs import NewJob
from goldsmith.kinds.base import JobConfig
from goldsmith.kinds.registry import field_errors, parse_config

# Python cannot read back what Postgres takes beyond the years 1 to 9999, whatever the zone.
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class JobOptions(BaseModel):
    """How the queue treats a job, whatever its kind: the key `options` of a submit."""

    model_config = ConfigDict(extra="forbid")

    priority: int = Field(4, ge=0, le=9, description="9 is first, 0 is last.")
    run_at: AwareDatetime | None = Field(
        None, ge=EARLIEST, lt=LATEST, description="Not before this moment (ISO 8601 with time zone)."
    )
    max_attempts: int | None = Field(None, ge=1, le=20, description="Crashes and temporary failures until it is failed.")
    timeout_s: int | None = Field(None, ge=1, le=7 * 86_400, description="Seconds that one attempt may run.")


def parse(body: Mapping[str, Any]) -> tuple[JobConfig, JobOptions]:
    """Split a submit's body into config and options; raises `InvalidInput` that names each wrong field."""
    rest = dict(body)
    given = rest.pop("options", None)
    if given is not None and not isinstance(given, dict):
        raise InvalidInput("options must be an object", errors=[{"field": "options", "message": "must be an object"}])
    try:
        options = JobOptions.model_validate(given or {})
    except ValidationError as error:
        found = [entry | {"field": f"options.{entry['field']}"} for entry in field_errors(error)]
        raise InvalidInput("the options are not valid", errors=found) from None
    return parse_config(rest), options


def new_job(
    config: JobConfig,
    options: JobOptions,
    *,
    created_by: str = "local",
    idempotency_key: str | None = None,
    body: Mapping[str, Any],
) -> NewJob:
    """The row to write for a config without references; `body` is what an idempotency key stands for."""
    return NewJob(
        kind=config.kind,
        config=config.model_dump(mode="json"),
        queue=config.queue,
        timeout=options.timeout_s or config.timeout_s,
        max_attempts=options.max_attempts or config.max_attempts,
        priority=options.priority,
        run_at=options.run_at,
        idempotency_key=idempotency_key,
        idempotency_sha256=_sha256(body) if idempotency_key else None,
        created_by=created_by,
    )


def _sha256(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def replayed(
    conn: Connection, body: Mapping[str, Any], idempotency_key: str | None, *, created_by: str = "local"
) -> Job | None:
    """The job that this very request made before: it is the answer, even where its references would no longer do."""
    if idempotency_key is None:
        return None
    row = conn.execute(
        "SELECT * FROM jobs WHERE created_by = %s AND idempotency_key = %s AND idempotency_sha256 = %s",
        (created_by, idempotency_key, _sha256(body)),
    ).fetchone()
    return Job.model_validate(row) if row else None


def submit(
    conn: Connection,
    config: JobConfig,
    options: JobOptions,
    *,
    body: Mapping[str, Any],
    created_by: str = "local",
    idempotency_key: str | None = None,
) -> tuple[Job, bool]:
    """Check the references and write the job. Returns (job, created); tell the broker of `jobs.told(job)` when created."""
    pinned, parents = references.resolve(conn, config)
    new = new_job(pinned, options, created_by=created_by, idempotency_key=idempotency_key, body=body)
    return jobs.submit(conn, NewJob(**(new.__dict__ | {"parents": parents})))
