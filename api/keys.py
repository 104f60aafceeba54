"""`/v1/keys` and `/v1/audit`: make keys, revoke them, and see who did what. All of it needs the scope admin."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from api.body import body_schema, read_model
from api.errors import PROBLEM
from api.jobs import MISSING, REFUSALS
from api.state import CallerDep, State, StateDep
from goldsmith import audit, keys
from goldsmith.keys import Caller, CreatedKey, Key, KeyBudgets, NewKey

router = APIRouter(prefix="/v1")
CONFLICT: dict[int | str, dict[str, Any]] = REFUSALS | {409: PROBLEM}


class AuditPage(BaseModel):
    entries: list[audit.Entry]
    next_cursor: UUID | None
    """Give it as `cursor` for the next page; null on the last."""


@router.post("/keys", tags=["keys"], status_code=201, responses=CONFLICT, openapi_extra=body_schema(NewKey))
async def create_key(request: Request, response: Response, state: StateDep, caller: CallerDep) -> CreatedKey:
    """Make a key. The answer is the only place where it ever stands; from the first one on, every request needs one."""
    made = await to_thread.run_sync(_create, state, await read_model(request, NewKey), caller)
    state.keys.forget()
    response.headers["Cache-Control"] = "no-store"
    return made


def _create(state: State, new: NewKey, caller: Caller) -> CreatedKey:
    with state.database.connection() as conn:
        return keys.create(conn, new, actor=caller.name)


@router.get("/keys", tags=["keys"], responses=REFUSALS)
def list_keys(state: StateDep) -> list[Key]:
    """Newest first, the revoked ones with them."""
    with state.database.connection() as conn:
        return keys.list_keys(conn)


@router.post("/keys/{name}/revoke", tags=["keys"], responses=MISSING)
async def revoke_key(name: Annotated[str, Path(pattern=f"^{keys.NAME_PATTERN}$")], state: StateDep, caller: CallerDep) -> Key:
    """Take its rights away for good: at once in this process, within seconds in others. Twice is a no-op."""
    revoked = await to_thread.run_sync(_revoke, state, name, caller)
    state.keys.forget()
    return revoked


def _revoke(state: State, name: str, caller: Caller) -> Key:
    with state.database.connection() as conn:
        return keys.revoke(conn, name, actor=caller.name)


@router.patch("/keys/{name}", tags=["keys"], responses=REFUSALS | MISSING, openapi_extra=body_schema(KeyBudgets))
async def change_budgets(
    request: Request, name: Annotated[str, Path(pattern=f"^{keys.NAME_PATTERN}$")], state: StateDep, caller: CallerDep
) -> Key:
    """Change what the key's jobs may spend on teachers, ever and in a UTC day; what is left out or null is unlimited."""
    return await to_thread.run_sync(_change_budgets, state, name, await read_model(request, KeyBudgets), caller)


def _change_budgets(state: State, name: str, new: KeyBudgets, caller: Caller) -> Key:
    with state.database.connection() as conn:
        return keys.set_budgets(conn, name, new, actor=caller.name)


@router.get("/audit", tags=["audit"], responses=REFUSALS)
def list_audit(state: StateDep, cursor: UUID | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> AuditPage:
    """Who did what, newest first."""
    with state.database.connection() as conn:
        page = audit.entries(conn, before=cursor, limit=limit + 1)
    return AuditPage(entries=page[:limit], next_cursor=page[limit - 1].id if len(page) > limit else None)
