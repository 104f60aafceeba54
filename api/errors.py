"""Errors as RFC 9457 problem documents, from one place. No stack trace and no SQL ever leaves the server."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from typing import Any

import psycopg
import psycopg_pool
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Send

from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.kinds.registry import shown

log = structlog.get_logger()
PROBLEM: dict[str, Any] = {
    "description": "A problem document (RFC 9457)",
    "content": {"application/problem+json": {}},
}
TITLES = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    413: "Payload too large",
    415: "Unsupported media type",
}


def problem(
    request: Request, status: int, title: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any
) -> JSONResponse:
    """A problem document as a response."""
    body = document(request.url.path, status, title, detail) | extra
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def document(path: str, status: int, title: str, detail: str) -> dict[str, Any]:
    """The members of a problem document; the devserver's own paths also get its `error` key."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": path}
    return body | {"error": detail} if path.startswith("/api/") else body


async def refuse(send: Send, problem: dict[str, Any], headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send a problem document from outside the routes."""
    body = json.dumps(problem).encode()
    own = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem["status"], "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})


def install(app: FastAPI) -> None:
    @app.exception_handler(GoldsmithError)
    async def known(request: Request, error: GoldsmithError) -> JSONResponse:
        if error.status >= 500:
            log.error("refused", error=error.detail)
        extra: dict[str, Any] = dict(error.extra)
        headers = extra.pop("headers", None)
        if isinstance(error, InvalidInput) and error.errors:
            extra["errors"] = error.errors
        return problem(request, error.status, error.title, error.detail, headers=headers, **extra)

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(request: Request, error: RequestValidationError) -> JSONResponse:
        found = [
            {
                "field": ".".join(map(str, entry["loc"][1:])),
                "in": entry["loc"][0],
                "value": shown(entry.get("input")),
                "message": entry["msg"].removeprefix("Value error, "),
            }
            for entry in error.errors()
        ]
        detail = "; ".join(f"{entry['in']} {entry['field']}: {entry['message']}" for entry in found)
        return problem(request, 422, "Invalid input", detail, errors=found)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        detail = error.detail
        if error.status_code == 404 and detail == "Not Found":
            detail = f"there is nothing at {request.url.path}; see /docs"
        if error.status_code == 405:
            headers = {"Allow": _allowed(app, request) or (headers or {}).get("Allow", "")}
            detail = f"{request.method} is not allowed here; allowed: {headers['Allow']}"
        return problem(request, error.status_code, TITLES.get(error.status_code, "Error"), detail, headers=headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        """Nobody reads it; the status is for the counters."""
        log.info("the client left before it had sent the body", path=request.url.path)
        return problem(request, 499, "Client closed request", "the connection was closed before the whole body had come")

    async def away(request: Request, error: Exception) -> JSONResponse:
        log.error("database away", error=str(error).splitlines()[0] if str(error) else type(error).__name__)
        return problem(request, 503, "Service unavailable", "the database does not answer", headers={"Retry-After": "2"})

    app.add_exception_handler(psycopg.OperationalError, away)
    app.add_exception_handler(psycopg_pool.PoolTimeout, away)

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        trace_id = secrets.token_hex(6)
        request_id = request.state.request_id
        log.error("request broke", trace_id=trace_id, request_id=request_id, path=request.url.path, exc_info=error)
        detail = f"see the server's log for traceback {trace_id}"
        headers = {"X-Request-ID": request_id}
        return problem(request, 500, "Internal error", detail, headers=headers, traceback_id=trace_id)


def _allowed(app: FastAPI, request: Request) -> str:
    """Every method of the path; Starlette names only those of the first route that matches it."""
    template = getattr(request.scope.get("route"), "path", "")
    return ", ".join(method.upper() for method in app.openapi()["paths"].get(template, {}))
