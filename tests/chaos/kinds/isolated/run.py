from __future__ import annotations

import os
import signal
import time

from goldsmith.context import JobContext
from tests.chaos.effects import record
from tests.chaos.kinds.inline.schema import Done
from tests.chaos.kinds.isolated.schema import IsolatedConfig


def run(config: IsolatedConfig, ctx: JobContext) -> Done:
    left = ctx.restore()
    first = int((left / "next").read_text()) if left else 0
    folder = ctx.scratch / "checkpoint"
    folder.mkdir()
    for step in range(first, config.steps):
        record(ctx.job_id, ctx.attempt, f"step {step}")
        if config.poison:
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / "next").write_text(str(step + 1))
        ctx.checkpoint(folder)
        ctx.progress(100 * (step + 1) / config.steps, f"step {step}")
        time.sleep(config.pause_s)
    ctx.save_artifact("attempt.txt", str(ctx.attempt).encode().ljust(config.artifact_bytes))
    return Done(attempt=ctx.attempt, steps=config.steps)
