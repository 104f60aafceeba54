from __future__ import annotations

import asyncio

from goldsmith.context import JobContext
from tests.probe.inline.schema import NoopConfig, NoopResult


async def run(config: NoopConfig, ctx: JobContext) -> NoopResult:
    if config.wait_s:
        await asyncio.sleep(config.wait_s)
    return NoopResult(attempt=ctx.attempt)
