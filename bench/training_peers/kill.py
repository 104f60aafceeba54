"""A training that tells its steps on stdout, to be killed: on a tiny model, with a real checkpoint every few steps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from uuid import UUID

from goldsmith.kinds.train.run import run
from tests.training import config, context

order = json.load(sys.stdin)
ctx = context(Path(order["folder"]), job_id=UUID(order["job"]), attempt=order["attempt"])
telling = ctx.progress


def progress(percent: float, message: str = "", **metrics: float) -> None:
    telling(percent, message, **metrics)
    if "step" in metrics:
        print(int(metrics["step"]), flush=True)


ctx.progress = progress  # type: ignore[method-assign]
asked = config(Path(order["model"]), num_train_epochs=30, checkpoint_every_steps=order["every"])
result = run(asked, ctx)
print(json.dumps({"resumed_at": result.resumed_at, "heldout_loss": result.heldout_loss_after}))
