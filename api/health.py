"""Is the process up, is what it needs up, and the numbers for Prometheus."""

from __future__ import annotations

from typing import Any

import psycopg
import psycopg_pool
import redis
import structlog
from anyio import to_thread
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from api.metrics import DATABASE_UP, PROCESS, REQUESTS_OF_THIS_PROCESS
from api.state import State, StateDep
from goldsmith import migrate, signing

router = APIRouter(tags=["health"])
log = structlog.get_logger()


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


class PublicKey(BaseModel):
    algorithm: str
    key_id: str
    public_key: str
    """32 bytes in base64."""


@router.get("/.well-known/goldsmith-passport-key")
def passport_key(state: StateDep) -> PublicKey:
    """What passports are checked with."""
    public = signing.public_key(state.storage)
    return PublicKey(algorithm="Ed25519", key_id=signing.key_id(public), public_key=public)


@router.get("/readyz", responses={503: {"description": "Something that it needs is away"}})
def readyz(state: StateDep) -> JSONResponse:
    """Database, broker, and a schema at or ahead of this code's head."""
    checks: dict[str, Any] = {}
    try:
        found, wanted = migrate.current(state.settings.database), migrate.head()
        ahead = found is not None and found != wanted and not migrate.knows(found)
        checks["database"] = "ok"
        checks["schema"] = "ok" if found == wanted or ahead else f"is at {found}, needs {wanted}: run `goldsmith migrate`"
    except psycopg.Error as error:
        checks["database"] = f"does not answer ({type(error).__name__})"
    try:
        state.queue.ping()
        checks["broker"] = "ok"
    except redis.RedisError as error:
        checks["broker"] = f"does not answer ({type(error).__name__})"
    ready = all(value == "ok" for value in checks.values())
    return JSONResponse({"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)


@router.get("/metrics", response_class=Response)
async def prometheus(state: StateDep) -> Response:
    """For Prometheus. The queue's numbers are the same from every process; requests are counted by each on its own.

    Without its database it tells of its requests alone, and `goldsmith_database_up` is 0.
    """
    text = await to_thread.run_sync(_queue_numbers, state)
    return Response(text + generate_latest(REQUESTS_OF_THIS_PROCESS), media_type=CONTENT_TYPE_LATEST)


def _queue_numbers(state: State) -> bytes:
    try:
        text = generate_latest(state.numbers)
    except (psycopg.Error, psycopg_pool.PoolTimeout) as error:
        log.warning("metrics lack the queue's numbers", error=str(error).partition("\n")[0])
        DATABASE_UP.labels(PROCESS).set(0)
        return b""
    DATABASE_UP.labels(PROCESS).set(1)
    return text
