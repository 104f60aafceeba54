"""Clients of the server that answers live requests: `goldsmith serve`, another OpenAI-compatible one, or Ollama."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from goldsmith.errors import InvalidInput, RetryableError, Unavailable
from goldsmith.student import ChatClient, ChatReply, Conversation

if TYPE_CHECKING:
    from goldsmith.settings import Settings

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 300.0
"""For the whole answer. A guess: 500 tokens of a 135M model on one busy core, with a few requests ahead of it."""

BUSY = (408, 425, 429)  # with 5xx the statuses after which the same request may succeed later


@dataclass(frozen=True)
class OpenAIChat:
    """`POST <url>/v1/chat/completions`; an adapter is asked for by its reference as the model's name."""

    url: str
    model: str
    key: str | None = None
    to_do: str = "check GOLDSMITH_SERVE_URL"
    timeout_s: float = ANSWER_TIMEOUT_S

    async def complete(
        self, messages: Conversation, *, adapter: str | None, max_tokens: int, temperature: float, top_p: float | None = None
    ) -> ChatReply:
        asked = adapter or self.model
        body: dict[str, Any] = {
            "model": asked,
            "messages": [dict(message) for message in messages],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream": False,
        }
        if top_p is not None:
            body["top_p"] = top_p
        url = f"{self.url}/v1/chat/completions"
        answer = await _post(url, body, key=self.key, to_do=self.to_do, timeout_s=self.timeout_s)
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise Unavailable(f"{url} answered without choices[0].message.content") from None
        model_used = _model_used(url, asked, answer.get("model"))
        said = answer.get("adapter")
        if said is not None and (adapter is None or not _same(adapter, said)):
            raise Unavailable(f"{url} answered with the adapter {said!r}; asked for {adapter or 'the base model'}")
        return ChatReply(_text(url, text, choice.get("finish_reason")), model_used, (said or model_used) if adapter else None)


@dataclass(frozen=True)
class OllamaChat:
    """`POST <url>/api/chat`. It answers with its one model: an adapter must be a model of its own there."""

    url: str
    model: str
    timeout_s: float = ANSWER_TIMEOUT_S

    async def complete(
        self, messages: Conversation, *, adapter: str | None, max_tokens: int, temperature: float, top_p: float | None = None
    ) -> ChatReply:
        if adapter is not None:
            raise InvalidInput(
                f"adapter: Ollama answers with {self.model} (GOLDSMITH_OLLAMA_MODEL) and has no {adapter}; "
                "unset GOLDSMITH_OLLAMA_MODEL to answer with `goldsmith serve`, or ask for no adapter",
                errors=[{"field": "adapter", "value": adapter, "allowed": None}],
            )
        options: dict[str, Any] = {"temperature": temperature, "num_predict": max_tokens}
        if top_p is not None:
            options["top_p"] = top_p
        body = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "stream": False,
            "think": False,  # left unset, newer versions think, and may spend all of num_predict on it
            "options": options,
        }
        url = f"{self.url}/api/chat"
        to_do = f"start it with `ollama serve`, then `ollama pull {self.model}`"
        answer = await _post(url, body, key=None, to_do=to_do, timeout_s=self.timeout_s)
        message = answer.get("message")
        if not isinstance(message, dict):
            raise Unavailable(f"{url} answered without message.content")
        model_used = _model_used(url, self.model, answer.get("model"))
        return ChatReply(_text(url, message.get("content"), answer.get("done_reason")), model_used, None)


def open_chat(settings: Settings) -> ChatClient:
    """Ollama when GOLDSMITH_OLLAMA_MODEL is set, else the OpenAI-compatible server at `settings.inference_url`.

    OLLAMA_HOST alone chooses nothing: many machines have it for other reasons. Raises `InvalidInput` for what is no address.
    """
    if settings.ollama_model:
        if settings.serve_url:
            raise InvalidInput(
                "GOLDSMITH_SERVE_URL and GOLDSMITH_OLLAMA_MODEL are both set; unset the one that should not answer"
            )
        return OllamaChat(ollama_url(settings.ollama_host), settings.ollama_model)
    url = checked_url("GOLDSMITH_SERVE_URL", settings.inference_url.rstrip("/").removesuffix("/v1"))
    to_do = "check GOLDSMITH_SERVE_URL" if settings.serve_url else "start it with `goldsmith serve`"
    key = settings.inference_key.get_secret_value() if settings.inference_key else None
    return OpenAIChat(url, settings.serve_model, key, to_do)


def ollama_url(host: str | None) -> str:
    """As Ollama reads its own variable: without a scheme the port is 11434; 0.0.0.0 is where it listens, not where it is."""
    text = host or "127.0.0.1"
    parts = urlsplit(checked_url("OLLAMA_HOST", text if "://" in text else f"http://{text}"))
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "")  # noqa: S104
    port = parts.port or (None if "://" in text else 11434)
    return f"{parts.scheme}://{f'[{name}]' if ':' in name else name}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def checked_url(setting: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise InvalidInput(f"{setting}: {url!r} is no address; write http://<host>:<port>")
    return url


async def _post(url: str, body: dict[str, Any], *, key: str | None, to_do: str, timeout_s: float) -> dict[str, Any]:
    """One request over a connection of its own."""
    local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
    async with httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=not local) as client:
        return await post(client, url, body, to_do=to_do, timeout_s=timeout_s)


async def post(client: httpx.AsyncClient, url: str, body: dict[str, Any], *, to_do: str, timeout_s: float) -> dict[str, Any]:
    """One request and its JSON object. Translates all that can go wrong on the way."""
    try:
        async with asyncio.timeout(timeout_s):
            response = await client.post(url, json=body)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise RetryableError(f"nothing answers at {url} ({str(error) or type(error).__name__}); {to_do}") from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise RetryableError(f"{url} gave no answer within {timeout_s:g} s") from error
    except httpx.TransportError as error:
        raise RetryableError(f"{url} broke off: {str(error) or type(error).__name__}") from error
    if response.status_code >= 500 or response.status_code in BUSY:
        raise RetryableError(f"{url} answered {response.status_code}: {said_by(response)}")
    if not response.is_success:
        raise Unavailable(f"{url} refused with {response.status_code}: {said_by(response)}")
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Unavailable(f"{url} answered something that is no JSON object")
    return answer


def said_by(response: httpx.Response) -> str:
    """What the server says in whichever form: OpenAI's, Ollama's, a problem document, or plain text; at most 300 characters."""
    try:
        body = response.json()
    except ValueError:
        body = None
    said: Any = None
    if isinstance(body, dict):
        said = body.get("error") or body.get("detail") or body.get("message")
        if isinstance(said, dict):
            said = said.get("message")
    return (said if isinstance(said, str) else response.text.strip() or response.reason_phrase)[:300]


def _model_used(url: str, asked: str, answered: object) -> str:
    if not isinstance(answered, str) or not answered:
        raise Unavailable(f"{url} does not say which model answered")
    if not _same(asked, answered):
        raise Unavailable(f"{url} answered with the model {answered!r}; asked for {asked!r}")
    return answered


def _same(asked: str, answered: object) -> bool:
    """Whether `answered` is what was asked for, spelled more exactly: the version behind an alias, a dated release, Ollama's
    `:latest`."""
    if not isinstance(answered, str):
        return False
    if asked.startswith("adapter:"):
        name, _, version = asked.partition("@")
        return answered == asked or (
            not version.isdigit() and re.fullmatch(rf"{re.escape(name)}@[1-9]\d*", answered) is not None
        )
    return re.fullmatch(rf"{re.escape(asked)}(-\d{{4}}-?\d{{2}}-?\d{{2}}|:latest)?", answered) is not None


def _text(url: str, content: object, reason: object) -> str:
    if not isinstance(content, str) or not content.strip():
        raise Unavailable(f"{url} answered without text (it stopped because of: {reason or 'unknown'})")
    return content.strip()
