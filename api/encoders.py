"""The model server's sentence encoders. They wait for each other, not for the model that writes answers."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog

from goldsmith.errors import InvalidInput, NotFound, TooManyRequests, Unavailable
from goldsmith.settings import Settings
from goldsmith.student import check_encoder, load_encoder

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from goldsmith.student import Encoder

log = structlog.get_logger()

MAX_WAITING = 256
"""Requests in line from which on the next gets a 429. A guess: at 10 ms a short text the last one waits under three seconds."""
KEPT = 2
"""Encoders in memory; the one that was used longest ago makes room."""


class Encoders:
    """By name, each loaded by its first call; one request is encoded at a time."""

    def __init__(self, settings: Settings) -> None:
        self.waiting = 0
        self._settings = settings
        self._loaded: dict[str, Encoder] = {}
        self._line = ThreadPoolExecutor(1, thread_name_prefix="encoder")

    def close(self) -> None:
        self._line.shutdown(wait=True, cancel_futures=True)

    @property
    def in_memory(self) -> list[str]:
        return list(self._loaded)

    async def encode(self, name: str, texts: list[str]) -> tuple[NDArray[numpy.float32], int]:
        """A row for each text, and how many tokens were read. Raises `NotFound` for a name that means no encoder here."""
        if self.waiting >= MAX_WAITING:
            message = f"{self.waiting} requests are in line; try again in a few seconds"
            raise TooManyRequests(message, headers={"Retry-After": "1"})
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._line, self._encode, name, texts)
        finally:
            self.waiting -= 1

    def _encode(self, name: str, texts: list[str]) -> tuple[NDArray[numpy.float32], int]:
        encoder = self._loaded.pop(name, None) or self._load(name)
        self._loaded[name] = encoder  # the last is the one used last
        while len(self._loaded) > KEPT:
            self._loaded.pop(next(iter(self._loaded)))
        return encoder.encode(texts), encoder.count(texts)

    def _load(self, name: str) -> Encoder:
        started = time.monotonic()
        try:
            check_encoder(name, self._settings)
            encoder = load_encoder(name, cache=self._settings.models)
        except (InvalidInput, Unavailable) as error:
            raise NotFound(error.detail) from None
        log.info("encoder loaded", encoder=name, seconds=round(time.monotonic() - started, 1))
        return encoder
