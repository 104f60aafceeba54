"""The OpenAPI document: what holds for every route is written once, here."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, params
from fastapi.dependencies.utils import get_flat_params

from api.access import OPEN
from api.errors import PROBLEM
from goldsmith.errors import InvalidInput

KEY = {"type": "http", "scheme": "bearer"}


def openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's, with the answers that come from outside the routes, and without its own 422, which is never sent."""
    if app.openapi_schema is None:
        spec = FastAPI.openapi(app)
        for path, methods in spec["paths"].items():
            for operation in methods.values():
                answers = operation["responses"]
                if "HTTPValidationError" in str(answers.get("422")):
                    del answers["422"]
                more = [400, 413]  # a foreign Host; a length over the limit
                if "requestBody" in operation:
                    more.append(408)
                if path not in OPEN:
                    more += [401, 403, 429, 503]
                if path.startswith("/v1/"):
                    more.append(422)  # an unknown query parameter
                for status in more:
                    answers.setdefault(str(status), PROBLEM)
        components = spec["components"]
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        components["securitySchemes"] = {"key": KEY}
        spec["security"] = [{}, {"key": []}]
    assert app.openapi_schema is not None
    return app.openapi_schema


async def only_known_query(request: Request) -> None:
    """Refuses a query parameter that the route does not have: a mistyped filter must not list everything."""
    if not request.query_params:
        return
    # asked of the route itself: to make the whole document takes a second of the first request
    fields = get_flat_params(request.scope["route"].dependant)
    known = [field.alias for field in fields if isinstance(field.field_info, params.Query)]
    message = f"unknown; the known ones are: {', '.join(known)}" if known else "unknown; there are none here"
    if errors := [
        {"field": name[:100], "in": "query", "message": message} for name in request.query_params if name not in known
    ]:
        raise InvalidInput(f"query {errors[0]['field']}: {message}", errors=errors[:50])
