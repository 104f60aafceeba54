"""A provider within its limits: asked again when it is busy, and never when the first try may have been billed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from goldsmith.errors import RetryableError
from goldsmith.teacher.limiter import Limiter
from goldsmith.teacher.provider import Batches, Failed, Reply, Request, Sending, Wire

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0  # doubling, when the provider does not say how long
LONGEST_WAIT_S = 60.0  # a provider that wants more gets the job's own back-off: no slot sits that long

log = structlog.get_logger()


class Limited:
    """See `goldsmith.teacher.provider.Provider`; `tries` counts the first one too."""

    def __init__(self, wire: Wire, limiter: Limiter, *, tries: int) -> None:
        self.name, self.model, self.price, self.local = wire.name, wire.model, wire.price, wire.local
        self._wire = wire
        self._limiter = limiter
        self._tries = tries

    @property
    def batches(self) -> Batches | None:
        return self._wire.batches

    @property
    def alone(self) -> int:
        return self._limiter.unavailable

    def identity(self, request: Request) -> dict[str, Any]:
        return self._wire.identity(request)

    async def count_tokens(self, request: Request) -> int | None:
        return await self._wire.count_tokens(request)

    async def ask(
        self, request: Request, *, ready: Callable[[], Awaitable[None]] | None = None, sending: Sending | None = None
    ) -> Reply:
        sending = sending or Sending()
        tried = 0
        while True:
            async with self._limiter.slot() as slot:
                if ready is not None and not tried:
                    await ready()
                await slot.turn()
                sending.on_the_wire = True
                try:
                    reply = await self._wire.ask(request, heard=slot.heard)
                except Failed as said:
                    slot.failed(said)
                    failed = said
                else:
                    slot.answered()
                    return reply
            sending.on_the_wire = False
            tried += 1
            if failed.billed != "no" or failed.why not in ("limited", "busy", "unreachable"):
                raise failed
            pause = self._pause(failed, tried)
            if tried == self._tries or pause > LONGEST_WAIT_S or sending.given_up:
                raise self._given_up(failed, tried) from failed
            log.info("the teacher is asked again", teacher=self.name, pause_s=round(pause, 2), because=failed.error.detail)
            await asyncio.sleep(pause)

    def _pause(self, failed: Failed, tried: int) -> float:
        if failed.retry_after_s is not None:
            return failed.retry_after_s
        return min(FIRST_PAUSE_S * 2.0 ** (tried - 1), LONGEST_PAUSE_S) * random.uniform(0.75, 1)  # noqa: S311

    def _given_up(self, failed: Failed, tried: int) -> Failed:
        again = f", also after {tried - 1} retries" if tried > 1 else ""
        return Failed(
            RetryableError(f"{failed.error.detail}{again}"),
            failed.billed,
            failed.request_id,
            why=failed.why,
            retry_after_s=failed.retry_after_s,
        )

    async def aclose(self) -> None:
        await self._limiter.aclose()
        await self._wire.aclose()
