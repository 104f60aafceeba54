"""The HTTP door: routes, keys, errors, limits. No SQL text beyond a noun's, no ML."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import psycopg
import structlog
from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import (
    bulk,
    catalog,
    contexts,
    datasets,
    devserver,
    erasure,
    errors,
    estimate,
    experiments,
    guard,
    health,
    jobs,
    keys,
    metrics,
    page,
    pipelines,
    retention,
    route,
    rules,
    schedules,
    sessions,
    uploads,
    webhooks,
)
from api.access import LOOPBACK, KeyRing, authorize, open_if_known
from api.openapi import only_known_query, openapi
from api.state import State
from goldsmith import db
from goldsmith.errors import GoldsmithError
from goldsmith.keys import known
from goldsmith.limits import Rate
from goldsmith.settings import Settings

log = structlog.get_logger()
LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,128}$")


def create_app(settings: Settings) -> FastAPI:
    """The API. Refuses to listen beyond loopback without a key."""
    if settings.host not in LOOPBACK and settings.api_key is None:
        _need_a_key(settings)
    state = State(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await state.open()
        if await open_if_known(state.keys):
            log.warning(
                "no API key: listening on loopback only, and whoever is on this machine may do everything",
                host=settings.host,
                port=settings.port,
                advice="`goldsmith keys create`, or set GOLDSMITH_API_KEY",
            )
        yield
        await state.close()

    app = FastAPIOffline(
        title="Goldsmith",
        version="0.1.0",
        summary="A job queue that distils a large teacher model into small students.",
        lifespan=lifespan,
        dependencies=[Depends(authorize)],  # of the app, so that no route can be forgotten
    )
    app.state.goldsmith = state
    errors.install(app)
    app.include_router(health.router)
    for router in (
        devserver.polled,  # first, as routes are tried in order
        devserver.router,
        bulk.router,
        jobs.router,
        pipelines.router,
        estimate.router,
        schedules.router,
        retention.router,
        erasure.router,
        catalog.router,
        rules.router,
        contexts.router,
        datasets.router,
        route.router,
        uploads.router,
        sessions.router,
        guard.router,
        experiments.router,
        page.router,
        webhooks.router,
        keys.router,
    ):
        unknown_query = [Depends(only_known_query)] if router.prefix.startswith("/v1") else None
        app.include_router(router, dependencies=unknown_query)
    app.openapi = partial(openapi, app)  # type: ignore[method-assign]
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(LoopbackOnly, keys=state.keys)
    app.add_middleware(Observe)  # the last is the outermost: what the others refuse has its id and is counted
    return app


def _need_a_key(settings: Settings) -> None:
    """Raises what to do, unless a key in the table is valid."""
    refusal = (
        f"GOLDSMITH_HOST is {settings.host}: beyond loopback a key is needed; `goldsmith keys create`, or set GOLDSMITH_API_KEY"
    )
    try:
        with db.connect(settings.database) as conn:
            found = known(conn).valid
    except psycopg.Error as error:
        raise GoldsmithError(f"{refusal} (the database cannot say whether there is one: {type(error).__name__})") from None
    if not found:
        raise GoldsmithError(refusal)


class Observe:
    """Request ids in, out and into every log line; counts by route template."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request_id = given if REQUEST_ID.match(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id  # for what is answered outside of here: a request that broke
        started, status = time.perf_counter(), 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode()), *_rate(scope)]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_id)
            finally:
                route = getattr(scope.get("route"), "path", "unmatched")
                metrics.observe(scope["method"], route, status, started)


def _rate(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Where the caller stands with the limit that this request counted for; nothing when it counted for none."""
    rate: Rate | None = scope.get("state", {}).get("rate")
    return [(name.lower().encode(), value.encode()) for name, value in rate.headers.items()] if rate else []


class LoopbackOnly:
    """While no key is needed, refuses a `Host` that is not this machine's loopback: a page in a browser must not reach it under
    another name (DNS rebinding)."""

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self.app, self.keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
            if not LOOPBACK_HOST.fullmatch(host) and await open_if_known(self.keys) is not False:
                detail = (
                    "the Host header must be 127.0.0.1, localhost or [::1], with or without a port, while no API key is set"
                )
                return await _refuse(scope, send, 400, "Bad request", detail)
        await self.app(scope, receive, send)
        return None


class BodyLimit:
    """Refuses a body over the limit, whether it says its length or not, and one that takes longer than `seconds` to come."""

    def __init__(self, app: ASGIApp, limit: int, seconds: float = 60) -> None:
        self.app, self.limit, self.seconds = app, limit, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > self.limit:
            return await _too_large(scope, send, self.limit)
        taken = 0
        whole = answered = False
        until: float | None = None

        async def counted() -> Message:
            nonlocal taken, whole, until
            if whole:  # what comes now is the end of the connection, whenever that is
                return await receive()
            now = asyncio.get_running_loop().time()
            until = now + self.seconds if until is None else until
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise _TooSlow from None
            whole = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > self.limit:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = answered or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except _TooLarge:
            if not answered:
                await _too_large(scope, send, self.limit)
        except _TooSlow:
            if not answered:
                detail = f"the body had not come within {self.seconds:g} s"
                await _refuse(scope, send, 408, "Request timeout", detail)
        return None


class _TooLarge(BaseException):
    """Passes every `except Exception` between the reader and the limit."""


class _TooSlow(BaseException):
    """As `_TooLarge`."""


async def _too_large(scope: Scope, send: Send, limit: int) -> None:
    detail = f"the body is larger than {limit} bytes (GOLDSMITH_MAX_BODY_BYTES)"
    await _refuse(scope, send, 413, "Payload too large", detail)


async def _refuse(scope: Scope, send: Send, status: int, title: str, detail: str) -> None:
    """A problem document from outside the routes; the connection ends, as the body was not read."""
    problem = errors.document(scope["path"], status, title, detail)
    await errors.refuse(send, problem, [(b"connection", b"close")])
