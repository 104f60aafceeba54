"""The Messages API through the official SDK: one question, one reply, every failure named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import anthropic
import httpx2  # the HTTP client that the SDK is built on
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from goldsmith.errors import GoldsmithError, InvalidInput, RetryableError
from goldsmith.teacher.prices import Price

# Four retries back off for about 8 s, or as long as `retry-after` says; after that the job is put back with its own back-off.
MAX_RETRIES = 4
TIMEOUT = httpx2.Timeout(120, connect=5)  # short answers: a minute is already unusual


@dataclass(frozen=True)
class Reply:
    text: str
    stop_reason: str
    model: str
    input_tokens: int
    output_tokens: int
    request_id: str | None


class Failed(Exception):
    """No reply. `billed` says what the ledger must think: `no` (the provider refused) or `maybe` (nobody can say)."""

    def __init__(self, error: GoldsmithError, billed: Literal["no", "maybe"], request_id: str | None = None) -> None:
        super().__init__(error.detail)
        self.error = error
        self.billed = billed
        self.request_id = request_id


class _Usage(BaseModel):
    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Message(BaseModel):
    """What is read of a reply; blocks of kinds that are not text (thinking) are passed over."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["message"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str
    usage: _Usage


def request_body(
    price: Price,
    *,
    model: str,
    system: str | None,
    prompt: str,
    max_tokens: int,
    temperature: float | None,
    json_schema: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The arguments of `messages.create`: what makes two requests identical."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens + price.headroom,
        "messages": [{"role": "user", "content": prompt}],
    }
    if system is not None:
        body["system"] = system
    if temperature is not None:
        if not price.temperature:
            raise InvalidInput(
                f"temperature {temperature}: {model} takes none and would answer 400; leave it out",
                errors=[{"field": "temperature", "value": temperature, "allowed": None}],
            )
        body["extra_body"] = {"temperature": temperature}  # no argument of the SDK since 1.0
    if price.thinking:
        body["thinking"] = {"type": price.thinking}
    output: dict[str, Any] = {"effort": "low"} if price.thinking == "adaptive" else {}
    if json_schema is not None:
        output["format"] = {"type": "json_schema", "schema": dict(json_schema)}
    if output:
        body["output_config"] = output
    return body


class Messages:
    """A connection to the provider. The SDK retries what is worth retrying; its retries are not metered apart."""

    def __init__(
        self,
        *,
        api_key: str,
        key_setting: str,
        base_url: str | None = None,
        max_retries: int = MAX_RETRIES,
        loopback: bool = False,
    ) -> None:
        self._key_setting = key_setting
        self._max_retries = max_retries
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=max_retries,
            timeout=TIMEOUT,
            http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False) if loopback else None,  # no proxy on loopback
        )

    async def send(self, body: Mapping[str, Any]) -> Reply:
        """Ask; raises `Failed`. A reply may still be cut (`max_tokens`), declined (`refusal`) or empty: see `stop_reason`."""
        try:
            raw = await self._client.messages.with_raw_response.create(**body)
            text = await raw.text()
        except anthropic.APIStatusError as error:
            raise Failed(self._refused(error, str(body["model"])), "no", error.request_id) from error
        except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
            never_sent = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
            raise Failed(
                RetryableError(f"{self.base_url} gave no answer after {self._max_retries} retries: {error.__cause__ or error}"),
                "no" if never_sent else "maybe",
            ) from error
        return self._read(text, raw.headers.get("content-type", "no content type"), raw.request_id)

    def _read(self, text: str, content_type: str, request_id: str | None) -> Reply:
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
            ) from error
        usage = message.usage
        answer = "".join(str(block.get("text", "")) for block in message.content if block.get("type") == "text")
        return Reply(
            text=answer.encode("utf-8", "replace").decode().replace("\x00", "\ufffd"),  # what Postgres can store
            stop_reason=message.stop_reason,
            model=message.model,
            input_tokens=usage.input_tokens + (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0),
            output_tokens=usage.output_tokens,
            request_id=request_id,
        )

    def _refused(self, error: anthropic.APIStatusError, model: str) -> GoldsmithError:
        said = f"{error.status_code} {error.type or ''}: {error.api_message or 'no reason given'}".replace(" :", ":")
        if error.status_code in (401, 403):
            return GoldsmithError(f"the teacher refused the key in {self._key_setting} ({said}); nothing was retried")
        if error.status_code == 402:
            return GoldsmithError(f"the account of {self._key_setting} cannot pay ({said}); nothing was retried")
        if error.status_code == 404:
            return GoldsmithError(f"the teacher knows no model {model!r} ({said}); set `model` or GOLDSMITH_TEACHER_MODEL")
        if error.status_code in (408, 409, 429) or error.status_code >= 500:
            return RetryableError(f"the teacher is busy or broken ({said}), also after {self._max_retries} retries")
        return GoldsmithError(f"the teacher refused the request ({said}); nothing was retried")

    @property
    def base_url(self) -> str:
        return str(self._client.base_url)

    async def aclose(self) -> None:
        await self._client.close()
