"""Who may call what: the scope that a route needs, and the key that a caller shows.

The table below is by the first part of a path, so a new route under it is covered. What it does not name needs `admin`.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from typing import NoReturn

import psycopg
import psycopg_pool
import structlog
from fastapi import Request

from api import metrics
from goldsmith import keys, limits
from goldsmith.db import AsyncDatabase
from goldsmith.errors import Forbidden, TooManyRequests, Unauthorized
from goldsmith.keys import ADMIN, LOCAL, Caller, Scope
from goldsmith.limits import Buckets, Rate, Windows
from goldsmith.settings import Settings

log = structlog.get_logger()
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CACHE_S = 3.0
"""For so long a process may go on with what it knows of a key: a revoked one works in the others until then."""
CACHED = 10_000

READS = ("GET", "HEAD")
OPEN = ("/healthz", "/readyz", "/metrics", "/.well-known/goldsmith-passport-key")
PAGES = ("/experiments", "/experiments/{experiment_id}", "/web/{name}")
"""Without any data; what they show they ask for with the reader's key."""
EVENTS = ("/v1/experiments/{experiment_id}/events", "/v1/experiments/{experiment_id}/assignments")
SNAPSHOT = "/v1/experiments/snapshot"
BY_METHOD = (  # jobs:read for GET, jobs:write for the other verbs
    "/v1/jobs",
    "/v1/pipelines",
    "/v1/schedules",
    "/v1/estimate",
    "/v1/contexts",
    "/v1/datasets",
    "/v1/uploads",
    "/v1/sessions",
    "/v1/adapters",
    "/v1/route",
    "/v1/routes",
    "/v1/rules",
    "/v1/clusters",
    "/v1/experiments",
    "/api",
)
ADMINS_ONLY = ("/v1/adapters/{name}/{version}/seal",)  # though it lies below what jobs:write may write
READ_ONLY = ("/v1/kinds",)  # its other verbs need admin


def needed(method: str, route: str) -> Scope | None:
    """The scope for a route's template; None: anybody. Whatever is not named here needs admin."""
    if route in OPEN or route in PAGES:
        return None
    reads = method in READS
    if (method == "POST" and route in EVENTS) or (reads and route == SNAPSHOT):
        return "experiments:event"
    if route in ADMINS_ONLY:
        return "admin"
    if _below(route, BY_METHOD):
        return "jobs:read" if reads else "jobs:write"
    return "jobs:read" if reads and _below(route, READ_ONLY) else "admin"


def _below(route: str, prefixes: tuple[str, ...]) -> bool:
    return any(route == prefix or route.startswith(f"{prefix}/") for prefix in prefixes)


class KeyRing:
    """The callers by the keys that they showed within the last seconds. One for a process; used on its event loop."""

    def __init__(self, settings: Settings, database: AsyncDatabase) -> None:
        self._database = database
        self._admin_key = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self._loopback = settings.host in LOOPBACK
        self._callers: dict[str, tuple[float, Caller]] = {}
        self._open = (-math.inf, True)
        self._still: dict[str, asyncio.Task[bool]] = {}
        self._changes = 0

    def forget(self) -> None:
        """A key was made or revoked here: it counts from the next request on, also for look-ups that are on their way."""
        self._changes += 1
        self._callers.clear()
        self._still.clear()
        self._open = (-math.inf, self._open[1])

    async def is_open(self) -> bool:
        """Whether requests need no key: on loopback, without GOLDSMITH_API_KEY, and while no key was ever made."""
        looked, found = self._open
        if self._admin_key is not None or not self._loopback or not found:
            return False
        if time.monotonic() - looked > CACHE_S:
            changes = self._changes
            async with self._database.connection() as conn:
                found = not (await keys.known_async(conn)).made
            if changes == self._changes:
                self._open = (time.monotonic(), found)
        return found

    async def caller(self, authorization: str) -> Caller:
        """Who sends this header; raises `Unauthorized`."""
        if await self.is_open():
            return LOCAL
        kind, _, key = authorization.partition(" ")
        if kind.lower() == "bearer" and key:
            if self._admin_key is not None and hmac.compare_digest(key.encode("utf-8", "surrogatepass"), self._admin_key):
                return ADMIN
            if (caller := await self._find(key)) is not None:
                return caller
        raise Unauthorized(
            "send the header `Authorization: Bearer <key>` with a key that `goldsmith keys create` made, or GOLDSMITH_API_KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )

    async def still(self, authorization: str) -> bool:
        """Whether who came in with this header still would; readers with the same header share one look in `CACHE_S`."""
        if (looking := self._still.get(authorization)) is None:
            looking = self._still[authorization] = asyncio.create_task(self._still_in(authorization))
            asyncio.get_running_loop().call_later(CACHE_S, self._still.pop, authorization, None)
        return await asyncio.shield(looking)

    async def _still_in(self, authorization: str) -> bool:
        try:
            await self.caller(authorization)
        except Unauthorized:
            return False
        except (psycopg.Error, psycopg_pool.PoolTimeout):  # a database that is away took nobody's key
            return True
        return True

    async def _find(self, key: str) -> Caller | None:
        sha256 = keys.sha256_of(key)
        looked, caller = self._callers.get(sha256, (-math.inf, LOCAL))
        if time.monotonic() - looked < CACHE_S:
            return caller
        changes = self._changes
        async with self._database.connection() as conn:
            found = await keys.find(conn, key)
        if found is None:
            self._callers.pop(sha256, None)
        elif changes == self._changes:
            if len(self._callers) >= CACHED:
                self._callers.clear()
            self._callers[sha256] = (time.monotonic(), found)
        return found


class Rates:
    """How often a caller may come: by its key's name, or by its address where no key is needed."""

    UNKNOWN_KEYS_PER_MINUTE = 600
    """Of an address; each costs a look into the database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reads = Buckets(settings.reads_per_minute or limits.READS_PER_MINUTE)
        self._writes = Windows(settings.writes_per_minute or limits.WRITES_PER_MINUTE, settings.broker)
        self._unknown_keys = Buckets(self.UNKNOWN_KEYS_PER_MINUTE)

    async def close(self) -> None:
        await self._writes.close()

    async def take(self, request: Request, caller: Caller) -> None:
        """Count a request, and leave where its caller stands for the reply's headers. Raises `TooManyRequests`."""
        reads = request.method in READS
        wanted = self._settings.reads_per_minute if reads else self._settings.writes_per_minute
        if wanted == 0 or (wanted is None and caller is LOCAL):
            return
        who = _address(request) if caller is LOCAL else f"key:{caller.name}"
        rate = self._reads.take(who) if reads else await self._writes.take(who)
        if rate is None:
            metrics.LET_THROUGH.labels(metrics.PROCESS).inc()
            return
        request.state.rate = rate
        if rate.left < 0:
            limit = "reads" if reads else "writes"
            _refuse(rate, limit, f"{rate.limit} {limit} in a minute are the limit")

    def unknown_key(self, request: Request) -> None:
        """Count a key that is none. Raises `TooManyRequests`."""
        rate = self._unknown_keys.take(_address(request))
        if rate.left < 0:
            _refuse(rate, "unknown_keys", f"{rate.limit} wrong keys in a minute are the limit")


def _refuse(rate: Rate, limit: str, why: str) -> NoReturn:
    metrics.LIMITED.labels(metrics.PROCESS, limit).inc()
    raise TooManyRequests(f"{why}; try again in {rate.retry_s} s", limit=limit, headers={"Retry-After": str(rate.retry_s)})


def _address(request: Request) -> str:
    return f"address:{request.client.host if request.client else ''}"


async def authorize(request: Request) -> None:
    """For every route: who calls is found out, counted, and refused when the route is not his."""
    route = request.scope["route"].path
    scope = needed(request.method, route)
    if scope is None:
        return
    ring: KeyRing = request.app.state.goldsmith.keys
    rates: Rates = request.app.state.goldsmith.rates
    given = request.headers.get("authorization", "")
    try:
        caller = await ring.caller(given)
    except Unauthorized:
        if given:
            rates.unknown_key(request)
        raise
    request.state.caller = caller
    await rates.take(request, caller)
    if not caller.may(scope):
        has = ", ".join(sorted(caller.scopes))
        raise Forbidden(f"{request.method} {route} needs the scope {scope}; the key {caller.name!r} has {has}", scope=scope)


async def open_if_known(ring: KeyRing) -> bool | None:
    """`is_open`; None while the database cannot say: it is away, or has not yet this version's schema."""
    try:
        async with asyncio.timeout(2):
            return await ring.is_open()
    except (psycopg.Error, psycopg_pool.PoolTimeout, TimeoutError) as error:
        log.warning("the database cannot say whether there are API keys", error=type(error).__name__)
        return None
