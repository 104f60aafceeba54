"""Pipelines: several jobs that depend on each other, submitted together or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from goldsmith import jobs, live, references, submit
from goldsmith.db import Connection
from goldsmith.errors import Conflict, InvalidInput, NotFound
from goldsmith.job import FINAL, Status
from goldsmith.jobs import NewJob, Told
from goldsmith.kinds.base import NAME_PATTERN, UUID_PATTERN
from goldsmith.kinds.intercept.schema import InterceptConfig
from goldsmith.kinds.registry import kinds, shown
from goldsmith.settings import Settings
from goldsmith.storage import Storage

MOST_JOBS = 100
NAME = re.compile(rf"(?!{UUID_PATTERN}$){NAME_PATTERN}")
PLACEHOLDER = re.compile(rf"job:(?!{UUID_PATTERN}(/|$))({NAME_PATTERN})(/.*)?", re.DOTALL)


class PipelineJob(BaseModel):
    id: UUID
    kind: str
    status: Status
    progress: float
    message: str
    depends_on: list[str]
    """Names of the pipeline's jobs that it waits for."""


class Pipeline(BaseModel):
    id: UUID
    status: Literal["running", "completed", "failed", "cancelled"]
    """running until every job has ended; then failed when one failed, else cancelled when one was, else completed."""
    created_by: str
    created_at: datetime
    jobs: dict[str, PipelineJob]
    """By name, in an order in which they can run."""


def _refuse(field: str, message: str, value: Any = None) -> InvalidInput:
    return InvalidInput(f"{field}: {message}", errors=[{"field": field, "value": shown(value), "message": message}])


@contextmanager
def _below(name: str) -> Iterator[None]:
    """Fields of errors are named from the pipeline's body on."""
    try:
        yield
    except InvalidInput as error:
        errors = [entry | {"field": f"jobs.{name}.{entry['field']}".rstrip(".")} for entry in error.errors]
        raise type(error)(f"jobs.{name}: {error.detail}", errors=errors) from None


def _placeholders(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, name) of every `job:<name>` in a field of the config that takes a job."""
    kind = job.get("kind")
    if not isinstance(kind, str) or kind not in kinds():
        return  # parsing says so
    for field, marks in references.reference_fields(kinds()[kind].config).items():
        values = job.get(field)
        takes_jobs = any(mark.to in ("job", "artifact") for mark in marks)
        for value in values if isinstance(values, list) else [values]:
            if takes_jobs and isinstance(value, str) and (found := PLACEHOLDER.fullmatch(value)):
                yield field, found[2]


def _filled(job: Mapping[str, Any], ids: Mapping[str, UUID]) -> dict[str, Any]:
    """The job's body with ids where names were."""

    def fill(value: Any) -> Any:
        found = PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
        return f"job:{ids[found[2]]}{found[3] or ''}" if found else value

    fields = {field for field, _ in _placeholders(job)}
    return {
        key: ([fill(one) for one in value] if isinstance(value, list) else fill(value)) if key in fields else value
        for key, value in job.items()
        if key != "depends_on"
    }


def _parents(every: Mapping[str, Any]) -> dict[str, list[str]]:
    """What each job waits for, by `depends_on` and by what its config refers to. Raises `InvalidInput` for an unknown name."""
    graph: dict[str, list[str]] = {}
    for name, job in every.items():
        if not NAME.fullmatch(name):
            raise _refuse(
                f"jobs.{name[:100]}", "a name has 1 to 64 lower-case letters, digits, dots, dashes, underscores; no id"
            )
        if not isinstance(job, dict):
            raise _refuse(f"jobs.{name}", "must be an object", job)
        given = job.get("depends_on", [])
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise _refuse(f"jobs.{name}.depends_on", "must be an array of names of this pipeline's jobs", given)
        wanted = [("depends_on", one) for one in given] + list(_placeholders(job))
        for field, parent in wanted:
            if parent not in every:
                message = f"there is no job {parent!r} in this pipeline; there are: {', '.join(every)}"
                raise _refuse(f"jobs.{name}.{field}", message, parent)
        graph[name] = list(dict.fromkeys(parent for _, parent in wanted))
    return graph


def _in_order(graph: Mapping[str, list[str]]) -> list[str]:
    """Parents first. Raises `InvalidInput` that shows the cycle."""
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        around: list[str] = error.args[1][:-1]
        first = around.index(min(around, key=list(graph).index))
        cycle = " → ".join([*around[first:], *around[:first], around[first]])
        raise _refuse("jobs", f"these jobs wait for each other: {cycle}") from None


def create(
    conn: Connection,
    body: Mapping[str, Any],
    settings: Settings,
    *,
    created_by: str = "local",
    idempotency_key: str | None = None,
) -> tuple[Pipeline, bool, list[Told]]:
    """Write all jobs in one transaction. Returns (pipeline, created, what the broker must hear).

    `body` is `{"jobs": {name: {kind, …, depends_on: [names], options}}}`; a config refers to another job of the pipeline as
    `job:<name>` or `job:<name>/<artifact>`. The same idempotency key with the same body returns the first pipeline.
    """
    if unknown := body.keys() - {"jobs"}:
        raise _refuse(min(unknown), "unknown key; the known one is: jobs")
    every = body.get("jobs")
    if not isinstance(every, dict) or not 1 <= len(every) <= MOST_JOBS:
        raise _refuse("jobs", f"must be an object of 1 to {MOST_JOBS} jobs by name", every)
    graph = _parents(every)
    order = _in_order(graph)
    ids: dict[str, UUID] = {}
    told: list[Told] = []
    with conn.transaction():
        row = conn.execute(
            "INSERT INTO pipelines (created_by, idempotency_key, idempotency_sha256) VALUES (%s, %s, %s)"
            " ON CONFLICT (created_by, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING id",
            (created_by, idempotency_key, submit.sha256_of(body)),
        ).fetchone()
        if row is None:
            return _replayed(conn, body, created_by, idempotency_key), False, []
        for name in order:
            with _below(name):
                new = _checked(conn, settings, _filled(every[name], ids), [ids[parent] for parent in graph[name]])
                new = replace(new, created_by=created_by, pipeline_id=row["id"], pipeline_name=name)
                job, _ = submit.write(conn, new)
            ids[name] = job.id
            told += jobs.told(job)
    return get(conn, row["id"]), True, told


def _checked(conn: Connection, settings: Settings, body: dict[str, Any], parents: list[UUID]) -> NewJob:
    config, options = submit.parse(body)
    if options.unique_key is not None:
        raise _refuse("options.unique_key", "a pipeline's jobs are its own; give the whole request an Idempotency-Key instead")
    if isinstance(config, InterceptConfig):
        config = live.fill_in(conn, Storage(settings.state_dir), config, settings)
    submit.check_models(config, settings)
    options = options.model_copy(update={"depends_on": [*options.depends_on, *parents]})
    return submit.resolved(conn, config, options, body=body)


def _replayed(conn: Connection, body: Mapping[str, Any], created_by: str, key: str | None) -> Pipeline:
    row = conn.execute(
        "SELECT id, idempotency_sha256 FROM pipelines WHERE created_by = %s AND idempotency_key = %s", (created_by, key)
    ).fetchone()
    if row is None:
        raise Conflict("a pipeline with this Idempotency-Key was being written by another request; try again")
    if row["idempotency_sha256"] != submit.sha256_of(body):
        raise InvalidInput(
            f"Idempotency-Key {key!r} was used for pipeline {row['id']} with another body; use a new key",
            errors=[{"field": "Idempotency-Key", "value": key, "message": "used with another body"}],
        )
    return get(conn, row["id"])


def get(conn: Connection, pipeline_id: UUID) -> Pipeline:
    pipeline = conn.execute("SELECT id, created_by, created_at FROM pipelines WHERE id = %s", (pipeline_id,)).fetchone()
    if pipeline is None:
        raise NotFound(f"there is no pipeline {pipeline_id}")
    rows = conn.execute(
        "SELECT j.id, j.pipeline_name, j.kind, j.status, j.progress, j.message, ARRAY("
        "    SELECT p.pipeline_name FROM job_dependencies d JOIN jobs p ON p.id = d.parent_id"
        "    WHERE d.job_id = j.id AND p.pipeline_id = j.pipeline_id ORDER BY p.id) AS depends_on"
        " FROM jobs j WHERE j.pipeline_id = %s ORDER BY j.id",
        (pipeline_id,),
    ).fetchall()
    states = {row["status"] for row in rows}
    status = "completed" if states <= set(FINAL) else "running"
    if status == "completed":
        status = next((bad for bad in ("failed", "cancelled") if bad in states), "completed")
    return Pipeline.model_validate({**pipeline, "status": status, "jobs": {row["pipeline_name"]: row for row in rows}})


def cancel(conn: Connection, pipeline_id: UUID) -> Pipeline:
    """Cancel every job that has not ended, the last ones first, so that none fails because of its parent. Twice is a no-op.

    Each job is a transaction of its own: all in one would lock children before parents, and an ending parent the reverse.
    """
    for job in reversed(get(conn, pipeline_id).jobs.values()):
        if job.status not in FINAL:
            with suppress(Conflict):  # it ended by itself in this moment
                jobs.cancel(conn, job.id)
    return get(conn, pipeline_id)
