"""`/v1/experiments`: written, started, paused, ended; its arms told, its events taken, its decisions shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.body import as_model, body_schema, read, read_model, read_optional
from api.errors import PROBLEM
from api.jobs import MISSING, REFUSALS
from api.state import CallerDep, State, StateDep
from goldsmith import ab_ingest, ab_snapshots, experiments
from goldsmith.ab import EventBatch, Experiment, Id, Ingested, ModelName, NewExperiment, Status
from goldsmith.ab.events import Checked, UncheckedBatch, check, check_json
from goldsmith.ab.plan import ConfigId, ContextHash, Language
from goldsmith.ab.snapshot import Facts, Snapshot
from goldsmith.keys import Caller

Act = Callable[..., Experiment]
router = APIRouter(prefix="/v1/experiments", tags=["experiments"])
CONFLICT: dict[int | str, dict[str, Any]] = MISSING | {409: PROBLEM}


class Why(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)] | None = Field(
        None, description="Stays in the experiment's history."
    )


class StartBody(Why):
    force: bool = Field(False, description="Do not wait for the cool-down after a rollback; needs a reason.")


WHY = body_schema(Why, required=False)


class SignedSnapshot(BaseModel):
    snapshot: Snapshot
    signature: dict[str, str] = Field(description="algorithm, key_id, public_key, value.")


class AssignmentsBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    units: list[Id] = Field(min_length=1, max_length=1000, description="Device or run ids, as the plan's `unit` says.")
    config_id: ConfigId | None = None
    context_sha256: ContextHash | None = None
    input_language: Language | None = None
    context_language: Language | None = None
    models: list[ModelName] | None = Field(None, max_length=1000, description="Those that the caller has at hand.")


class UnitAssignment(BaseModel):
    unit: str
    experiment_id: str | None
    arm: str | None = Field(description="What answers; null: the request is in no arm, base answers it.")
    assigned: str | None = Field(description="The arm in which it is counted, also while base answers in its place.")
    gated: str | None = Field(description="Why base answers in its place.")
    adapter: str | None
    model: str | None
    step: int | None
    reason: str


class Assignments(BaseModel):
    assignments: list[UnitAssignment] = Field(description="In the order of `units`.")


@router.post("", status_code=201, responses=REFUSALS | {409: PROBLEM}, openapi_extra=body_schema(NewExperiment))
async def create(request: Request, response: Response, state: StateDep, caller: CallerDep) -> Experiment:
    """Write a draft: arms, weights, unit, ramp, metrics. `start` freezes it."""
    new = await read_model(request, NewExperiment)
    made = await state.database.run(experiments.create, new, created_by=caller.name)
    response.headers["Location"] = f"/v1/experiments/{made.id}"
    return made


@router.get("", responses=REFUSALS)
def list_experiments(
    state: StateDep,
    status: Status | None = None,
    name: Annotated[str | None, Query(max_length=64, description="Every version of one.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Experiment]:
    """Newest first."""
    with state.database.connection() as conn:
        return experiments.list_experiments(conn, status=status, name=name, limit=limit)


@router.get("/snapshot", responses=MISSING, response_model=SignedSnapshot)
def snapshot(state: StateDep, response: Response) -> dict[str, Any]:
    """All that runs, signed: what the SDK needs to tell a device's arm by itself. Needs the scope `experiments:event`.

    The signature is Ed25519 over the RFC 8785 form of `{"snapshot": …}`, with the key of `/.well-known/goldsmith-passport-key`.
    """
    response.headers["Cache-Control"] = "no-store"
    with state.database.connection() as conn:
        return ab_snapshots.signed(conn, state.storage)


@router.put("/snapshot", include_in_schema=False)
@router.delete("/snapshot", include_in_schema=False)
async def not_an_experiment() -> None:
    """Otherwise the routes below would take the word for an experiment's id."""
    raise HTTPException(405, headers={"Allow": "GET"})


@router.get("/{experiment_id}", responses=MISSING)
def get(experiment_id: UUID, state: StateDep) -> Experiment:
    with state.database.connection() as conn:
        return experiments.get(conn, experiment_id)


@router.put("/{experiment_id}", responses=REFUSALS | CONFLICT, openapi_extra=body_schema(NewExperiment))
async def change(experiment_id: UUID, request: Request, state: StateDep, caller: CallerDep) -> Experiment:
    """Put another plan in a draft's place. A 409 once it has started: then POST the plan to `…/versions`."""
    new = await read_model(request, NewExperiment)
    return await state.database.run(experiments.change, experiment_id, new, actor=caller.name)


@router.delete("/{experiment_id}", status_code=204, responses=CONFLICT)
def delete(experiment_id: UUID, state: StateDep, caller: CallerDep) -> None:
    """Remove a draft. A 409 once it has started."""
    with state.database.connection() as conn:
        experiments.delete(conn, experiment_id, actor=caller.name)


@router.post(
    "/{experiment_id}/versions", status_code=201, responses=REFUSALS | CONFLICT, openapi_extra=body_schema(NewExperiment)
)
async def new_version(
    experiment_id: UUID, request: Request, response: Response, state: StateDep, caller: CallerDep
) -> Experiment:
    """The changed plan of a started experiment, as a draft with the next version; what was started stays as it is."""
    new = await read_model(request, NewExperiment)
    made = await state.database.run(experiments.new_version, experiment_id, new, created_by=caller.name)
    response.headers["Location"] = f"/v1/experiments/{made.id}"
    return made


@router.post("/{experiment_id}/start", responses=REFUSALS | CONFLICT, openapi_extra=body_schema(StartBody, required=False))
async def start(experiment_id: UUID, request: Request, state: StateDep, caller: CallerDep) -> Experiment:
    """draft → running: the plan is frozen and hashed. Two that run share a config only within one group.

    `force`, with a reason, starts it although an adapter of it was rolled back on these configs a moment ago.
    """
    body = await read_optional(request, StartBody)
    return await state.database.run(experiments.start, experiment_id, actor=caller.name, reason=body.reason, force=body.force)


async def _act(act: Act, experiment_id: UUID, request: Request, state: State, caller: Caller) -> Experiment:
    body = await read_optional(request, Why)
    return await state.database.run(act, experiment_id, actor=caller.name, reason=body.reason)


@router.post("/{experiment_id}/pause", responses=REFUSALS | CONFLICT, openapi_extra=WHY)
async def pause(experiment_id: UUID, request: Request, state: StateDep, caller: CallerDep) -> Experiment:
    """running → paused: base answers every unit, events go on being taken. Twice is a no-op."""
    return await _act(experiments.pause, experiment_id, request, state, caller)


@router.post("/{experiment_id}/resume", responses=REFUSALS | CONFLICT, openapi_extra=WHY)
async def resume(experiment_id: UUID, request: Request, state: StateDep, caller: CallerDep) -> Experiment:
    """paused → running, at the step at which it was paused. Twice is a no-op."""
    return await _act(experiments.resume, experiment_id, request, state, caller)


@router.post("/{experiment_id}/approve", responses=REFUSALS | CONFLICT, openapi_extra=WHY)
async def approve(experiment_id: UUID, request: Request, state: StateDep, caller: CallerDep) -> Experiment:
    """Let the present step of the ramp go on to the next, once its other rules hold. Twice is a no-op."""
    return await _act(experiments.approve, experiment_id, request, state, caller)


@router.post("/{experiment_id}/end", responses=REFUSALS | CONFLICT, openapi_extra=WHY)
async def end(experiment_id: UUID, request: Request, state: StateDep, caller: CallerDep) -> Experiment:
    """running or paused → completed: base answers every unit. Twice is a no-op."""
    return await _act(experiments.end, experiment_id, request, state, caller)


@router.post("/{experiment_id}/assignments", responses=REFUSALS | MISSING, openapi_extra=body_schema(AssignmentsBody))
async def assignments(experiment_id: UUID, request: Request, state: StateDep) -> Assignments:
    """The arms of units, as the SDK tells them from a fresh snapshot: for callers that cannot, and for checking one's own.

    A request of a child should not wait for this; `docs/assignment.md` says how a caller computes it.
    """
    body = await read_model(request, AssignmentsBody)
    facts = Facts(**body.model_dump(exclude={"units", "models"}), models=body.models and frozenset(body.models))
    found = await state.database.run(ab_snapshots.assignments, experiment_id, body.units, facts)
    given = [UnitAssignment(unit=unit, **one._asdict()) for unit, one in zip(body.units, found, strict=True)]
    return Assignments(assignments=given)


@router.post("/{experiment_id}/events", responses=REFUSALS | CONFLICT, openapi_extra=body_schema(EventBatch))
async def send_events(experiment_id: UUID, request: Request, state: StateDep) -> Ingested:
    """Up to a batch of events, idempotent by event id, in any order. An event that is wrong stops no other."""
    checked = await read(request, _checked)
    taken = await state.database.run(ab_ingest.store, experiment_id, checked)
    state.guard.woken()
    return taken


def _checked(raw: bytes) -> Checked:
    return check_json(raw) or check(as_model(raw, UncheckedBatch, apart="events").events)
