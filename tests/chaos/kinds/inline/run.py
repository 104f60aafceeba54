from __future__ import annotations

import asyncio

from goldsmith.context import JobContext
from tests.chaos.effects import record
from tests.chaos.kinds.inline.schema import Done, InlineConfig


async def run(config: InlineConfig, ctx: JobContext) -> Done:
    for step in range(config.steps):
        record(ctx.job_id, ctx.attempt, f"step {step}")
        ctx.progress(100 * (step + 1) / config.steps, f"step {step}")
        await asyncio.sleep(config.pause_s)
    if config.artifact:
        ctx.save_artifact("attempt.txt", str(ctx.attempt).encode())
    return Done(attempt=ctx.attempt, steps=config.steps)
