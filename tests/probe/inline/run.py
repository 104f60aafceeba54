from __future__ import annotations

import asyncio
import time

from goldsmith.context import JobContext
from tests.probe.inline.schema import NoopConfig, NoopResult


async def run(config: NoopConfig, ctx: JobContext) -> NoopResult:
    if config.wait_s:
        await asyncio.sleep(config.wait_s)
    if config.thread_s:
        await asyncio.to_thread(_work, config.thread_s, ctx)
    return NoopResult(attempt=ctx.attempt)


def _work(seconds: float, ctx: JobContext) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        ctx.progress(50)
