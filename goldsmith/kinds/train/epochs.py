"""An adapter of every epoch, kept for `verify` to choose from."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.kinds.train.schema import KeptEpoch
from goldsmith.kinds.train.trainer import Trainer

NAME = "epochs.json"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # PEFT's names

SaveEpoch = Callable[[int], str]
"""Keeps the weights as they are now under an epoch's number; returns the artifact."""


class KeepingEpochs(TrainerCallback):
    """Keeps the adapter at the end of every epoch, and of a last one that is cut short.

    It stands at the step's end, before a checkpoint is kept: whoever resumes from that has the epoch, and whoever resumes from an
    earlier one comes by here again.
    """

    def __init__(self, epochs: list[KeptEpoch], save: SaveEpoch, trainer: Trainer) -> None:
        self.epochs, self.save, self.trainer = epochs, save, trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        step, of_an_epoch = state.global_step, self.trainer.steps_of_an_epoch
        if step % of_an_epoch == 0 or step >= state.max_steps:
            number = -(-step // of_an_epoch)
            kept = KeptEpoch(epoch=number, step=step, artifact=self.save(number))
            # a longer training that goes on from a cut last epoch keeps that one whole
            self.epochs[:] = [*(each for each in self.epochs if each.epoch < number), kept]


def taken_over(epochs: list[KeptEpoch], ctx: JobContext) -> list[KeptEpoch]:
    """The epochs that a checkpoint knows, as this job's own artifacts: those of the job that it continues may go away."""
    own = f"job:{ctx.job_id}/"
    found = []
    for each in epochs:
        if not each.artifact.startswith(own):
            copied = ctx.save_artifact(each.artifact.rpartition("/")[2], ctx.artifact(each.artifact))
            each = each.model_copy(update={"artifact": copied})
        found.append(each)
    return found


def told(adapter: AdapterVersion, epochs: list[KeptEpoch]) -> bytes:
    """What `verify` needs to know of the training."""
    about = {
        "adapter": adapter.ref,
        "dataset": adapter.dataset,
        "config": f"job:{adapter.job_id}/{CONFIG}",
        "epochs": [each.model_dump() for each in epochs],
    }
    return json.dumps(about, indent=2).encode()
