"""`POST /v1/sweep`: remove old jobs now, or see what would go."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from api.body import body_schema, read_model
from api.jobs import REFUSALS
from api.state import CallerDep, StateDep
from goldsmith import audit, retention
from goldsmith.retention import Swept

router = APIRouter(prefix="/v1/sweep", tags=["retention"])


class SweepBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dry_run: bool = Field(False, strict=True, description="Only say what would go.")
    days: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=36_500,
        description="Remove what ended more than so many days ago; empty: GOLDSMITH_KEEP_JOBS_DAYS.",
    )


@router.post("", responses=REFUSALS, response_model=Swept, openapi_extra=body_schema(SweepBody))
async def sweep(request: Request, state: StateDep, caller: CallerDep) -> Swept:
    """Remove finished jobs, with their events and artifacts, except what a dataset, an adapter or an unfinished job is built on."""
    body = await read_model(request, SweepBody)

    def run() -> Swept:
        with state.database.connection() as conn:
            swept = retention.sweep(conn, state.settings, days=body.days, dry_run=body.dry_run)
            if not body.dry_run:
                audit.record(conn, caller.name, "sweep", "jobs", swept.model_dump())
            return swept

    return await to_thread.run_sync(run)
