"""`/v1/experiments/{id}`: what is known about it, and what a person may decide about its safety."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.body import body_schema, read_model
from api.errors import PROBLEM
from api.jobs import MISSING, REFUSALS
from api.state import CallerDep, StateDep
from goldsmith import ab_report, ab_rollback
from goldsmith.ab import Experiment
from goldsmith.ab_report import Report
from goldsmith.kinds.base import Name

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])
CONFLICT: dict[int | str, dict[str, Any]] = REFUSALS | MISSING | {409: PROBLEM}


class Reason(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)] = Field(
        description="Stays in the experiment's history."
    )


class PromoteBody(Reason):
    arm: Name | None = Field(None, description="Which one; may be left out where there is one but base.")


@router.post("/{experiment_id}/rollback", responses=CONFLICT, openapi_extra=body_schema(Reason))
async def roll_back(experiment_id: UUID, request: Request, state: StateDep, caller: CallerDep) -> Experiment:
    """running or paused → rolled_back: every unit to base at once, aliases and Ollama tags back, proved by asking. Twice is a no-op."""
    body = await read_model(request, Reason)
    done = await state.database.run(ab_rollback.roll_back, experiment_id, body.reason, actor=caller.name)
    state.guard.decided(experiment_id)
    return done


@router.post("/{experiment_id}/force", responses=CONFLICT, openapi_extra=body_schema(Reason))
async def force(experiment_id: UUID, request: Request, state: StateDep, caller: CallerDep) -> Experiment:
    """rolled_back or paused → running, although a guardrail says no. The guardrails in breach do not act until the cool-down ends."""
    body = await read_model(request, Reason)
    done = await state.database.run(ab_rollback.force, experiment_id, body.reason, actor=caller.name)
    state.guard.decided(experiment_id)
    return done


@router.post("/{experiment_id}/promote", responses=CONFLICT, openapi_extra=body_schema(PromoteBody))
async def promote(experiment_id: UUID, request: Request, state: StateDep, caller: CallerDep) -> Experiment:
    """Let the alias `champion` mean the arm's adapter. A 409 lists all that is `missing`: a completed and valid experiment, closed
    guardrails, and a newest `evaluate` and `bias_audit` of this version that passed."""
    body = await read_model(request, PromoteBody)
    return await state.database.run(ab_report.promote, experiment_id, body.reason, actor=caller.name, arm=body.arm)


@router.get("/{experiment_id}/report", responses=MISSING, response_model=Report)
def report(
    experiment_id: UUID, state: StateDep, if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None
) -> Response:
    """All that is known: every number by metric and arm, the guardrails, whether the numbers can be trusted, the curve so far, and
    every decision. Has an ETag."""
    with state.database.connection() as conn:
        found = ab_report.report(conn, experiment_id, look_now=state.guard.may_tell(experiment_id))
    body = found.model_dump_json().encode()
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if if_none_match is not None and tag in (one.strip() for one in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
