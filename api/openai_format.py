"""OpenAI's chat format: what is asked, how an answer and its events look, and errors that its clients can show."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import psycopg
import psycopg_pool
import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import AliasChoices, BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from goldsmith.errors import GoldsmithError, InvalidInput, NotFound
from goldsmith.kinds.registry import field_errors

if TYPE_CHECKING:
    from goldsmith.student.serving import Completion

log = structlog.get_logger()

UNSUPPORTED = ("tools", "functions", "stop", "logit_bias", "logprobs", "audio")
"""Keys that change the answer: leaving them aside would answer something else than was asked."""


class Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=1_000_000)


class ChatRequest(BaseModel):
    """Keys that are not listed are left aside, as OpenAI's servers do; the `UNSUPPORTED` ones are refused."""

    model: str = Field(min_length=1, max_length=500, description="The base model, or adapter:<name>@<version or alias>.")
    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_tokens: int = Field(
        512, ge=1, le=4096, strict=True, validation_alias=AliasChoices("max_tokens", "max_completion_tokens")
    )
    temperature: float = Field(1.0, ge=0, le=2, strict=True, allow_inf_nan=False, description="0: greedy.")
    top_p: float = Field(1.0, gt=0, le=1, strict=True, allow_inf_nan=False)
    seed: int | None = Field(None, ge=0, lt=2**63, strict=True)
    stream: bool = Field(False, strict=True)
    n: Literal[1] = 1

    @classmethod
    def parse(cls, body: dict[str, Any]) -> ChatRequest:
        """Raises `InvalidInput` that names each wrong field. A key with null counts as not given."""
        given = {key: value for key, value in body.items() if value is not None}
        refused = [key for key in UNSUPPORTED if given.get(key, False) not in (False, [], {})]
        if given.get("response_format", {"type": "text"}) != {"type": "text"}:
            refused.append("response_format")
        if refused:
            errors = [{"field": key, "message": "is not supported here"} for key in refused]
            raise InvalidInput(f"{', '.join(refused)}: not supported here", errors=errors)
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            found = field_errors(error)
            raise InvalidInput("; ".join(f"{one['field']}: {one['message']}" for one in found), errors=found) from None

    @staticmethod
    def openapi() -> dict[str, Any]:
        schema = ChatRequest.model_json_schema()
        schema["properties"]["messages"]["items"] = schema.pop("$defs")["Message"]
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class Reply:
    """One answer, whole or in events. `model` says what answered, `adapter` (ours) says it again or is null."""

    def __init__(self, base: str, adapter: str | None) -> None:
        self._head = {
            "id": f"chatcmpl-{uuid4().hex}",
            "created": int(time.time()),
            "model": adapter or base,
            "adapter": adapter,
        }

    def whole(self, text: str, done: Completion) -> dict[str, Any]:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": done.finish_reason}
        return self._head | {"object": "chat.completion", "choices": [choice], "usage": _usage(done)}

    def opening(self) -> str:
        return self._event({"role": "assistant", "content": ""})

    def event(self, part: str | Completion) -> str:
        """A part of the text, or how it ended and what it used."""
        if isinstance(part, str):
            return self._event({"content": part})
        return self._event({}, part.finish_reason, usage=_usage(part))

    def _event(self, delta: dict[str, str], reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return event(self._head | {"object": "chat.completion.chunk", "choices": [choice]} | more)


def event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def error(status: int, message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _usage(done: Completion) -> dict[str, int]:
    total = done.prompt_tokens + done.completion_tokens
    return {"prompt_tokens": done.prompt_tokens, "completion_tokens": done.completion_tokens, "total_tokens": total}


def install_errors(app: FastAPI) -> None:
    @app.exception_handler(GoldsmithError)
    async def known(request: Request, raised: GoldsmithError) -> JSONResponse:
        fields = [one["field"] for one in getattr(raised, "errors", [])]
        no_model = isinstance(raised, NotFound)
        param = "model" if no_model else fields[0] if fields else None
        code = "model_not_found" if no_model else raised.title.lower().replace(" ", "_")
        body = error(raised.status, raised.detail, param=param, code=code)
        return JSONResponse(body, raised.status, raised.extra.get("headers"))

    @app.exception_handler(HTTPException)
    async def http(request: Request, raised: HTTPException) -> JSONResponse:
        return JSONResponse(error(raised.status_code, raised.detail), raised.status_code, raised.headers)

    async def away(request: Request, raised: Exception) -> JSONResponse:
        log.error("database away", error=type(raised).__name__)
        message = "the database, which knows the adapters, does not answer; the base model does"
        return JSONResponse(error(503, message), 503, {"Retry-After": "2"})

    app.add_exception_handler(psycopg.OperationalError, away)
    app.add_exception_handler(psycopg_pool.PoolTimeout, away)

    @app.exception_handler(Exception)
    async def unknown(request: Request, raised: Exception) -> JSONResponse:
        trace_id = secrets.token_hex(6)
        log.error("request broke", trace_id=trace_id, exc_info=raised)
        return JSONResponse(error(500, f"see the server's log for traceback {trace_id}"), 500)
