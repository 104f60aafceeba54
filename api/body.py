"""Reads a JSON body strictly: what cannot be stored or is not JSON is refused here, with its place."""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from goldsmith.errors import InvalidInput
from goldsmith.kinds.registry import field_errors

MAX_DEPTH = 64
JSON_TYPES = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}
M = TypeVar("M", bound=BaseModel)


async def read_json(request: Request) -> dict[str, Any]:
    """The body as an object. 415: not JSON by its content type; 400: not UTF-8 or not JSON; 422: not an object, NUL, lone surrogate."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, f"send application/json, not {media_type or 'a body without Content-Type'}")
    raw = await request.body()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"the body is not UTF-8 (byte {error.start})") from None
    try:
        body = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise HTTPException(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(body, dict):
        message = f"must be a JSON object, not {JSON_TYPES[type(body)]}"
        raise InvalidInput(f"the body {message}", errors=[{"field": "", "message": message}])
    _check_storable(body, "", 0)
    return body


async def read_model(request: Request, model: type[M]) -> M:
    """The body as this model; a 422 names each wrong field."""
    body = await read_json(request)
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = field_errors(error)
        detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in found)
        raise InvalidInput(detail, errors=found) from None


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI of a body that `read_model` reads."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inline(model.model_json_schema())}}}}


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


def _check_storable(value: Any, path: str, depth: int) -> None:
    """Postgres stores neither NUL nor lone surrogates."""
    if depth > MAX_DEPTH:
        raise HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels")
    match value:
        case str():
            if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
                message = "must not contain NUL or lone surrogates"
                raise InvalidInput(f"{path}: {message}", errors=[{"field": path, "message": message}])
        case dict():
            for key, inner in value.items():
                shown = key.encode("utf-8", "replace").decode()[:100]
                _check_storable(key, f"{path}.{shown}".strip("."), depth + 1)
                _check_storable(inner, f"{path}.{shown}".strip("."), depth + 1)
        case list():
            for index, inner in enumerate(value):
                _check_storable(inner, f"{path}.{index}".strip("."), depth + 1)
        case int() if not -(2**63) <= value < 2**63:
            raise InvalidInput(f"{path}: integers must fit 64 bits", errors=[{"field": path, "message": "must fit 64 bits"}])
        case float() if not math.isfinite(value):  # 1e999 is JSON, and no number here
            message = "numbers must fit 64 bits (IEEE 754)"
            raise InvalidInput(f"{path}: {message}", errors=[{"field": path, "message": message}])
