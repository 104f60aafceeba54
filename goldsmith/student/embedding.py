"""A client of the model server's `POST /v1/embeddings`. Connections are kept: a route asks for one short text at a time."""

from __future__ import annotations

import base64
from array import array
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from goldsmith.errors import Unavailable
from goldsmith.student.chat import CONNECT_TIMEOUT_S, checked_url, post

if TYPE_CHECKING:
    from goldsmith.settings import Settings

EMBED_TIMEOUT_S = 60.0
"""A guess: the first text waits until its encoder is loaded."""


class Embedder:
    """Usable from one event loop; close it there."""

    def __init__(self, url: str, key: str | None, to_do: str) -> None:
        self.url, self._to_do = f"{url}/v1/embeddings", to_do
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        timeout = httpx.Timeout(EMBED_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        limits = httpx.Limits(keepalive_expiry=4)  # uvicorn closes an idle connection after 5 s
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits, trust_env=not local)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def embed(self, encoder: str, text: str) -> array[float]:
        """The text's vector. Raises `Unavailable` when the server gives none, `RetryableError` when it may give one later."""
        body = {"model": encoder, "input": text, "encoding_format": "base64"}
        answer = await post(self._client, self.url, body, to_do=self._to_do, timeout_s=EMBED_TIMEOUT_S)
        try:
            vector = array("f", base64.b64decode(answer["data"][0]["embedding"], validate=True))
        except (KeyError, IndexError, TypeError, ValueError):
            raise Unavailable(f"{self.url} answered without data[0].embedding in base64") from None
        return vector


def open_embedder(settings: Settings) -> Embedder:
    """Of the server at `settings.inference_url`: `goldsmith serve`, or GOLDSMITH_SERVE_URL."""
    url = checked_url("GOLDSMITH_SERVE_URL", settings.inference_url.rstrip("/").removesuffix("/v1"))
    to_do = "check GOLDSMITH_SERVE_URL" if settings.serve_url else "start it with `goldsmith serve`"
    return Embedder(url, settings.inference_key.get_secret_value() if settings.inference_key else None, to_do)
