"""A client of the model server's `POST /v1/embeddings`. Connections are kept: a route asks for one short text at a time."""

from __future__ import annotations

import asyncio
import base64
from array import array
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from goldsmith.errors import RetryableError, Unavailable
from goldsmith.student.chat import CONNECT_TIMEOUT_S, answered, checked_url, post
from goldsmith.student.loopback import Loopback

if TYPE_CHECKING:
    from goldsmith.settings import Settings

EMBED_TIMEOUT_S = 60.0
"""A guess: the first text waits until its encoder is loaded."""


class Embedder:
    """Usable from one event loop; close it there."""

    def __init__(self, url: str, key: str | None, to_do: str, *, own_port: int | None) -> None:
        """`own_port`: where the server listens if it is the one that Goldsmith starts on this machine."""
        self.url, self._to_do = f"{url}/v1/embeddings", to_do
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        timeout = httpx.Timeout(EMBED_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        limits = httpx.Limits(keepalive_expiry=4)  # uvicorn closes an idle connection after 5 s
        self._own = None if own_port is None else Loopback(own_port, key)
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits, trust_env=not local)

    async def aclose(self) -> None:
        await self._client.aclose()
        if self._own is not None:
            await self._own.aclose()

    async def embed(self, encoder: str, text: str) -> array[float]:
        """The text's vector. Raises `Unavailable` when the server gives none, `RetryableError` when it may give one later."""
        body = {"model": encoder, "input": text, "encoding_format": "base64"}
        if self._own is not None:
            answer = await self._ask(self._own, body)
        else:
            answer = await post(self._client, self.url, body, to_do=self._to_do, timeout_s=EMBED_TIMEOUT_S)
        try:
            vector = array("f", base64.b64decode(answer["data"][0]["embedding"], validate=True))
        except (KeyError, IndexError, TypeError, ValueError):
            raise Unavailable(f"{self.url} answered without data[0].embedding in base64") from None
        return vector

    async def _ask(self, own: Loopback, body: dict[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(EMBED_TIMEOUT_S):
                return answered(self.url, await own.post("/v1/embeddings", body))
        except TimeoutError as error:
            raise RetryableError(f"{self.url} gave no answer within {EMBED_TIMEOUT_S:g} s") from error
        except ConnectionRefusedError as error:
            raise RetryableError(f"nothing answers at {self.url} ({error}); {self._to_do}") from error
        except (OSError, EOFError) as error:
            raise RetryableError(f"{self.url} broke off: {str(error) or type(error).__name__}") from error


def open_embedder(settings: Settings) -> Embedder:
    """Of the server at `settings.inference_url`: `goldsmith serve`, or GOLDSMITH_SERVE_URL."""
    url = checked_url("GOLDSMITH_SERVE_URL", settings.inference_url.rstrip("/").removesuffix("/v1"))
    to_do = "check GOLDSMITH_SERVE_URL" if settings.serve_url else "start it with `goldsmith serve`"
    key = settings.inference_key.get_secret_value() if settings.inference_key else None
    return Embedder(url, key, to_do, own_port=None if settings.serve_url else settings.serve_port)
