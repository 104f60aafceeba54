"""`POST /v1/erase`: take what a device typed out of everything, and mark what was made from it."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from api.body import body_schema, read_model
from api.errors import PROBLEM
from api.jobs import REFUSALS
from api.state import CallerDep, StateDep
from goldsmith import erasure
from goldsmith.erasure import Erased

router = APIRouter(prefix="/v1/erase", tags=["erasure"])


class EraseBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    device_id: str = Field(min_length=1, max_length=erasure.LONGEST_ID, description="As the recordings have it.")
    dry_run: bool = Field(False, description="Only count what would go.")


@router.post("", responses=REFUSALS | {409: PROBLEM}, response_model=Erased, openapi_extra=body_schema(EraseBody))
async def erase(request: Request, state: StateDep, caller: CallerDep) -> Erased:
    """Remove a device's runs, feedback, dataset rows, teachers' answers and the files that hold them; mark every dataset and
    adapter version that descends from them. Twice is a no-op. A 409 names jobs that work with its texts right now.

    The audit log and later imports know the device by the hash of its id alone. Needs the scope admin.
    """
    body = await read_model(request, EraseBody)

    def run() -> Erased:
        with state.database.connection() as conn:
            return erasure.erase(conn, state.storage, body.device_id, actor=caller.name, dry_run=body.dry_run)

    return await to_thread.run_sync(run)
