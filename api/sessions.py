"""`/v1/sessions` and `/v1/quarantine`: what was read out of logs, and what of it, or of the rules, is kept out of training."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from api.errors import PROBLEM
from api.jobs import MISSING, REFUSALS
from api.params import JobId
from api.state import CallerDep, StateDep
from goldsmith import quarantine, sessions
from goldsmith.quarantine import Quarantined
from goldsmith.sessions import Saved, Status

router = APIRouter(prefix="/v1")
CONFLICT: dict[int | str, dict[str, Any]] = MISSING | {409: PROBLEM}


class SessionPage(BaseModel):
    sessions: list[Saved]
    next_cursor: int | None
    """Give it as `cursor` for the next page; null on the last."""


class QuarantinePage(BaseModel):
    entries: list[Quarantined]
    next_cursor: UUID | None
    """Give it as `cursor` for the next page; null on the last."""


@router.get("/sessions", tags=["rules"], responses=REFUSALS)
def list_sessions(
    state: StateDep,
    job: Annotated[
        JobId, Query(description="The job that saved them, as job:<id>: sessions, or rules where it was made from runs.")
    ],
    status: Annotated[Status | None, Query(description="Only these.")] = None,
    cursor: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> SessionPage:
    """A job's sessions in their order, those in quarantine with their reason."""
    with state.database.connection() as conn:
        page = sessions.page(conn, job, status=status, after=cursor, limit=limit + 1)
    return SessionPage(sessions=page[:limit], next_cursor=page[limit - 1].ordinal if len(page) > limit else None)


@router.get("/quarantine", tags=["rules"], responses=REFUSALS)
def list_quarantine(
    state: StateDep,
    job: Annotated[JobId | None, Query(description="Only what this job, job:<id>, put there.")] = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> QuarantinePage:
    """Sessions and rules that speak to the machinery instead of about an answer, newest first. Needs the scope admin."""
    with state.database.connection() as conn:
        page = quarantine.entries(conn, job_id=job, after=cursor, limit=limit + 1)
    return QuarantinePage(entries=page[:limit], next_cursor=page[limit - 1].id if len(page) > limit else None)


@router.post("/quarantine/{entry_id}/release", tags=["rules"], responses=CONFLICT)
def release(entry_id: Annotated[UUID, Path()], state: StateDep, caller: CallerDep) -> Quarantined:
    """Let a session or a rule through: jobs that are submitted from now on read it. Needs the scope admin."""
    with state.database.connection() as conn:
        return quarantine.release(conn, entry_id, actor=caller.name)
