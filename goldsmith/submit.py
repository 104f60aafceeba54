"""From a request's body to a row: the config parsed, its references checked and pinned, the job written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from psycopg import errors as pg
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from goldsmith import jobs, jobs_sql, references
from goldsmith.db import Connection
from goldsmith.errors import InvalidInput, ReferenceNotUsable
from goldsmith.job import Job
from goldsmith.jobs import Fate, NewJob
from goldsmith.kinds.base import JobConfig, Moment
from goldsmith.kinds.registry import field_errors, parse_config, summary
from goldsmith.settings import Settings
from goldsmith.student import check_is_there

# Python cannot read back what Postgres takes beyond the years 1 to 9999, whatever the zone.
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


KEY_PATTERN = r"^[\x21-\x7e]{1,255}$"


def _without_mark(value: Any) -> Any:
    return value.removeprefix("job:") if isinstance(value, str) else value


JobId = Annotated[UUID, BeforeValidator(_without_mark), Field(strict=False)]


class JobOptions(BaseModel):
    """How the queue treats a job, whatever its kind: the key `options` of a submit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    priority: int | None = Field(None, ge=0, le=9, description="9 is first, 0 is last; empty: what the kind says, mostly 4.")
    run_at: Moment | None = Field(None, ge=EARLIEST, lt=LATEST, description="Not before this moment (ISO 8601 with time zone).")
    max_attempts: int | None = Field(None, ge=1, le=20, description="Crashes and temporary failures until it is failed.")
    timeout_s: int | None = Field(None, ge=1, le=7 * 86_400, description="Seconds that one attempt may run.")
    depends_on: list[JobId] = Field(
        [], max_length=100, description="Jobs that must have ended before this one starts, as `<id>` or `job:<id>`."
    )
    on_parent_failure: Fate = Field(
        "fail",
        description="When a job that it depends on failed or was cancelled: `fail` too, `run` all the same, or `cancel`.",
    )
    unique_key: str | None = Field(
        None,
        pattern=KEY_PATTERN,
        description="While a job of this kind with this key has not ended, a submit returns that job instead of a second one.",
    )
    unique_for_s: int | None = Field(
        None, ge=1, le=366 * 86_400, description="The same for so many seconds after that job's submit, when it has completed."
    )
    concurrency_key: str | None = Field(
        None, pattern=KEY_PATTERN, description="Jobs with the same key share a limit of how many run at once."
    )
    concurrency_limit: int | None = Field(
        None, ge=1, le=1000, description="This job starts only while fewer than so many run with its key; 1 when empty."
    )

    window: Literal["any", "outside_workshops"] | None = Field(
        None, description="Whether it may start while a workshop runs; empty: what the kind says (train and evaluate wait)."
    )
    force: bool = Field(False, description="Start all the same, whatever the window; it is written into the audit log.")

    @model_validator(mode="after")
    def _keys_belong_together(self) -> JobOptions:
        if self.unique_for_s is not None and self.unique_key is None:
            raise ValueError("unique_for_s: needs a unique_key")
        if self.concurrency_limit is not None and self.concurrency_key is None:
            raise ValueError("concurrency_limit: needs a concurrency_key")
        return self


def parse(body: Mapping[str, Any]) -> tuple[JobConfig, JobOptions]:
    """Split a submit's body into config and options; raises `InvalidInput` that names each wrong field."""
    rest = dict(body)
    given = rest.pop("options", {})
    if not isinstance(given, dict):
        raise InvalidInput("options must be an object", errors=[{"field": "options", "message": "must be an object"}])
    try:
        options = JobOptions.model_validate(given)
    except ValidationError as error:
        found = [entry | {"field": f"options.{entry['field']}"} for entry in field_errors(error, JobOptions.model_fields)]
        raise InvalidInput(f"the options are not valid: {summary(found)}", errors=found) from None
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
        priority=config.priority if options.priority is None else options.priority,
        run_at=options.run_at,
        idempotency_key=idempotency_key,
        idempotency_sha256=sha256_of(body) if idempotency_key else None,
        created_by=created_by,
        on_parent_failure=options.on_parent_failure,
        unique_key=options.unique_key,
        unique_for_s=options.unique_for_s or 0,
        concurrency_key=options.concurrency_key,
        concurrency_limit=options.concurrency_limit or 1 if options.concurrency_key is not None else None,
        outside_workshops=_waits_for_quiet(config, options) and not options.force,
        forced=options.force,
    )


def _waits_for_quiet(config: JobConfig, options: JobOptions) -> bool:
    return config.outside_workshops if options.window is None else options.window == "outside_workshops"


def needs_look_up(config: JobConfig, options: JobOptions) -> bool:
    """Whether the database must be asked about other things, or told more, than the job's row."""
    return bool(options.depends_on or options.force or references.reference_fields(type(config)))


def check_models(config: JobConfig, settings: Settings) -> None:
    """Raises `InvalidInput` when the job would ask a teacher's model that has no price, or that is another teacher's, or when a
    base model that its jobs need is known not to be there."""
    for field, name in config.models().items():
        check_is_there(name, settings, field)
    if teacher := getattr(config, "teacher", None):
        from goldsmith.teacher.providers import check_model  # the SDK costs a second to import; only who asks pays it

        check_model(settings, teacher, getattr(config, "model", None))


def _check_parents(conn: Connection, parents: Sequence[UUID]) -> None:
    rows = conn.execute("SELECT id FROM jobs WHERE id = ANY(%s)", (list(parents),)).fetchall()
    there = {row["id"] for row in rows}
    missing = [
        {"field": f"options.depends_on.{index}", "value": str(parent), "message": f"there is no job {parent}"}
        for index, parent in enumerate(parents)
        if parent not in there
    ]
    if missing:
        detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in missing[:3])
        raise ReferenceNotUsable(detail, errors=missing)


def sha256_of(body: Mapping[str, Any]) -> str:
    """What an idempotency key stands for."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def replayed(
    conn: Connection, body: Mapping[str, Any], idempotency_key: str | None, *, created_by: str = "local"
) -> Job | None:
    """The job that this very request made before: it is the answer, even where its references would no longer do."""
    if idempotency_key is None:
        return None
    row = conn.execute(
        f"SELECT {jobs_sql.COLUMNS} FROM jobs WHERE created_by = %s AND idempotency_key = %s AND idempotency_sha256 = %s",
        (created_by, idempotency_key, sha256_of(body)),
    ).fetchone()
    return Job.model_validate(row) if row else None


def resolved(
    conn: Connection,
    config: JobConfig,
    options: JobOptions,
    *,
    body: Mapping[str, Any],
    created_by: str = "local",
    idempotency_key: str | None = None,
) -> NewJob:
    """The row to write, its references checked and pinned; raises `ReferenceNotUsable` that names the field."""
    pinned, parents = references.resolve(conn, config)
    if options.depends_on:
        _check_parents(conn, options.depends_on)
    new = new_job(pinned, options, created_by=created_by, idempotency_key=idempotency_key, body=body)
    return replace(new, parents=list(dict.fromkeys([*parents, *options.depends_on])))


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
    new = resolved(conn, config, options, created_by=created_by, idempotency_key=idempotency_key, body=body)
    return write(conn, new)


def write(conn: Connection, new: NewJob) -> tuple[Job, bool]:
    """`jobs.submit` of a row whose parents were there a moment ago."""
    try:
        return jobs.submit(conn, new)
    except pg.ForeignKeyViolation:
        raise ReferenceNotUsable("a job that it depends on was removed in this moment") from None
