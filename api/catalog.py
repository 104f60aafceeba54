"""Kinds and adapters."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, Any, Protocol, Self

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.body import body_schema, read_model, read_optional
from api.errors import PROBLEM
from api.jobs import MISSING, REFUSALS
from api.state import CallerDep, State, StateDep
from goldsmith import ab_retired, adapters, lineage, passports, paused
from goldsmith.adapters import AdapterVersion
from goldsmith.db import Connection
from goldsmith.errors import NotFound, ReferenceNotUsable
from goldsmith.jobs import Told
from goldsmith.kinds.base import NAME_PATTERN, JobConfig
from goldsmith.kinds.registry import kinds
from goldsmith.lineage import Lineage
from goldsmith.storage import Storage

router = APIRouter(prefix="/v1")

NameParam = Annotated[str, Path(pattern=f"^{NAME_PATTERN}$")]
VersionParam = Annotated[int, Path(ge=1, le=999_999_999)]
RefParam = Annotated[str, Path(pattern=r"^([1-9][0-9]{0,8}|[a-z][a-z0-9._-]{0,63})$")]
AliasParam = Annotated[str, Path(pattern=f"^{adapters.ALIAS_PATTERN}$")]
IN_THE_WAY: dict[int | str, dict[str, Any]] = {409: PROBLEM}


class Move(Protocol):
    def __call__(self, conn: Connection, storage: Storage, name: str, version: int, *, actor: str) -> AdapterVersion: ...


class KindView(BaseModel):
    kind: str
    summary: str
    queue: str
    isolated: bool
    timeout_s: int
    max_attempts: int
    priority: int
    """What a job gets that names none; 9 is first."""
    paused_at: datetime | None
    """Since when no job of this kind starts; null: they start."""
    config: dict[str, Any]
    """JSON Schema of what is asked."""
    result: dict[str, Any]
    """JSON Schema of what comes out."""


class AdapterView(BaseModel):
    adapter: AdapterVersion
    ref: str


class Signature(BaseModel):
    algorithm: str
    key_id: str
    public_key: str
    value: str


class Passport(BaseModel):
    """Its form stands in docs/adapters.md; `goldsmith passport verify` checks it without a server."""

    passport: dict[str, Any]
    signature: Signature


class RetireBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    force: bool = Field(False, description="Although experiments that run use it: base answers for their arms; needs a reason.")
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)] | None = None

    @model_validator(mode="after")
    def _force_has_a_reason(self) -> Self:
        if self.force and self.reason is None:
            raise ValueError("reason: must be given with force")
        return self


class AliasBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: int = Field(ge=1, le=999_999_999, description="The version that the alias means from now on.")


def _summary(config: type[JobConfig]) -> str:
    """The first line of what the class says of itself, else its module."""
    text = config.__doc__ or sys.modules[config.__module__].__doc__ or ""
    return text.strip().partition("\n")[0]


def _kind(name: str, paused_at: datetime | None) -> KindView:
    kind = kinds()[name]
    return KindView(
        kind=name,
        summary=_summary(kind.config),
        queue=kind.config.queue,
        isolated=kind.config.isolated,
        timeout_s=kind.config.timeout_s,
        max_attempts=kind.config.max_attempts,
        priority=kind.config.priority,
        paused_at=paused_at,
        config=kind.config.model_json_schema(),
        result=kind.result.model_json_schema(mode="serialization"),
    )


@router.get("/kinds", tags=["kinds"], responses={401: PROBLEM, 503: PROBLEM})
def list_kinds(state: StateDep) -> list[KindView]:
    """Every kind of job, with the JSON Schema of its config and its result, and whether it is paused."""
    with state.database.connection() as conn:
        since = paused.paused(conn)
    return [_kind(name, since.get(name)) for name in kinds()]


@router.post("/kinds/{kind}/pause", tags=["kinds"], responses=MISSING)
def pause_kind(kind: str, state: StateDep, caller: CallerDep) -> KindView:
    """Start no more jobs of this kind: they stay queued, with `blocked_by`. What runs goes on. Twice is a no-op."""
    with state.database.connection() as conn:
        blocked = paused.pause(conn, kind, caller.name)
        view = _kind(kind, paused.paused(conn).get(kind))
    state.database.changed(*blocked)
    return view


@router.post("/kinds/{kind}/resume", tags=["kinds"], responses=MISSING)
async def resume_kind(kind: str, state: StateDep, caller: CallerDep) -> KindView:
    """Let the jobs of this kind start again. Twice is a no-op."""

    def resume() -> list[Told]:
        with state.database.connection() as conn:
            released, told = paused.resume(conn, kind, caller.name)
        state.database.changed(*released)
        return told

    state.publish_soon(await to_thread.run_sync(resume))
    return _kind(kind, None)


@router.get("/adapters", tags=["adapters"], responses=REFUSALS)
def list_adapters(state: StateDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[AdapterView]:
    """The newest versions first."""
    with state.database.connection() as conn:
        return [AdapterView(adapter=one, ref=one.ref) for one in adapters.list_adapters(conn, state.storage, limit=limit)]


@router.get("/adapters/{name}", tags=["adapters"], responses=MISSING)
def list_adapter_versions(name: NameParam, state: StateDep) -> list[AdapterView]:
    with state.database.connection() as conn:
        found = adapters.list_adapters(conn, state.storage, name)
    if not found:
        raise NotFound(f"there is no adapter {name!r}")
    return [AdapterView(adapter=one, ref=one.ref) for one in found]


@router.get("/adapters/{name}/{version}", tags=["adapters"], responses=MISSING)
def get_adapter(name: NameParam, version: RefParam, state: StateDep) -> AdapterView:
    """By version number or by alias."""
    with state.database.connection() as conn:
        try:
            found = adapters.get(conn, state.storage, f"adapter:{name}@{version}")
        except ReferenceNotUsable as error:
            raise NotFound(error.detail) from None
    return AdapterView(adapter=found, ref=found.ref)


@router.get("/adapters/{name}/{version}/lineage", tags=["adapters"], responses=MISSING)
def adapter_lineage(
    name: NameParam, version: RefParam, state: StateDep, runs: Annotated[bool, Query(description="With the runs' ids.")] = False
) -> Lineage:
    """What it was made from: dataset versions, their jobs, what teachers cost, and the imported runs."""
    with state.database.connection() as conn:
        try:
            return lineage.of(conn, f"adapter:{name}@{version}", ids=runs)
        except ReferenceNotUsable as error:
            raise NotFound(error.detail) from None


@router.get("/adapters/{name}/{version}/passport", tags=["adapters"], responses=MISSING)
def adapter_passport(name: NameParam, version: RefParam, state: StateDep) -> Passport:
    """What is known of its making and its worth, signed with the installation's key. A 422 when its files or its row are not
    those that were registered."""
    with state.database.connection() as conn:
        try:
            ref = adapters.resolve(conn, f"adapter:{name}@{version}")
        except ReferenceNotUsable as error:
            raise NotFound(error.detail) from None
        return Passport.model_validate(passports.issue(conn, state.storage, ref))


async def _move_on(move: Move, name: str, version: int, state: State, actor: str) -> AdapterView:
    def run() -> AdapterVersion:
        with state.database.connection() as conn:
            return move(conn, state.storage, name, version, actor=actor)

    found = await to_thread.run_sync(run)
    return AdapterView(adapter=found, ref=found.ref)


@router.post("/adapters/{name}/{version}/approve", tags=["adapters"], responses=MISSING | IN_THE_WAY)
async def approve_adapter(name: NameParam, version: VersionParam, state: StateDep, caller: CallerDep) -> AdapterView:
    """candidate → approved. Twice is a no-op; a retired version stays retired (409)."""
    return await _move_on(adapters.approve, name, version, state, caller.name)


@router.post(
    "/adapters/{name}/{version}/retire",
    tags=["adapters"],
    responses=MISSING | REFUSALS | IN_THE_WAY,
    openapi_extra=body_schema(RetireBody, required=False),
)
async def retire_adapter(
    name: NameParam, version: VersionParam, request: Request, state: StateDep, caller: CallerDep
) -> AdapterView:
    """approved → retired, for good. A 409 names the aliases and the running experiments that use the version.

    With `force` and a reason the experiments do not stand in the way: base answers for the arm at once, and they are held.
    """
    body = await read_optional(request, RetireBody)

    def retire(conn: Connection, storage: Storage, name: str, version: int, *, actor: str) -> AdapterVersion:
        with conn.transaction():
            if body.force and body.reason:
                ab_retired.gate_adapter(conn, f"adapter:{name}@{version}", actor=actor, reason=body.reason)
            return adapters.retire(conn, storage, name, version, actor=actor)

    return await _move_on(retire, name, version, state, caller.name)


@router.post("/adapters/{name}/{version}/seal", tags=["adapters"], responses=MISSING)
async def seal_adapter(name: NameParam, version: VersionParam, state: StateDep, caller: CallerDep) -> AdapterView:
    """Sign a version with the installation's present key, where it has no seal or its key was lost. Twice is a no-op.

    A 422 when its files are not those that were registered, or its row is not what its former seal says. Needs the scope admin.
    """
    return await _move_on(adapters.seal, name, version, state, caller.name)


@router.put(
    "/adapters/{name}/aliases/{alias}",
    tags=["adapters"],
    responses=MISSING | REFUSALS | IN_THE_WAY,
    openapi_extra=body_schema(AliasBody),
)
async def set_alias(
    name: NameParam,
    alias: AliasParam,
    request: Request,
    state: StateDep,
    caller: CallerDep,
) -> AdapterView:
    """Let an alias (`champion`, `challenger`, …) mean a version from now on. `champion` answers live requests.

    A retired version can have none (409).
    """
    body = await read_model(request, AliasBody)

    def move() -> AdapterVersion:
        with state.database.connection() as conn:
            adapters.set_alias(conn, name, alias, body.version, actor=caller.name)
            return adapters.get(conn, state.storage, f"adapter:{name}@{alias}")

    found = await to_thread.run_sync(move)
    return AdapterView(adapter=found, ref=found.ref)


@router.delete("/adapters/{name}/aliases/{alias}", tags=["adapters"], responses=MISSING, status_code=204)
def remove_alias(name: NameParam, alias: AliasParam, state: StateDep, caller: CallerDep) -> None:
    """Let an alias mean nothing from now on; the version stays."""
    with state.database.connection() as conn:
        adapters.remove_alias(conn, name, alias, actor=caller.name)
