"""Schedules: a job submitted again and again, at the times of a cron expression in a time zone.

Beat and every rescue thread fire what is due. The job and the schedule's next time are written in one transaction that
holds the schedule's row, so however many processes fire, each time makes one job. Times that passed while nobody
fired make one job together, when somebody fires again.

Daylight saving, for a schedule at fixed hours (as in Debian's cron): a time that is skipped in spring fires right after
the gap, and one that comes twice in autumn fires once. `*/15 * * * *` and its like go on evenly.
"""

from __future__ import annotations

import zoneinfo
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import structlog
from cronsim import CronSim, CronSimError
from psycopg import errors as pg
from psycopg.types.json import Jsonb
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from goldsmith import jobs, live, references, submit
from goldsmith.db import Connection
from goldsmith.errors import Conflict, GoldsmithError, InvalidInput, NotFound
from goldsmith.job import Job
from goldsmith.jobs import Told
from goldsmith.kinds.base import JobConfig, Name
from goldsmith.kinds.intercept.schema import InterceptConfig
from goldsmith.settings import Settings, get_settings
from goldsmith.storage import Storage
from goldsmith.submit import JobOptions

log = structlog.get_logger()
PREVIEWED = 5


@lru_cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _known_zone(value: str) -> str:
    if value not in _time_zones():
        raise ValueError(f"{value!r} is no time zone; write it as the IANA list does: Europe/Berlin, UTC")
    return value


def times(cron: str, time_zone: str, after: datetime, count: int = 1) -> list[datetime]:
    """The next times, in that zone. Raises `ValueError` that says what is wrong with the expression."""
    if len(cron.split()) != 5:
        raise ValueError("must have five fields: minute, hour, day of month, month, day of week")
    try:
        found = list(islice(CronSim(cron, after.astimezone(zoneinfo.ZoneInfo(time_zone))), count))
    except CronSimError as error:
        raise ValueError(f"{cron!r}: {str(error).lower()}") from None
    if not found:
        raise ValueError(f"{cron!r} never comes")
    return found


class ScheduleChange(BaseModel):
    """What may be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    cron: str | None = Field(None, min_length=9, max_length=200, description="Minute, hour, day of month, month, day of week.")
    time_zone: Annotated[str, AfterValidator(_known_zone)] | None = Field(None, description="As the IANA list names it.")
    config: dict[str, Any] | None = Field(None, description="The config of the job, with its `kind`.")
    options: dict[str, Any] | None = Field(None, description="As in a submit; without run_at and depends_on.")
    enabled: bool | None = Field(None, description="false: it does not fire until it is enabled again.")


class NewSchedule(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name = Field(description="Lower case, digits, dot, dash, underscore.")
    cron: str = Field(
        min_length=9, max_length=200, description="Minute, hour, day of month, month, day of week: `0 3 * * 1-5`."
    )
    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        "UTC", description="As the IANA list names it: Europe/Berlin."
    )
    config: dict[str, Any] = Field(description="The config of the job, with its `kind`. `@latest` is looked up at each firing.")
    options: dict[str, Any] = Field({}, description="As in a submit; without run_at and depends_on.")
    enabled: bool = Field(True, description="false: it does not fire until it is enabled.")

    @model_validator(mode="after")
    def _comes(self) -> NewSchedule:
        times(self.cron, self.time_zone, datetime.now(zoneinfo.ZoneInfo("UTC")))
        return self


class Schedule(BaseModel):
    name: str
    cron: str
    time_zone: str
    config: dict[str, Any]
    options: dict[str, Any]
    enabled: bool
    next_at: datetime
    """When it fires next, if enabled."""
    last_at: datetime | None
    last_job_id: UUID | None
    last_error: dict[str, Any] | None
    """Why the last firing made no job; null when it made one."""
    created_by: str
    created_at: datetime


_COLUMNS = ", ".join(Schedule.model_fields)


def _parsed(config: dict[str, Any], options: dict[str, Any]) -> tuple[JobConfig, JobOptions]:
    """Raises `InvalidInput` that names the field below `config` or `options`."""
    for name in ("run_at", "depends_on"):
        if name in options:
            message = "a schedule has times of its own and fires again; it can neither be put off nor wait for one job"
            raise InvalidInput(f"options.{name}: {message}", errors=[{"field": f"options.{name}", "message": message}])
    try:
        return submit.parse(config | {"options": options})
    except InvalidInput as error:
        errors = [
            entry if entry["field"].startswith("options") else entry | {"field": f"config.{entry['field']}".rstrip(".")}
            for entry in error.errors
        ]
        raise InvalidInput(error.detail, errors=errors) from None


def _now(conn: Connection) -> datetime:
    row = conn.execute("SELECT now() AS now").fetchone()
    assert row is not None
    now: datetime = row["now"]
    return now


def _check(conn: Connection, config: JobConfig, settings: Settings | None) -> None:
    """Raises what a submit would raise now; fields are named from the schedule's body on."""
    references.resolve(conn, config)
    try:
        submit.check_models(config, settings or get_settings())
    except InvalidInput as error:
        raise InvalidInput(
            error.detail, errors=[entry | {"field": f"config.{entry['field']}"} for entry in error.errors]
        ) from None


def create(conn: Connection, new: NewSchedule, *, settings: Settings | None = None, created_by: str = "local") -> Schedule:
    """Raises `Conflict` when the name is taken, `InvalidInput` when the job could not be submitted as it is.

    `settings`: where the price list is; empty: those of the process.
    """
    config, _ = _parsed(new.config, new.options)
    _check(conn, config, settings)
    try:
        conn.execute(
            "INSERT INTO schedules (name, cron, time_zone, config, options, enabled, next_at, created_by)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (
                new.name,
                new.cron,
                new.time_zone,
                Jsonb(new.config),
                Jsonb(new.options),
                new.enabled,
                times(new.cron, new.time_zone, _now(conn))[0],
                created_by,
            ),
        )
    except pg.UniqueViolation:
        raise Conflict(f"there is a schedule {new.name!r} already; change it, or remove it first") from None
    return get(conn, new.name)


def get(conn: Connection, name: str) -> Schedule:
    row = conn.execute(f"SELECT {_COLUMNS} FROM schedules WHERE name = %s", (name,)).fetchone()
    if row is None:
        raise NotFound(f"there is no schedule {name!r}")
    return Schedule.model_validate(row)


def list_schedules(conn: Connection) -> list[Schedule]:
    return [Schedule.model_validate(row) for row in conn.execute(f"SELECT {_COLUMNS} FROM schedules ORDER BY name").fetchall()]


def preview(conn: Connection, name: str) -> list[datetime]:
    """The next five times, were it enabled."""
    found = get(conn, name)
    return times(found.cron, found.time_zone, _now(conn), PREVIEWED)


def change(conn: Connection, name: str, change: ScheduleChange, *, settings: Settings | None = None) -> Schedule:
    """Change what is given. Times that passed under the old cron or while it was disabled are not made up for."""
    with conn.transaction():
        if not conn.execute("SELECT 1 FROM schedules WHERE name = %s FOR UPDATE", (name,)).fetchone():
            raise NotFound(f"there is no schedule {name!r}")
        after = get(conn, name).model_copy(update=change.model_dump(exclude_none=True))
        config, _ = _parsed(after.config, after.options)
        if change.config is not None:
            _check(conn, config, settings)
        try:
            next_at = times(after.cron, after.time_zone, _now(conn))[0]
        except ValueError as error:
            raise InvalidInput(
                f"cron {error}", errors=[{"field": "cron", "value": after.cron, "message": str(error)}]
            ) from None
        conn.execute(
            "UPDATE schedules SET cron = %s, time_zone = %s, config = %s, options = %s, enabled = %s, next_at = %s WHERE name = %s",
            (after.cron, after.time_zone, Jsonb(after.config), Jsonb(after.options), after.enabled, next_at, name),
        )
        return get(conn, name)


def remove(conn: Connection, name: str) -> None:
    """Its jobs stay."""
    if conn.execute("DELETE FROM schedules WHERE name = %s", (name,)).rowcount == 0:
        raise NotFound(f"there is no schedule {name!r}")


DUE = f"""
SELECT id, {_COLUMNS}, now() AS now FROM schedules WHERE enabled AND next_at <= now() ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""


def fire(conn: Connection, settings: Settings) -> list[Told]:
    """Submit the job of every schedule that is due; returns what the broker must hear.

    A job that cannot be submitted is left out until the next time, and `last_error` says why.
    """
    told: list[Told] = []
    while True:
        with conn.transaction():
            row = conn.execute(DUE).fetchone()
            if row is None:
                return told
            schedule, error = Schedule.model_validate(row), None
            try:
                with conn.transaction():
                    job = _submit(conn, schedule, settings)
            except GoldsmithError as refused:
                log.warning("a schedule made no job", schedule=schedule.name, error=refused.detail)
                job, error = None, Jsonb({"type": "about:blank", "title": refused.title, "detail": refused.detail})
            except pg.OperationalError:
                raise
            except Exception as broke:  # whoever fires also rescues: one broken schedule must not end that
                log.error("a schedule broke", schedule=schedule.name, exc_info=broke)
                job, error = None, Jsonb({"type": "about:blank", "title": "It broke", "detail": type(broke).__name__})
            conn.execute(
                "UPDATE schedules SET next_at = %s, last_at = now(), last_job_id = coalesce(%s, last_job_id), last_error = %s"
                " WHERE id = %s",
                (times(schedule.cron, schedule.time_zone, row["now"])[0], job.id if job else None, error, row["id"]),
            )
        told += jobs.told(job) if job else []


def _submit(conn: Connection, schedule: Schedule, settings: Settings) -> Job:
    config, options = _parsed(schedule.config, schedule.options)
    if isinstance(config, InterceptConfig):
        config = live.fill_in(conn, Storage(settings.state_dir), config, settings)
    submit.check_models(config, settings)
    return submit.submit(conn, config, options, body=schedule.config, created_by=f"schedule:{schedule.name}")[0]
