from __future__ import annotations

import signal
import time

from goldsmith.context import JobContext
from tests.chaos.effects import record
from tests.chaos.kinds.device.schema import DeviceConfig
from tests.chaos.kinds.inline.schema import Done


def run(config: DeviceConfig, ctx: JobContext) -> Done:
    record(ctx.job_id, ctx.attempt, "on the device")
    if config.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for step in range(config.steps):
        record(ctx.job_id, ctx.attempt, f"step {step}")
        if not config.deaf:
            ctx.progress(100 * (step + 1) / config.steps, f"step {step}")
        time.sleep(config.pause_s)
    return Done(attempt=ctx.attempt, steps=config.steps)
