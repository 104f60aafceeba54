"""What every refusal must look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Response(Protocol):
    """Of the test client, whichever HTTP library is under it."""

    @property
    def status_code(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def json(self) -> Any: ...


def problem(response: Response, status: int, field: str | None = None, says: str = "") -> dict[str, Any]:
    """The problem document of a refusal; `field` must be among its errors, `says` in the message for it (or in the detail)."""
    assert response.status_code == status, f"{response.status_code}: {response.text[:500]}"
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail"} <= document.keys()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    text = document["detail"]
    if field is not None:
        messages = {entry["field"]: entry["message"] for entry in document["errors"]}
        assert field in messages, document["errors"]
        text = messages[field]
    assert says in text, text
    return document
