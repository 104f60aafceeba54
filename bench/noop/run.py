from __future__ import annotations

from bench.noop.schema import NoopConfig, NoopResult
from goldsmith.context import JobContext


async def run(config: NoopConfig, ctx: JobContext) -> NoopResult:
    """Returns at once."""
    return NoopResult()
