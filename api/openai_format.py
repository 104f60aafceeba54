"""OpenAI's chat and embeddings formats: what is asked, how an answer and its events look, and errors that its clients can show."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from uuid import uuid4

import psycopg
import psycopg_pool
import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, AliasChoices, BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from goldsmith.errors import GoldsmithError, InvalidInput, NotFound
from goldsmith.kinds.registry import field_errors

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from goldsmith.student.serving import Completion

log = structlog.get_logger()
M = TypeVar("M", bound=BaseModel)
MAX_INPUTS = 2048  # OpenAI's own limit

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
        return _validated(cls, given)

    @staticmethod
    def openapi() -> dict[str, Any]:
        schema = ChatRequest.model_json_schema()
        schema["properties"]["messages"]["items"] = schema.pop("$defs")["Message"]
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


EmbeddedText = Annotated[str, Field(max_length=1_000_000), AfterValidator(_not_blank)]


class EmbeddingRequest(BaseModel):
    """Keys that are not listed are left aside; `dimensions` would change the answer and is refused. Texts, not token ids."""

    model: str = Field(min_length=1, max_length=500, description="The encoder, such as minilm.")
    input: EmbeddedText | list[EmbeddedText] = Field(min_length=1, max_length=1_000_000)
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: float32, little-endian.")

    @classmethod
    def parse(cls, body: dict[str, Any]) -> EmbeddingRequest:
        """Raises `InvalidInput` that names each wrong field. A key with null counts as not given."""
        if body.get("dimensions") is not None:
            error = {"field": "dimensions", "message": "is not supported here: an encoder's vectors have the length they have"}
            raise InvalidInput(f"dimensions {error['message']}", errors=[error])
        if isinstance(body.get("input"), list) and len(body["input"]) > MAX_INPUTS:
            error = {"field": "input", "value": f"{len(body['input'])} texts", "message": f"at most {MAX_INPUTS} texts"}
            raise InvalidInput(f"input: at most {MAX_INPUTS} texts, not {len(body['input'])}", errors=[error])
        return _validated(cls, {key: value for key, value in body.items() if value is not None})

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input

    @staticmethod
    def openapi() -> dict[str, Any]:
        schema = EmbeddingRequest.model_json_schema()
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def embeddings(asked: EmbeddingRequest, rows: NDArray[numpy.float32], tokens: int) -> dict[str, Any]:
    """The answer to an embedding request; `tokens` that the encoder read."""
    written = [row.tolist() for row in rows]
    if asked.encoding_format == "base64":
        written = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows]
    data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(written)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": asked.model, "data": data, "usage": usage}


def _validated(model: type[M], given: dict[str, Any]) -> M:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = field_errors(error)
        raise InvalidInput("; ".join(f"{one['field']}: {one['message']}" for one in found), errors=found) from None


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
