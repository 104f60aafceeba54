"""The Message Batches API: many requests at half the price, answered within a day, in any order."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import anthropic
import httpx2
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from goldsmith.errors import GoldsmithError, InvalidInput, RetryableError
from goldsmith.teacher.anthropic import OLDER_API, Messages
from goldsmith.teacher.provider import CUSTOM_ID, Batch, Failed, Reply, Request

CREATE_TIMEOUT_S = 600  # 256 MB upload
_OUTER_BYTES = 100  # of a batch around its requests


class _Batch(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str
    processing_status: Literal["in_progress", "canceling", "ended"]
    created_at: AwareDatetime
    expires_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    request_counts: dict[str, int]


class _Error(BaseModel):
    type: str = ""
    message: str = ""


class _ErrorResponse(BaseModel):
    error: _Error = _Error()


class _Result(BaseModel):
    type: Literal["succeeded", "errored", "canceled", "expired"]
    message: dict[str, Any] | None = None
    error: _ErrorResponse | None = None


class _Line(BaseModel):
    custom_id: str
    result: _Result


class MessageBatches:
    """See `goldsmith.teacher.provider.Batches`."""

    def __init__(self, messages: Messages, client: anthropic.AsyncAnthropic) -> None:
        self._messages = messages
        self._client = client

    def portions(self, requests: Iterable[tuple[str, Request]]) -> Iterator[list[tuple[str, Request]]]:
        price = self._messages.price
        portion: list[tuple[str, Request]] = []
        size = _OUTER_BYTES
        for custom_id, request in requests:
            bytes_ = len(json.dumps(self._item(custom_id, request), ensure_ascii=False).encode()) + 2
            if _OUTER_BYTES + bytes_ > price.batch_bytes:
                raise InvalidInput(f"request {custom_id!r} has {bytes_} bytes; a batch holds {price.batch_bytes}")
            if portion and (len(portion) == price.batch_requests or size + bytes_ > price.batch_bytes):
                yield portion
                portion, size = [], _OUTER_BYTES
            portion.append((custom_id, request))
            size += bytes_
        if portion:
            yield portion

    async def create(self, requests: Sequence[tuple[str, Request]]) -> Batch:
        older = any((request.temperature, request.top_p) != (None, None) for _, request in requests)
        items: list[Any] = [self._item(custom_id, request) for custom_id, request in requests]
        try:
            raw = await self._client.messages.batches.with_raw_response.create(
                requests=items,
                extra_headers={"anthropic-version": OLDER_API} if older else {},
                timeout=httpx2.Timeout(CREATE_TIMEOUT_S, connect=5),
            )
            return self._read(await raw.text(), raw.request_id)
        except (anthropic.AnthropicError, httpx2.HTTPError) as error:
            raise self._failed(error) from error

    async def get(self, batch_id: str) -> Batch:
        try:
            raw = await self._client.messages.batches.with_raw_response.retrieve(batch_id)
            return self._read(await raw.text(), raw.request_id)
        except (anthropic.AnthropicError, httpx2.HTTPError) as error:
            raise self._failed(error) from error

    async def results(self, batch_id: str) -> AsyncIterator[tuple[str, Reply | Failed]]:
        try:
            async with self._client.messages.batches.with_streaming_response.results(batch_id) as response:
                async for line in response.iter_lines():
                    if line.strip():
                        yield self._outcome(line, response.request_id)
        except (anthropic.APIError, httpx2.HTTPError) as error:
            raise self._failed(error) from error
        except anthropic.AnthropicError as error:  # no results_url
            raise Failed(RetryableError(f"the batch {batch_id} has no results yet"), "no", why="not_found") from error

    async def since(self, created_at: datetime) -> AsyncIterator[Batch]:
        after: str | anthropic.Omit = anthropic.omit
        while True:
            try:
                raw = await self._client.messages.batches.with_raw_response.list(limit=100, after_id=after)
                page = json.loads(await raw.text())
                found = [self._read(json.dumps(row), raw.request_id) for row in page["data"]]
            except (anthropic.AnthropicError, httpx2.HTTPError) as error:
                raise self._failed(error) from error
            except (ValueError, KeyError, TypeError) as error:
                raise self._broken("a list of batches", raw.request_id) from error
            for batch in found:
                if batch.created_at < created_at:
                    return
                yield batch
            if not found or not page.get("has_more"):
                return
            after = found[-1].id

    async def cancel(self, batch_id: str) -> Batch:
        try:
            raw = await self._client.messages.batches.with_raw_response.cancel(batch_id)
            return self._read(await raw.text(), raw.request_id)
        except (anthropic.AnthropicError, httpx2.HTTPError) as error:
            raise self._failed(error) from error

    def _item(self, custom_id: str, request: Request) -> dict[str, Any]:
        if not re.fullmatch(CUSTOM_ID, custom_id):
            raise InvalidInput(f"custom_id {custom_id!r}: 1 to 64 letters, digits, _ or -")
        return {"custom_id": custom_id, "params": self._messages.body(request)}

    def _read(self, text: str, request_id: str | None) -> Batch:
        try:
            batch = _Batch.model_validate_json(text)
        except ValidationError as error:
            raise self._broken("a batch", request_id) from error
        return Batch(
            batch.id, batch.processing_status, batch.created_at, batch.expires_at, batch.ended_at, batch.request_counts
        )

    def _outcome(self, line: str, request_id: str | None) -> tuple[str, Reply | Failed]:
        try:
            read = _Line.model_validate_json(line)
        except ValidationError:
            return "", self._broken("a line of results", request_id)
        result = read.result
        if result.type == "succeeded":
            message = result.message or {}
            try:
                return read.custom_id, self._messages.read(json.dumps(message), "a batch's results", message.get("id"), None)
            except Failed as failed:
                return read.custom_id, failed
        if result.type == "errored":
            said = (result.error or _ErrorResponse()).error
            # invalid_request_error: the request itself is at fault; all other kinds are the provider's trouble
            if said.type == "invalid_request_error":
                refused = GoldsmithError(f"the teacher refused the request in the batch ({said.type}: {said.message})")
                return read.custom_id, Failed(refused, "no", why="request")
            busy = RetryableError(f"the request failed in the batch ({said.type or 'no type'}: {said.message})")
            return read.custom_id, Failed(busy, "no", why="busy")
        ended = RetryableError(f"the batch ended before this request's turn ({result.type})")
        return read.custom_id, Failed(ended, "no", why="expired" if result.type == "expired" else "cancelled")

    def _broken(self, what: str, request_id: str | None) -> Failed:
        error = RetryableError(f"{self._messages.base_url} answered 200 with something that is not {what}")
        return Failed(error, "maybe", request_id, why="broken")

    def _failed(self, error: Exception) -> Failed:
        failed = self._messages.failed(error)
        if failed.why == "model":
            return Failed(
                RetryableError(f"the teacher does not know the batch, or not yet ({failed.error.detail})"),
                "no",
                failed.request_id,
                why="not_found",
            )
        return failed
