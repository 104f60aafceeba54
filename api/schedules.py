"""`/v1/schedules`: jobs that are submitted again and again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel

from api.body import body_schema, read_model
from api.errors import PROBLEM
from api.jobs import MISSING, REFUSALS
from api.state import CallerDep, StateDep
from goldsmith import schedules
from goldsmith.kinds.base import NAME_PATTERN
from goldsmith.schedules import NewSchedule, Schedule, ScheduleChange

router = APIRouter(prefix="/v1/schedules", tags=["schedules"])

NameParam = Annotated[str, Path(pattern=f"^{NAME_PATTERN}$")]


class Preview(BaseModel):
    name: str
    next_times: list[datetime]
    """In the schedule's time zone."""


@router.post(
    "", status_code=201, responses=REFUSALS | {409: PROBLEM}, response_model=Schedule, openapi_extra=body_schema(NewSchedule)
)
async def create_schedule(request: Request, response: Response, state: StateDep, caller: CallerDep) -> Schedule:
    """Submit a job at the times of a cron expression. A name that is taken is a 409."""
    new = await read_model(request, NewSchedule)

    def create() -> Schedule:
        with state.database.connection() as conn:
            return schedules.create(conn, new, settings=state.settings, created_by=caller.name)

    response.headers["Location"] = f"/v1/schedules/{new.name}"
    return await to_thread.run_sync(create)


@router.get("", responses={401: PROBLEM, 503: PROBLEM})
def list_schedules(state: StateDep) -> list[Schedule]:
    with state.database.connection() as conn:
        return schedules.list_schedules(conn)


@router.get("/{name}", responses=MISSING)
def get_schedule(name: NameParam, state: StateDep) -> Schedule:
    with state.database.connection() as conn:
        return schedules.get(conn, name)


@router.get("/{name}/preview", responses=MISSING)
def preview_schedule(name: NameParam, state: StateDep) -> Preview:
    """The next five times, were it enabled."""
    with state.database.connection() as conn:
        return Preview(name=name, next_times=schedules.preview(conn, name))


@router.patch(
    "/{name}", responses=REFUSALS | {404: PROBLEM}, response_model=Schedule, openapi_extra=body_schema(ScheduleChange)
)
async def change_schedule(name: NameParam, request: Request, state: StateDep) -> Schedule:
    """Change what is given. Times that passed under the old cron, or while it was disabled, are not made up for."""
    change = await read_model(request, ScheduleChange)

    def apply() -> Schedule:
        with state.database.connection() as conn:
            return schedules.change(conn, name, change, settings=state.settings)

    return await to_thread.run_sync(apply)


@router.delete("/{name}", status_code=204, responses=MISSING)
def remove_schedule(name: NameParam, state: StateDep) -> None:
    """It fires no more; the jobs that it made stay."""
    with state.database.connection() as conn:
        schedules.remove(conn, name)
