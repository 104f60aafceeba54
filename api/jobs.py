"""`/v1/jobs`: put jobs in, look at them, cancel them, fetch what they left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from api.body import body_schema, inline, read_json, read_model
from api.download import DOWNLOAD, Download
from api.errors import PROBLEM
from api.state import CallerDep, State, StateDep
from api.stream import Event, etag, matches
from goldsmith import artifacts, children, jobs, limits, live, submit
from goldsmith.db import Connection
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.job import FINAL, Job, Status
from goldsmith.jobs import NewJob
from goldsmith.keys import Caller
from goldsmith.kinds.base import UUID_PATTERN, JobConfig, Moment
from goldsmith.kinds.intercept.schema import InterceptConfig
from goldsmith.kinds.registry import kinds

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

REFUSALS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 413, 415, 422, 503), PROBLEM)
MISSING: dict[int | str, dict[str, Any]] = dict.fromkeys((401, 404, 422, 503), PROBLEM)


ALREADY_THERE = {"description": "The job that is there with this `unique_key`", "model": Job}


async def one_key(
    request: Request,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")] = None,
) -> str | None:
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise HTTPException(400, "send one Idempotency-Key, not several")
    return idempotency_key


IdempotencyKey = Annotated[str | None, Depends(one_key)]
CURSOR = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z_" + UUID_PATTERN


class Change(BaseModel):
    model_config = ConfigDict(extra="forbid")

    priority: int = Field(strict=True, ge=0, le=9, description="9 is first, 0 is last.")


class DeadJob(BaseModel):
    id: UUID
    kind: str
    queue: str
    cause: str
    error: dict[str, Any]
    """The whole problem document."""
    attempt: int
    failures: int
    max_attempts: int
    created_by: str
    created_at: datetime
    failed_at: datetime


class DeadPage(BaseModel):
    jobs: list[DeadJob]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last."""


class JobPage(BaseModel):
    jobs: list[Job]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last."""


class EventPage(BaseModel):
    events: list[Event]
    next_after: int
    """Give it as `after` to go on from here."""
    status: Status


class ArtifactView(BaseModel):
    name: str
    ref: str
    bytes: int
    sha256: str
    media_type: str
    created_at: datetime
    url: str


def submit_schemas() -> list[dict[str, Any]]:
    """What a submit may be: each kind's config, with the queue's options."""
    schemas = [inline(kind.config.model_json_schema()) for kind in kinds().values()]
    for schema in schemas:
        schema["required"] = ["kind", *schema.get("required", [])]
        del schema["properties"]["kind"]["default"]
        schema["properties"]["options"] = inline(submit.JobOptions.model_json_schema())
    return schemas


def submit_body() -> dict[str, Any]:
    """The OpenAPI of a submit."""
    examples = {
        "import": {
            "value": {"kind": "import", "folder": "examples/workshop/exports/json", "checkout": "examples/workshop/devserver"}
        }
    }
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"oneOf": submit_schemas()}, "examples": examples}},
        }
    }


async def submit_job(
    state: State, caller: Caller, body: dict[str, Any], *, idempotency_key: str | None = None
) -> tuple[Job, bool]:
    """Parse, check, write, and tell the broker soon."""
    config, options = submit.parse(body)
    if submit.needs_look_up(config, options) or caller.jobs_per_hour is not None:
        job, created = await _in_thread(state, _with_references, caller, config, options, body, idempotency_key)
    else:
        new = submit.new_job(config, options, created_by=caller.name, idempotency_key=idempotency_key, body=body)
        async with state.async_database.connection() as conn:
            job, created = await jobs.submit_async(conn, new)
    if created:
        state.publish_soon(jobs.told(job))
    return job, created


def _with_references(
    state: State, caller: Caller, config: Any, options: Any, body: dict[str, Any], key: str | None
) -> tuple[Job, bool]:
    with state.database.connection() as conn:
        if earlier := submit.replayed(conn, body, key, created_by=caller.name):
            return earlier, False
        new = prepared(state, conn, caller, config, options, body, key)
        with conn.transaction():
            job, created = submit.write(conn, new)
            if created:
                limits.take_jobs(conn, caller)
        return job, created


def prepared(
    state: State,
    conn: Connection,
    caller: Caller,
    config: JobConfig,
    options: submit.JobOptions,
    body: Mapping[str, Any] = MappingProxyType({}),
    key: str | None = None,
) -> NewJob:
    """The row to write: what an `intercept` leaves open filled in, references checked and pinned."""
    if isinstance(config, InterceptConfig):
        config = live.fill_in(conn, state.storage, config, state.settings)
    submit.check_models(config, state.settings)
    return submit.resolved(conn, config, options, body=body, created_by=caller.name, idempotency_key=key)


async def _in_thread(state: State, call: Any, *args: Any) -> Any:
    return await to_thread.run_sync(call, state, *args)


@router.post("", status_code=202, responses=REFUSALS | {200: ALREADY_THERE}, response_model=Job, openapi_extra=submit_body())
async def submit_a_job(
    request: Request,
    response: Response,
    state: StateDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Put a job into the queue. The same `Idempotency-Key` with the same body returns the first job; with another body it is a 422."""
    body = await read_json(request)
    job, created = await submit_job(state, caller, body, idempotency_key=idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if not created and (body.get("options") or {}).get("unique_key") is not None:
        response.status_code = 200
    elif not created:
        response.headers["Idempotent-Replayed"] = "true"
    return job


@router.get("", responses=REFUSALS)
def list_jobs(
    state: StateDep,
    kind: Annotated[str | None, Query(max_length=64, json_schema_extra={"enum": list(kinds())})] = None,
    status: Status | None = None,
    created_after: Moment | None = None,
    submitted_by: Annotated[UUID | None, Query(description="Only those that this job submitted.")] = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> JobPage:
    """Newest first."""
    check_kind(kind)
    with state.database.connection() as conn:
        page = jobs.list_jobs(
            conn,
            kind=kind,
            status=status,
            created_after=created_after,
            submitted_by=submitted_by,
            before=cursor,
            limit=limit + 1,
        )
    return JobPage(jobs=page[:limit], next_cursor=str(page[limit - 1].id) if len(page) > limit else None)


def check_kind(kind: str | None) -> None:
    if kind is not None and kind not in kinds():
        message = f"must be one of: {', '.join(kinds())}"
        raise InvalidInput(f"kind {message}", errors=[{"field": "kind", "value": kind, "message": message}])


@router.get("/dead", responses=REFUSALS)
def list_dead_jobs(
    state: StateDep,
    kind: Annotated[str | None, Query(max_length=64)] = None,
    cursor: Annotated[str | None, Query(pattern=f"^{CURSOR}$", description="`next_cursor` of the last page.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> DeadPage:
    """Dead letters: the jobs that failed for good, with their cause; the last to fail first. `retry` takes them back."""
    check_kind(kind)
    with state.database.connection() as conn:
        rows = jobs.dead(conn, kind=kind, before=_place(cursor) if cursor else None, limit=limit + 1)
    page = [DeadJob(**row, cause=(row["error"] or {}).get("detail", "failed")) for row in rows[:limit]]
    last = page[-1] if len(rows) > limit else None
    return DeadPage(
        jobs=page, next_cursor=f"{last.failed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}_{last.id}" if last else None
    )


def _place(cursor: str) -> tuple[datetime, UUID]:
    moment, _, job_id = cursor.partition("_")
    try:
        return datetime.fromisoformat(moment), UUID(job_id)
    except ValueError:
        message = "must be the next_cursor of a page"
        raise InvalidInput(f"cursor {message}", errors=[{"field": "cursor", "value": cursor, "message": message}]) from None


@router.get(
    "/{job_id}", responses=MISSING | {304: {"description": "Unchanged since the ETag of If-None-Match"}}, response_model=Job
)
async def get_job(
    job_id: UUID,
    response: Response,
    state: StateDep,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the next change.")] = 0,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Job | Response:
    """The job as it is; its ETag changes whenever it does (but for `heartbeat_at`).

    With `wait` the answer comes at the next change: after the one that `If-None-Match` names, or from now on. It comes at
    once when the job has ended, and after `wait` seconds in any case: a 304 when `If-None-Match` still holds.
    """
    job = await state.readers.next_change(job_id, if_none_match, wait)
    headers = {"ETag": etag(job), "Cache-Control": "no-cache"}
    if if_none_match is not None and matches(if_none_match, etag(job)):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return job


@router.get(
    "/{job_id}/events",
    responses=MISSING
    | {
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "The stream has ended: the job has, and there is no event after the last one seen"},
    },
    response_model=EventPage,
)
async def get_events(
    job_id: UUID,
    request: Request,
    state: StateDep,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[int | None, Header(ge=0, le=2**62, description="Of a stream: wins over `after`.")] = None,
) -> EventPage | Response:
    """What happened, in order; ask again with `after` = the `next_after` of the last page.

    With `Accept: text/event-stream` it is a stream of server-sent events: `id` is the `seq`, `event` the name, `data` the
    event as JSON. It ends with the job's final event and resumes after `Last-Event-ID`; the stream of a job that was
    retried goes on. A comment every 15 seconds keeps it open.
    """
    streamed = "text/event-stream" in accept.lower()
    if streamed and last_event_id is not None:
        after = last_event_id
    async with state.async_database.connection() as conn:
        status, rows = await jobs.events_async(conn, job_id, after=after, limit=1 if streamed else limit)
    if streamed:
        if status in FINAL and not rows:
            return Response(status_code=204)
        return state.readers.stream(job_id, after, partial(state.keys.still, request.headers.get("authorization", "")))
    found = [Event.model_validate(row) for row in rows]
    return EventPage(events=found, next_after=found[-1].seq if found else after, status=status)


@router.patch("/{job_id}", responses=MISSING | REFUSALS | {409: PROBLEM}, openapi_extra=body_schema(Change))
async def change_job(job_id: UUID, request: Request, state: StateDep) -> Job:
    """Give a job that has not started another priority. One that is queued takes its new place at once."""
    change = await read_model(request, Change)
    job: Job = await _in_thread(state, _change, job_id, change)
    state.publish_soon(jobs.told(job))
    return job


def _change(state: State, job_id: UUID, change: Change) -> Job:
    with state.database.connection() as conn:
        job = jobs.set_priority(conn, job_id, change.priority)
    state.database.changed(job_id)
    return job


@router.post("/{job_id}/cancel", responses=MISSING | {409: PROBLEM}, status_code=202)
def cancel_job(job_id: UUID, state: StateDep) -> Job:
    """What has not started is cancelled at once; what runs is asked to stop. Cancelling twice is a no-op."""
    with state.database.connection() as conn:
        job = jobs.cancel(conn, job_id)
    state.database.changed(job_id)
    return job


@router.post("/{job_id}/approve", responses=MISSING | {409: PROBLEM}, status_code=202)
def approve_job(job_id: UUID, state: StateDep, caller: CallerDep) -> Job:
    """Let a job go on that showed its plan (the artifact `plan.json`) and waits for this. Approving twice is a no-op."""
    with state.database.connection() as conn:
        job = children.approve(conn, job_id, caller.name)
    state.database.changed(job_id)
    return job


@router.post("/{job_id}/retry", responses=MISSING | {409: PROBLEM}, status_code=202)
async def retry_job(job_id: UUID, state: StateDep) -> Job:
    """Queue a failed or cancelled job again; its failures are counted anew."""
    job: Job = await _in_thread(state, _retry, job_id)
    state.publish_soon(jobs.told(job))
    return job


def _retry(state: State, job_id: UUID) -> Job:
    with state.database.connection() as conn:
        job = jobs.retry(conn, job_id)
    state.database.changed(job_id)
    return job


@router.get("/{job_id}/artifacts", responses=MISSING)
def list_artifacts(job_id: UUID, state: StateDep) -> list[ArtifactView]:
    with state.database.connection() as conn:
        jobs.get(conn, job_id)
        found = artifacts.of_job(conn, job_id)
    return [
        ArtifactView(
            name=one.name,
            ref=one.ref,
            bytes=one.bytes,
            sha256=one.sha256,
            media_type=one.media_type,
            created_at=one.created_at,
            url=f"/v1/jobs/{job_id}/artifacts/{one.name}",
        )
        for one in found
    ]


@router.get("/{job_id}/artifacts/{name}", responses=MISSING | DOWNLOAD, response_class=Download)
@router.head("/{job_id}/artifacts/{name}", responses=MISSING | DOWNLOAD, response_class=Download)
def download_artifact(job_id: UUID, name: str, state: StateDep) -> Download:
    """The file itself, or ranges of it."""
    with state.database.connection() as conn:
        jobs.get(conn, job_id)
        if not artifacts.NAME.fullmatch(name):
            raise NotFound(f"{name!r} is no artifact name: letters, digits, dot, dash, underscore; at most 128")
        found = artifacts.get(conn, job_id, name)
    path = state.storage.existing(found.uri)
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
    return Download(path, media_type=found.media_type, filename=found.name, headers=headers)


@router.get("/{job_id}/log", responses=MISSING | DOWNLOAD, response_class=Response)
def get_log(
    job_id: UUID,
    request: Request,
    state: StateDep,
    attempt: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Empty: the last one that left a log.")] = None,
) -> Response:
    """What an attempt's process wrote, as far as it is; range requests are answered, so a running one can be followed.

    Only kinds that run in a process of their own write one, on the machine of their worker.
    """
    with state.database.connection() as conn:
        jobs.get(conn, job_id)
    folder = state.settings.logs / "jobs"
    there = sorted(int(path.name.split(".")[1]) for path in folder.glob(f"{job_id}.*.log"))
    wanted = attempt or (there[-1] if there else None)
    if wanted not in there:
        known = ", ".join(map(str, there)) or "none"
        raise NotFound(f"attempt {attempt or 'any'} of job {job_id} left no log here; attempts with one: {known}")
    path, media_type = folder / f"{job_id}.{wanted}.log", "text/plain; charset=utf-8"
    headers = {"X-Content-Type-Options": "nosniff", "Goldsmith-Attempt": str(wanted)}
    if "range" in request.headers:
        return Download(path, media_type=media_type, headers=headers)
    # It may grow while it is sent, so its length is not promised.
    return StreamingResponse(_chunks(path), media_type=media_type, headers=headers | {"Accept-Ranges": "bytes"})


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 16):
            yield chunk
