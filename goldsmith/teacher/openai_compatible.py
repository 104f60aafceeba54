"""Chat completions as Ollama, vLLM and llama.cpp serve them, over plain HTTP.

One request with one shape of reply is all that is asked, and these servers differ from each other more than from the
format's own client: httpx, which is here anyway, keeps every status and every broken body in view.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from goldsmith.errors import RetryableError
from goldsmith.teacher.prices import Price, Usage
from goldsmith.teacher.privacy import Gate
from goldsmith.teacher.provider import Batches, Failed, Reply, Request, too_long
from goldsmith.teacher.refusals import refusal

_STOPS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
_THINKING = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)  # what older servers leave in the text


class _Chosen(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Chosen
    finish_reason: str | None = None


class _Details(BaseModel):
    cached_tokens: int | None = Field(None, ge=0)


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    prompt_tokens_details: _Details | None = None


class _Completion(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str | None = None
    model: str
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage


class OpenAICompatible:
    """See `goldsmith.teacher.provider.Wire`."""

    name = "openai-compatible"
    batches: Batches | None = None

    def __init__(
        self, url: str, *, key: str | None, model: str, price: Price, gate: Gate, local: bool, timeout: httpx.Timeout
    ) -> None:
        self.model, self.price, self.local = model, price, local
        self.url = url
        self._gate = gate
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=not local)  # no proxy on our own network

    def identity(self, request: Request) -> dict[str, Any]:
        return {"provider": self.name, "url": self.url, **self._body(request)}

    def _body(self, request: Request) -> dict[str, Any]:
        messages = [{"role": "system", "content": request.system}] if request.system is not None else []
        messages.append({"role": "user", "content": request.prompt})
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": request.max_tokens + self.price.headroom,
            "messages": messages,
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
        if request.seed is not None:
            body["seed"] = request.seed
        if request.json_schema is not None:
            schema = {"name": "answer", "strict": True, "schema": dict(request.json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    async def ask(self, request: Request, *, heard: Callable[[Mapping[str, str]], None] | None = None) -> Reply:
        self._gate.check(request.recorded)
        body = self._body(request)
        try:
            response = await self._http.post(f"{self.url}/chat/completions", json=body)
        except httpx.HTTPError as error:
            never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            detail = f"{self.url} gave no answer: {type(error).__name__} {error}".rstrip()
            raise Failed(RetryableError(detail), "no" if never_sent else "maybe", why="unreachable") from error
        if heard is not None:
            heard(response.headers)
        request_id = response.headers.get("x-request-id")
        if response.status_code >= 400:
            raise refusal(
                response.status_code,
                f"{response.status_code}: {_reason(response)}",
                model=self.model,
                key_setting="GOLDSMITH_OPENAI_COMPATIBLE_KEY",
                model_setting="GOLDSMITH_OPENAI_COMPATIBLE_MODEL",
                headers=response.headers,
                request_id=request_id,
            )
        return self._read(response, request_id, int(body["max_tokens"]))

    def _read(self, response: httpx.Response, request_id: str | None, max_tokens: int) -> Reply:
        try:
            completion = _Completion.model_validate_json(response.content)
        except ValidationError as error:
            what = f"{len(response.content)} bytes of {response.headers.get('content-type', 'no content type')}"
            detail = f"{self.url} answered {response.status_code} with something that is no completion ({what})"
            raise Failed(RetryableError(detail), "maybe", request_id, why="broken") from error
        counted, choice = completion.usage, completion.choices[0]
        cached = (counted.prompt_tokens_details and counted.prompt_tokens_details.cached_tokens) or 0
        usage = Usage(counted.prompt_tokens, counted.completion_tokens, min(cached, counted.prompt_tokens))
        if usage.output_tokens > max_tokens:
            raise too_long(usage, max_tokens, where=self.url, request_id=request_id)
        text = _THINKING.sub("", choice.message.content or "", count=1)
        return Reply(
            text=text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd"),  # what Postgres can store
            stop_reason=_STOPS.get(choice.finish_reason or "", choice.finish_reason or "none"),
            model=completion.model,
            request_id=request_id or completion.id,
            **vars(usage),
        )

    async def count_tokens(self, request: Request) -> int | None:
        return None

    async def aclose(self) -> None:
        await self._http.aclose()


def _reason(response: httpx.Response) -> str:
    """What the server says is wrong; each of them says it in a way of its own."""
    try:
        error = response.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:500]
    except (ValueError, KeyError, TypeError):
        return response.text[:200].strip() or "no reason given"
