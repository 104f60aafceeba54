"""The Messages API through the official SDK: one question, one reply, every failure named."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import anthropic
import httpx2  # the HTTP client that the SDK is built on
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from goldsmith.errors import GoldsmithError, InvalidInput, RetryableError
from goldsmith.teacher.prices import Price, Usage
from goldsmith.teacher.privacy import Gate
from goldsmith.teacher.provider import Batches, Failed, Reply, Request, too_long
from goldsmith.teacher.refusals import refusal

OLDER_API = "2023-06-01"
"""The newest version of the API that takes a temperature or top_p: the SDK's own, 2026-10-21, answers 400 to any."""
SAMPLING = ("temperature", "top_p")


class _CacheCreation(BaseModel):
    ephemeral_5m_input_tokens: int = Field(0, ge=0)
    ephemeral_1h_input_tokens: int = Field(0, ge=0)


class _Usage(BaseModel):
    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    cache_creation_input_tokens: int | None = Field(None, ge=0)
    cache_read_input_tokens: int | None = Field(None, ge=0)
    cache_creation: _CacheCreation | None = None

    def usage(self) -> Usage:
        written, read = self.cache_creation_input_tokens or 0, self.cache_read_input_tokens or 0
        long = min(written, self.cache_creation.ephemeral_1h_input_tokens) if self.cache_creation else 0
        return Usage(self.input_tokens + written + read, self.output_tokens, read, written - long, long)


class _Message(BaseModel):
    """What is read of a reply; blocks of kinds that are not text (thinking) are passed over."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["message"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str
    usage: _Usage


def request_body(price: Price, model: str, request: Request, *, marked: bool = True) -> dict[str, Any]:
    """The JSON body of a Messages request. Without the cache marks (`marked=False`) it is what makes two requests identical."""
    body: dict[str, Any] = {"model": model, "max_tokens": request.max_tokens + (price.headroom if request.max_tokens else 0)}
    mark = {"type": "ephemeral", "ttl": request.cache} if marked and request.cache else None
    cut = min(request.shared, len(request.prompt)) if mark else 0
    content: str | list[dict[str, Any]] = request.prompt
    if cut:
        content = [{"type": "text", "text": request.prompt[:cut], "cache_control": mark}]
        if request.prompt[cut:]:
            content.append({"type": "text", "text": request.prompt[cut:]})
    body["messages"] = [{"role": "user", "content": content}]
    if request.system is not None:
        only_system = mark and not cut
        body["system"] = [{"type": "text", "text": request.system, "cache_control": mark}] if only_system else request.system
    body.update(_sampling(price, model, request))
    if price.thinking:
        body["thinking"] = {"type": price.thinking}
    output: dict[str, Any] = {"effort": "low"} if price.thinking == "adaptive" else {}
    if request.json_schema is not None:
        output["format"] = {"type": "json_schema", "schema": dict(request.json_schema)}
    if output:
        body["output_config"] = output
    return body


def _sampling(price: Price, model: str, request: Request) -> dict[str, float]:
    """Models since 4.5 answer 400 to both at once; 1 is their default, so top_p alone says the same as with it."""
    asked = {name: value for name in SAMPLING if (value := getattr(request, name)) is not None}
    for name, value in asked.items():
        if not price.temperature:
            raise InvalidInput(
                f"{name} {value}: {model} takes none and would answer 400; leave it out",
                errors=[{"field": name, "value": value, "allowed": None}],
            )
    if len(asked) < len(SAMPLING):
        return asked
    if asked.pop("temperature") != 1:
        raise InvalidInput(
            f"temperature {request.temperature} with top_p {request.top_p}: {model} takes one of them, or a temperature of 1",
            errors=[{"field": "temperature", "value": request.temperature, "allowed": [1, None]}],
        )
    return asked


class Messages:
    """The Messages API at one model. The SDK's own retries are off: whoever pays must see every try."""

    batches: Batches | None = None
    local = False
    errors: tuple[type[Exception], ...] = (anthropic.AnthropicError, httpx2.HTTPError)
    """What the client raises."""

    def __init__(
        self,
        client: Any,
        *,
        name: str,
        model: str,
        price: Price,
        gate: Gate,
        key_setting: str,
        model_setting: str = "GOLDSMITH_TEACHER_MODEL",
    ) -> None:
        self.name = name
        self.model = model
        self.price = price
        self._client: anthropic.AsyncAnthropic = client
        self._gate = gate
        self._key_setting = key_setting
        self._model_setting = model_setting

    def identity(self, request: Request) -> dict[str, Any]:
        return {"provider": self.name, **request_body(self.price, self.model, request, marked=False)}

    def body(self, request: Request) -> dict[str, Any]:
        """What goes onto the wire; raises `InvalidInput` for a recorded row that must not."""
        self._gate.check(request.recorded)
        return request_body(self.price, self.model, request)

    def headers(self, body: Mapping[str, Any]) -> dict[str, str]:
        """Beside the SDK's own."""
        return {"anthropic-version": OLDER_API} if any(name in body for name in SAMPLING) else {}

    async def ask(self, request: Request, *, heard: Callable[[Mapping[str, str]], None] | None = None) -> Reply:
        body = self.body(request)
        try:
            # `messages.create` without its reading of the body, which has no temperature, and of the reply: a third of its CPU
            response = await self._client.post(
                "/v1/messages", cast_to=httpx2.Response, body=body, options={"headers": self.headers(body)}
            )
        except self.errors as error:
            if heard is not None and isinstance(error, anthropic.APIStatusError):
                heard(error.response.headers)
            raise self.failed(error) from error
        if heard is not None:
            heard(response.headers)
        headers = response.headers
        content_type = headers.get("content-type", "no content type")
        return self.read(response.text, content_type, headers.get("request-id"), body["max_tokens"])

    async def count_tokens(self, request: Request) -> int | None:
        body = self.body(replace(request, cache=None))
        counted = {name: body[name] for name in ("model", "messages", "system", "thinking", "output_config") if name in body}
        try:
            return (await self._client.messages.count_tokens(**counted)).input_tokens
        except self.errors as error:
            raise self.failed(error) from error

    def read(self, text: str, content_type: str, request_id: str | None, max_tokens: int | None) -> Reply:
        """A message, from its JSON; raises `Failed` (broken). `max_tokens` None: not known here."""
        try:
            message = _Message.model_validate(json.loads(text))
        except (ValueError, ValidationError) as error:
            what = f"{type(error).__name__} in {len(text)} characters of {content_type}"
            raise Failed(
                RetryableError(
                    f"{self.base_url} answered 200 with something that is no message ({what}); is it a proxy's page?"
                ),
                "maybe",
                request_id,
                why="broken",
            ) from error
        usage = message.usage.usage()
        if max_tokens is not None and usage.output_tokens > max_tokens:
            raise too_long(usage, max_tokens, where=self.base_url, request_id=request_id)
        answer = "".join(str(block.get("text", "")) for block in message.content if block.get("type") == "text")
        return Reply(
            text=answer.encode("utf-8", "replace").decode().replace("\x00", "\ufffd"),  # what Postgres can store
            stop_reason=message.stop_reason,
            model=message.model,
            request_id=request_id,
            **vars(usage),
        )

    def failed(self, error: Exception) -> Failed:
        """The SDK's exception, in our words."""
        if isinstance(error, anthropic.APIStatusError):
            return self._refused(error)
        cause = error.__cause__
        if isinstance(error, anthropic.APIConnectionError | httpx2.HTTPError):
            never_sent = isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
            detail = f"{self.base_url} gave no answer: {type(cause or error).__name__} {cause or error}".rstrip()
            return Failed(RetryableError(detail), "no" if never_sent else "maybe", why="unreachable")
        return Failed(GoldsmithError(f"teacher {self.name!r} cannot be asked: {error}"), "no", why="request")

    def _refused(self, error: anthropic.APIStatusError) -> Failed:
        kind = f" {error.type}" if error.type else ""
        return refusal(
            error.status_code,
            f"{error.status_code}{kind}: {error.api_message or 'no reason given'}",
            model=self.model,
            key_setting=self._key_setting,
            model_setting=self._model_setting,
            headers=error.response.headers,
            request_id=error.request_id,
        )

    @property
    def base_url(self) -> str:
        return str(self._client.base_url)

    async def aclose(self) -> None:
        await self._client.close()
