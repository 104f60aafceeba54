"""The SDK's local router: decides as the server does, in this process, from what a router job left. Needs numpy (`goldsmith[router]`).

from goldsmith.client import Client
from goldsmith.router import Router, embeddings

with Client() as client:
    router = Router.fetch(client, "job:…", encode=embeddings("http://127.0.0.1:17806"))
decision = router.route("Write a haiku about rain")
print(decision.path, decision.adapter)
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import httpx
import numpy
from numpy.typing import ArrayLike

from goldsmith.client import Client, NotReachable
from goldsmith.errors import InvalidInput
from goldsmith.uno.answer import embedded_text
from goldsmith.uno.route import Decision, RoutingTable

__all__ = ["Decision", "Encode", "Router", "embeddings"]

Encode = Callable[[str, str], ArrayLike]
"""The name of the router's encoder and a text, to the text's vector."""


class Router:
    """A router's artifacts in memory. Safe for many threads when `encode` is."""

    def __init__(self, table: RoutingTable, encode: Encode | None = None) -> None:
        self._table, self._encode = table, encode
        self.encoder = table.encoder
        """The encoder that its queries must be embedded by."""
        self.dimension = table.dimension

    @classmethod
    def load(cls, folder: Path, encode: Encode | None = None) -> Self:
        """From a folder with `router.json` and `centroids.npz`; raises `InvalidInput` for another version's files."""
        return cls(RoutingTable.load(folder), encode)

    @classmethod
    def fetch(cls, client: Client, router: str, encode: Encode | None = None) -> Self:
        """From the artifacts of the router job `router` (`job:<id>`)."""
        with tempfile.TemporaryDirectory() as folder:
            for name in ("router.json", "centroids.npz"):
                client.download(f"{router}/{name}", Path(folder, name))
            return cls.load(Path(folder), encode)

    def route(
        self,
        query: str | None = None,
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        vector: ArrayLike | None = None,
    ) -> Decision:
        """Where this query, this conversation or this vector goes. Nothing is sent to the server and nothing is recorded.

        Raises `InvalidInput`, and `Conflict` for a vector of another dimension than the centroids.
        """
        if sum(one is not None for one in (query, messages, vector)) != 1:
            raise InvalidInput("query: give one of query, messages and vector")
        if vector is not None:
            return self._table.decide(vector)
        text = query if messages is None else embedded_text(messages)
        if text is None or not text.strip():
            raise InvalidInput("query: must not be blank")
        if self._encode is None:
            raise InvalidInput(f"query: no encoder was given; give `encode`, or a vector by the encoder {self.encoder}")
        return self._table.decide(self._encode(self.encoder, text))


def embeddings(url: str, *, key: str | None = None, timeout: float = 60) -> Encode:
    """An `encode` that asks an OpenAI-compatible server for embeddings, such as `goldsmith serve`. Connections are kept."""
    address = f"{url.rstrip('/').removesuffix('/v1')}/v1/embeddings"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    client = httpx.Client(headers=headers, timeout=httpx.Timeout(timeout, connect=3), trust_env=False)

    def encode(encoder: str, text: str) -> ArrayLike:
        try:
            response = client.post(address, json={"model": encoder, "input": text, "encoding_format": "base64"})
            response.raise_for_status()
            return numpy.frombuffer(base64.b64decode(response.json()["data"][0]["embedding"]), dtype="<f4")
        except httpx.HTTPStatusError as error:
            raise NotReachable(f"{address} answered {error.response.status_code}: {error.response.text[:300]}") from None
        except httpx.TransportError as error:
            raise NotReachable(f"no answer from {address} ({str(error) or type(error).__name__})") from error
        except (KeyError, IndexError, TypeError, ValueError):
            raise NotReachable(f"{address} answered without data[0].embedding in base64") from None

    return encode
