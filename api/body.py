"""Reads a JSON body strictly: what cannot be stored or is not JSON is refused here, with its place."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from goldsmith.errors import InvalidInput, PayloadTooLarge
from goldsmith.kinds.registry import field_errors, shortened, summary

MAX_DEPTH = 64
MAX_KEYS = 1000  # of the body itself
MAX_VALUES = 200_000  # a batch of 1,000 jobs with every option of the largest kind has 60,000; so many take a thread 0.1 s
IN_A_THREAD_FROM = 100_000  # bytes; below it parsing takes about 1 ms, and a thread's turn 0.1 ms
JSON_TYPES = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}
M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


async def read_json(request: Request) -> dict[str, Any]:
    """The body as an object. 415: not JSON by its content type; 400: not UTF-8 or not JSON; 413: too many values; 422: not an
    object, or something that cannot be stored: NUL, a lone surrogate, a number beyond 64 bits."""
    return await read(request, _parse)


async def read_model(request: Request, model: type[M], *, apart: str | None = None) -> M:
    """The body as this model; a 422 names each wrong field. `apart`: a key whose elements are left to be checked one by one."""
    return await read(request, lambda raw: as_model(raw, model, apart=apart))


async def read_optional(request: Request, model: type[M]) -> M:
    """As `read_model`; the model's defaults where nothing was sent."""
    return await read_model(request, model) if await request.body() else model()


def as_model(raw: bytes, model: type[M], *, apart: str | None = None) -> M:
    """`read_model` for who has the body already."""
    try:
        return model.model_validate(_parse(raw, apart))
    except ValidationError as error:
        found = field_errors(error)
        raise InvalidInput(summary(found), errors=found) from None


async def read(request: Request, parse: Callable[[bytes], T]) -> T:
    """What `parse` makes of a JSON body; a large one is parsed on a thread."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, f"send application/json, not {media_type or 'a body without Content-Type'}")
    raw = await request.body()
    return await to_thread.run_sync(parse, raw) if len(raw) >= IN_A_THREAD_FROM else parse(raw)


def _parse(raw: bytes, apart: str | None = None) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"the body is not UTF-8 (byte {error.start})") from None
    try:
        body = json.loads(text, parse_constant=_no_constant, parse_int=_int)
    except RecursionError:
        raise HTTPException(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(body, dict):
        message = f"must be a JSON object, not {JSON_TYPES[type(body)]}"
        raise InvalidInput(f"the body {message}", errors=[{"field": "", "message": message}])
    _check_size(body)
    try:
        _check_storable({key: value for key, value in body.items() if key != apart})
    except _Unstorable as found:
        field = ".".join(reversed(found.path))
        raise InvalidInput(f"{field}: {found.message}", errors=[{"field": field, "message": found.message}]) from None
    return body


def body_schema(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The OpenAPI of a body that `read_model` or, where none is required, `read_optional` reads."""
    return {
        "requestBody": {"required": required, "content": {"application/json": {"schema": inline(model.model_json_schema())}}}
    }


def inline(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema with its local definitions put in place, as OpenAPI wants it in a route."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rpartition("/")[2]])
            return {key: resolve(value) for key, value in node.items() if key != "discriminator"}
        return [resolve(item) for item in node] if isinstance(node, list) else node

    resolved: dict[str, Any] = resolve(schema)
    return resolved


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _int(digits: str) -> int:
    """Forty digits are beyond 64 bits already; Python refuses thousands of them in words of its own."""
    return int(digits[:40])


def _check_size(body: dict[str, Any]) -> None:
    if len(body) > MAX_KEYS:
        raise PayloadTooLarge(f"the body has more than {MAX_KEYS:,} keys")
    containers: list[Any] = [body]
    values = 0
    for _ in range(MAX_DEPTH + 1):
        values += sum(map(len, containers))
        if values > MAX_VALUES:
            raise PayloadTooLarge(f"the body has more than {MAX_VALUES:,} values; send it in parts")
        inside = (one.values() if isinstance(one, dict) else one for one in containers)
        containers = [value for each in inside for value in each if isinstance(value, dict | list)]
        if not containers:
            return
    raise HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels")


class _Unstorable(Exception):
    """Its path is gathered on the way up, innermost first."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.path: list[str] = []


def _check_storable(value: Any) -> None:
    """Postgres stores neither NUL nor lone surrogates, nor numbers beyond 64 bits."""
    match value:
        case str():
            if "\0" in value or _has_surrogate(value):
                raise _Unstorable("must not contain NUL or lone surrogates")
        case dict() | list():
            for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
                try:
                    if isinstance(step, str):
                        _check_storable(step)
                    _check_storable(inner)
                except _Unstorable as found:
                    found.path.append(shortened(step))
                    raise
        case int() if not -(2**63) <= value < 2**63:
            raise _Unstorable("integers must fit 64 bits")
        case float() if not math.isfinite(value):  # 1e999 is JSON, and no number here
            raise _Unstorable("numbers must fit 64 bits (IEEE 754)")


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
