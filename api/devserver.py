"""The contract that the devserver polls: nine keys, four states, a loop that always ends."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from api.body import inline, read_json
from api.direct import DirectRoute
from api.errors import PROBLEM
from api.jobs import REFUSALS, IdempotencyKey, submit_job, submit_schemas
from api.state import CallerDep, State, StateDep
from goldsmith import jobs, jobs_sql
from goldsmith.errors import TooManyRequests
from goldsmith.kinds.intercept.schema import InterceptConfig

router = APIRouter(tags=["devserver"])
polled = APIRouter(tags=["devserver"], route_class=DirectRoute)


class Started(BaseModel):
    job_id: UUID
    status: str = "queued"


class JobStatus(BaseModel):
    """Always all nine keys."""

    job_id: UUID
    status: str = Field(description="queued, running, completed or failed")
    progress: int = Field(ge=0, le=100)
    message: str
    result: dict[str, Any] | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


NOT_FOUND = {"description": "No such job", "content": {"application/json": {"example": {"error": "Job not found"}}}}


def _start_body() -> dict[str, Any]:
    intercept = inline(InterceptConfig.model_json_schema())
    del intercept["properties"]["kind"], intercept["additionalProperties"]
    schema = {"anyOf": [intercept, *submit_schemas()]}
    example = {"config_id": "loom", "user_input": "A dragon that is afraid of the dark", "language": "en"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


START_BODY = _start_body()


@router.post("/api/job/start", status_code=202, responses=REFUSALS | {429: PROBLEM}, openapi_extra=START_BODY)
@router.post("/api/run/start", status_code=202, responses=REFUSALS | {429: PROBLEM}, openapi_extra=START_BODY)
async def start(request: Request, state: StateDep, caller: CallerDep, idempotency_key: IdempotencyKey = None) -> Started:
    """Without `kind` it starts an `intercept` job from config_id, user_input and language; other keys are left aside.

    The same `Idempotency-Key` again answers with the first job, so a caller whose time ran out may simply repeat the request.
    """
    body = await read_json(request)
    if "kind" not in body:
        body = {"kind": "intercept"} | {key: value for key, value in body.items() if key in InterceptConfig.model_fields}
    waiting = await state.waiting()
    if waiting >= state.settings.max_waiting:
        raise TooManyRequests(f"{waiting} jobs are waiting; try again in a few seconds", headers={"Retry-After": "5"})
    job, _ = await submit_job(state, caller, body, idempotency_key=idempotency_key)
    return Started(job_id=job.id)


@polled.get("/api/job/{job_id}/status", response_model=JobStatus, responses={404: NOT_FOUND, 503: PROBLEM})
@polled.get("/api/run/{job_id}/status", response_model=JobStatus, responses={404: NOT_FOUND, 503: PROBLEM})
async def status(job_id: str, state: StateDep) -> JSONResponse:
    """The status for the poll loop. A job that ended more than 24 hours ago is not found here; `/v1` keeps it longer."""
    try:
        parsed = UUID(job_id)
    except ValueError:
        return JSONResponse({"error": "Job not found"}, 404)
    async with state.async_database.connection() as conn:
        row = await (await conn.execute(jobs_sql.DEVSERVER_STATUS, {"id": parsed})).fetchone()
    if row is None:
        return JSONResponse({"error": "Job not found"}, 404)
    return JSONResponse(_as_contract(row))


def _as_contract(row: dict[str, Any]) -> dict[str, Any]:
    state = {"waiting": "queued", "scheduled": "queued", "cancelled": "failed"}.get(row["status"], row["status"])
    error = None
    if state == "failed":
        error = "cancelled" if row["status"] == "cancelled" else (row["error"] or {}).get("detail", "failed")
    message = f"Error: {error}" if error is not None else row["message"]
    return {
        "job_id": str(row["id"]),
        "status": state,
        "progress": 100 if state == "completed" else int(row["progress"]),
        "message": "Completed" if state == "completed" else message,
        "result": row["result"] if state == "completed" else None,
        "error": error,
        "created_at": _iso(row["created_at"]),
        "started_at": _iso(row["started_at"]),
        "completed_at": _iso(row["completed_at"]),
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


@router.post("/api/job/{job_id}/cancel", responses={404: NOT_FOUND, 409: PROBLEM}, response_model=JobStatus)
@router.post("/api/run/{job_id}/cancel", responses={404: NOT_FOUND, 409: PROBLEM}, response_model=JobStatus)
async def cancel(job_id: str, state: StateDep) -> JSONResponse:
    """Ask for a cancel; answers with the status. A job that already ended is a 409."""
    try:
        parsed = UUID(job_id)
    except ValueError:
        return JSONResponse({"error": "Job not found"}, 404)
    found = await to_thread.run_sync(_cancel, state, parsed)
    if not found:
        return JSONResponse({"error": "Job not found"}, 404)
    return await status(job_id, state)


def _cancel(state: State, job_id: UUID) -> bool:
    with state.database.connection() as conn:
        if conn.execute(jobs_sql.DEVSERVER_STATUS, {"id": job_id}).fetchone() is None:
            return False
        jobs.cancel(conn, job_id)
    state.database.changed(job_id)
    return True


@router.get("/api/health/queue", responses={503: PROBLEM})
def queue_health(state: StateDep) -> dict[str, Any]:
    """How many jobs wait and run, by queue."""
    with state.database.connection() as conn:
        counts = jobs.unfinished(conn)
    return {"status": "ok", "queues": counts}
