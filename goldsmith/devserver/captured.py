"""The template check: is the prompt that we render, byte for byte, the one that a devserver sent to its model?"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from goldsmith.devserver.checkout import Checkout
from goldsmith.devserver.prompts import render
from goldsmith.errors import InvalidInput

AROUND = 40  # bytes shown before and after the first difference


class TemplateCheck(BaseModel):
    """`same`, or where the two part."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    same: bool
    template_version: str
    rendered_bytes: int
    captured_bytes: int
    first_difference: int | None = Field(description="The first byte that differs, counted from 0; null when all are the same.")
    rendered: str = Field(description="What we have around that byte.")
    captured: str = Field(description="What the request has there.")


def compare(
    checkout: Checkout, request: bytes, *, config_id: str, language: str, text: str, wiki: bool | None = None
) -> TemplateCheck:
    """Render `text` and compare it with the captured body of a request: Ollama's `/api/generate` (a `prompt`) or a chat with one
    message of the user. Raises `InvalidInput` for a body that is neither, or that brings a system prompt: a student trained on
    single user turns would see something else."""
    prompt = render(checkout, config_id, language, text, wiki=wiki)
    ours, theirs = prompt.content.encode(), _prompt_of(request).encode()
    shorter = min(len(ours), len(theirs))
    differs = next((at for at in range(shorter) if ours[at] != theirs[at]), None if len(ours) == len(theirs) else shorter)
    return TemplateCheck(
        same=differs is None,
        template_version=prompt.template_version,
        rendered_bytes=len(ours),
        captured_bytes=len(theirs),
        first_difference=differs,
        rendered=_around(ours, differs),
        captured=_around(theirs, differs),
    )


def _around(raw: bytes, at: int | None) -> str:
    return "" if at is None else raw[max(0, at - AROUND) : at + AROUND].decode("utf-8", "backslashreplace")


def _prompt_of(request: bytes) -> str:
    try:
        body: Any = json.loads(request)
    except ValueError as error:
        raise _no_request(f"it is no JSON ({error})") from None
    if not isinstance(body, dict):
        raise _no_request("it is no object")
    if body.get("system"):
        raise _no_request("it has a system prompt, and the student's prompt is a single turn of the user")
    prompt = body.get("prompt")
    if prompt is None and isinstance(messages := body.get("messages"), list):
        roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
        if roles != ["user"]:
            raise _no_request(f"its messages have the roles {roles}, and the student's prompt is a single turn of the user")
        prompt = messages[0].get("content")
    if not isinstance(prompt, str):
        raise _no_request("it has neither a text under `prompt` nor one message of the user")
    return prompt


def _no_request(why: str) -> InvalidInput:
    allowed = "the body of POST /api/generate, or of a chat with one message of the user"
    return InvalidInput(
        f"request: {why}; allowed is {allowed}", errors=[{"field": "request", "message": why, "allowed": allowed}]
    )
