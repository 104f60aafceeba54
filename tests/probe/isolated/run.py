from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from goldsmith.context import JobContext
from goldsmith.errors import RetryableError
from tests.probe.isolated.schema import ProbeConfig, ProbeResult

CHILD = "import time\nwhile True: time.sleep(0.1)"


def run(config: ProbeConfig, ctx: JobContext) -> ProbeResult:
    if config.effects:
        with Path(config.effects).open("a") as file:
            file.write(f"{ctx.attempt} {os.getpid()}\n")
    match config.do:
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(7)
        case "raise":
            raise ValueError("on purpose")
        case "temporary":
            raise RetryableError("the other side is away")
        case "deaf":  # neither reports progress nor listens
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(0.1)
        case "hang":
            step = 0
            while True:
                step += 1
                ctx.progress(step % 100, f"step {step}", step=step)
                time.sleep(0.05)
        case "spawn":  # a grandchild that would outlive us
            child = subprocess.Popen([sys.executable, "-c", CHILD])
            with Path(str(config.effects)).open("a") as file:
                file.write(f"child {child.pid}\n")
            while True:
                ctx.progress(1)
                time.sleep(0.05)
        case "nan":
            ctx.progress(50, "diverged", loss=float("nan"))
        case "surrogate":
            raise ValueError("a name in a foreign encoding: \udcfc")
        case "count":
            return _count(ctx)
    ctx.save_artifact("hello.txt", b"hello")
    return ProbeResult(pid=os.getpid())


def _count(ctx: JobContext) -> ProbeResult:
    """Counts to 60 with a checkpoint at every step; goes on from the last one."""
    left = ctx.restore()
    start = int((left / "n").read_text()) if left else 0
    folder = ctx.scratch / "checkpoint"
    folder.mkdir()
    for step in range(start + 1, 61):
        (folder / "n").write_text(str(step))
        ctx.checkpoint(folder)
        ctx.progress(step / 60 * 100, f"{step}")
        time.sleep(0.05)
    return ProbeResult(pid=os.getpid(), steps=60 - start)
