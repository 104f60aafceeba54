"""`/v1/experiments`: create, start, feed with events, read what was decided, end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from api.body import as_model, body_schema, read, read_model
from api.errors import PROBLEM
from api.jobs import MISSING, REFUSALS
from api.state import CallerDep, State, StateDep
from goldsmith import ab_ingest, experiments
from goldsmith.ab import EventBatch, Experiment, Ingested, NewExperiment
from goldsmith.ab.events import Checked, UncheckedBatch, check, check_json
from goldsmith.db import Connection

T = TypeVar("T")
router = APIRouter(prefix="/v1/experiments", tags=["experiments"])
CONFLICT: dict[int | str, dict[str, Any]] = MISSING | {409: PROBLEM}


class Report(BaseModel):
    experiment: Experiment
    decisions: list[dict[str, Any]]
    """Newest first; an `ab_report` job adds one."""


async def _with_connection(state: State, call: Callable[[Connection], T]) -> T:
    def inside() -> T:
        with state.database.connection() as conn:
            return call(conn)

    return await to_thread.run_sync(inside)


@router.post("", status_code=201, responses=REFUSALS | {409: PROBLEM}, openapi_extra=body_schema(NewExperiment))
async def create(request: Request, response: Response, state: StateDep, caller: CallerDep) -> Experiment:
    """Write a draft: arms, weights, unit. `start` freezes it."""
    new = await read_model(request, NewExperiment)
    made = await _with_connection(state, lambda conn: experiments.create(conn, new, created_by=caller.name))
    response.headers["Location"] = f"/v1/experiments/{made.id}"
    return made


@router.get("", responses=REFUSALS)
def list_experiments(state: StateDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[Experiment]:
    """Newest first."""
    with state.database.connection() as conn:
        return experiments.list_experiments(conn, limit=limit)


@router.get("/{experiment_id}", responses=MISSING)
def get(experiment_id: UUID, state: StateDep) -> Experiment:
    with state.database.connection() as conn:
        return experiments.get(conn, experiment_id)


@router.post("/{experiment_id}/start", responses=CONFLICT)
def start(experiment_id: UUID, state: StateDep) -> Experiment:
    """draft → running. Two running experiments never share a config."""
    with state.database.connection() as conn:
        return experiments.start(conn, experiment_id)


@router.post("/{experiment_id}/end", responses=CONFLICT)
def end(experiment_id: UUID, state: StateDep) -> Experiment:
    """running → completed: no more events are taken."""
    with state.database.connection() as conn:
        return experiments.end(conn, experiment_id)


@router.post("/{experiment_id}/events", responses=REFUSALS | CONFLICT, openapi_extra=body_schema(EventBatch))
async def send_events(experiment_id: UUID, request: Request, state: StateDep) -> Ingested:
    """Up to a batch of events, idempotent by event id, in any order. An event that is wrong stops no other."""
    checked = await read(request, _checked)
    return await _with_connection(state, lambda conn: ab_ingest.store(conn, experiment_id, checked))


def _checked(raw: bytes) -> Checked:
    return check_json(raw) or check(as_model(raw, UncheckedBatch, apart="events").events)


@router.get("/{experiment_id}/report", responses=MISSING)
def report(experiment_id: UUID, state: StateDep) -> Report:
    """The experiment as it stands and every decision so far, with its reason and numbers."""
    with state.database.connection() as conn:
        return Report(experiment=experiments.get(conn, experiment_id), decisions=experiments.decisions_of(conn, experiment_id))
