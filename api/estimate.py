"""`POST /v1/estimate`: what a gold job would cost and take, before anything is spent."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request

from api.body import inline, read_json
from api.jobs import REFUSALS
from api.state import CallerDep, State, StateDep
from goldsmith import estimates, references, submit
from goldsmith.estimates import Estimate
from goldsmith.keys import Caller
from goldsmith.kinds.gold.schema import GoldConfig

router = APIRouter(prefix="/v1/estimate", tags=["jobs"])


def _body() -> dict[str, Any]:
    schema = inline(GoldConfig.model_json_schema())
    schema["required"] = ["kind", *schema.get("required", [])]
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post("", responses=REFUSALS, openapi_extra=_body())
async def estimate_a_job(request: Request, state: StateDep, caller: CallerDep) -> Estimate:
    """Tokens, dollars (direct, cached, in batches) and minutes of the gold job that this body would submit; nothing is bought.

    The teacher counts the tokens of a few prompts, where it can: a corpus that may not leave the machine is refused as the job is.
    """
    body = await read_json(request)
    config, _ = submit.parse(body)
    return await to_thread.run_sync(_estimate, state, estimates.parse(config), caller)


def _estimate(state: State, config: GoldConfig, caller: Caller) -> Estimate:
    with state.database.connection() as conn:
        pinned, _ = references.resolve(conn, config)
        return estimates.estimate(conn, state.settings, estimates.parse(pinned), caller)
