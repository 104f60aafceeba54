"""`/v1/jobs/batch`, and `cancel` and `retry` by filter: many jobs in one request."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from api.body import JSON_TYPES, body_schema, read_json, read_model
from api.jobs import REFUSALS, IdempotencyKey, check_kind, prepared, submit_body
from api.state import CallerDep, State, StateDep
from goldsmith import bulk, jobs, limits, submit
from goldsmith.bulk import LARGEST_BATCH, CancelFilter, RetryFilter
from goldsmith.errors import InvalidInput
from goldsmith.job import Job
from goldsmith.jobs import NewJob
from goldsmith.keys import Caller

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class Batch(BaseModel):
    ids: list[UUID]
    """In the order of the request."""


class Matched(BaseModel):
    count: int
    ids: list[UUID]
    dry_run: bool


def _batch_body() -> dict[str, Any]:
    content = submit_body()["requestBody"]["content"]["application/json"]
    jobs_schema = {"type": "array", "minItems": 1, "maxItems": LARGEST_BATCH, "items": content["schema"]}
    schema = {"type": "object", "required": ["jobs"], "additionalProperties": False, "properties": {"jobs": jobs_schema}}
    example = {"jobs": [one["value"] for one in content["examples"].values()] * 2}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


@router.post("/batch", status_code=202, responses=REFUSALS, openapi_extra=_batch_body())
async def submit_a_batch(
    request: Request,
    response: Response,
    state: StateDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Batch:
    """Put up to 1,000 jobs into the queue in one transaction: all of them, or none.

    A wrong job refuses all; its fields are named with its index, as `jobs.17.learning_rate`. The `Idempotency-Key` stands
    for the whole batch. A job with a `unique_key` may be one that is there already, as in a single submit.
    """
    body = await read_json(request)
    ids, created = await to_thread.run_sync(_submit, state, caller, body, idempotency_key)
    if created is None:
        response.headers["Idempotent-Replayed"] = "true"
    else:
        state.publish_soon([told for job in created for told in jobs.told(job)])
    return Batch(ids=ids)


def _submit(state: State, caller: Caller, body: dict[str, Any], key: str | None) -> tuple[list[UUID], list[Job] | None]:
    parsed = bulk.each(_items(body), submit.parse)
    with state.database.connection() as conn:

        def prepare() -> list[NewJob]:
            return bulk.each(parsed, lambda one: prepared(state, conn, caller, *one))

        with conn.transaction():
            ids, created = bulk.submit(conn, prepare, body=body, created_by=caller.name, idempotency_key=key)
            if created:
                limits.take_jobs(conn, caller, len(created))
        return ids, created


def _items(body: dict[str, Any]) -> list[dict[str, Any]]:
    if unknown := sorted(body.keys() - {"jobs"}):
        raise InvalidInput(
            "a batch has one key: jobs", errors=[{"field": unknown[0], "message": "unknown key; the known one is: jobs"}]
        )
    items = body.get("jobs")
    if not isinstance(items, list) or not 1 <= len(items) <= LARGEST_BATCH:
        found = f"{len(items)} items" if isinstance(items, list) else "no array"
        message = f"must be an array of 1 to {LARGEST_BATCH} jobs"
        raise InvalidInput(f"jobs {message}, not {found}", errors=[{"field": "jobs", "message": message}])
    wrong = [
        {"field": f"jobs.{index}", "message": f"must be a JSON object, not {JSON_TYPES[type(item)]}"}
        for index, item in enumerate(items)
        if not isinstance(item, dict)
    ]
    if wrong:
        raise InvalidInput(
            f"no job was submitted: {wrong[0]['field']} {wrong[0]['message']}", errors=wrong[: bulk.SHOWN_ERRORS]
        )
    return items


@router.post("/cancel", responses=REFUSALS, openapi_extra=body_schema(CancelFilter))
async def cancel_jobs(request: Request, state: StateDep, caller: CallerDep) -> Matched:
    """Cancel every job that fits the filter: what has not started at once, what runs is asked to stop. `dry_run` only says which."""
    which = await read_model(request, CancelFilter)
    check_kind(which.kind)
    ids = await to_thread.run_sync(_cancel, state, which, caller)
    return Matched(count=len(ids), ids=ids, dry_run=which.dry_run)


def _cancel(state: State, which: CancelFilter, caller: Caller) -> list[UUID]:
    with state.database.connection() as conn:
        ids = bulk.cancel(conn, which, actor=caller.name)
    if not which.dry_run:
        state.database.changed(*ids)
    return ids


@router.post("/retry", responses=REFUSALS, openapi_extra=body_schema(RetryFilter))
async def retry_jobs(request: Request, state: StateDep, caller: CallerDep) -> Matched:
    """Queue every failed or cancelled job that fits the filter again. `dry_run` only says which."""
    which = await read_model(request, RetryFilter)
    check_kind(which.kind)
    ids, again = await to_thread.run_sync(_retry, state, which, caller)
    state.publish_soon([told for job in again for told in jobs.told(job)])
    return Matched(count=len(ids), ids=ids, dry_run=which.dry_run)


def _retry(state: State, which: RetryFilter, caller: Caller) -> tuple[list[UUID], list[Job]]:
    with state.database.connection() as conn:
        ids, again = bulk.retry(conn, which, actor=caller.name)
    state.database.changed(*(job.id for job in again))
    return ids, again
