"""How a training tells its job what happens, and when it keeps a checkpoint or ends early."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from transformers import TrainerCallback

from goldsmith.context import JobContext
from goldsmith.kinds.train.checkpoints import Best
from goldsmith.kinds.train.schema import TrainConfig
from goldsmith.kinds.train.trainer import Trainer

BEGIN, END = 10.0, 90.0  # the part of the job's progress bar that is training


class Telling(TrainerCallback):
    """Tells the job how the training goes, and has a checkpoint kept now and then."""

    def __init__(self, ctx: JobContext, config: TrainConfig, trainer: Trainer) -> None:
        self.ctx, self.config, self.trainer = ctx, config, trainer
        self.resumed_at: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.resumed_at = state.global_step or None
        self.first, self.began = state.global_step, time.monotonic()
        self.kept, self.kept_step = self.began, self.first

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        due = time.monotonic() - self.kept >= self.config.checkpoint_every_s
        steps = self.config.checkpoint_every_steps
        if (due or (steps and state.global_step - self.kept_step >= steps)) and state.global_step < state.max_steps:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.kept, self.kept_step = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        seconds, done = time.monotonic() - self.began, state.global_step - self.first
        self.ctx.progress(
            BEGIN + (END - BEGIN) * state.global_step / state.max_steps,
            f"step {state.global_step} of {state.max_steps}, loss {float(logs['loss']):.3f}",
            step=state.global_step,
            loss=float(logs["loss"]),
            learning_rate=float(logs["learning_rate"]),
            grad_norm=float(logs["grad_norm"]),
            tokens_per_s=self.trainer.tokens_read / seconds,
            memory_gb=memory_gb(),
            eta_s=seconds / done * (state.max_steps - state.global_step),
        )


class Stopping(TrainerCallback):
    """Measures the held-out loss at the end of every epoch, keeps the best weights, and ends after `patience` that were no better.

    It stands at the step's end, before a checkpoint is kept, so that a resumed run knows what was measured.
    """

    def __init__(self, measure: Callable[[], float], best: Best, patience: int, trainer: Trainer, ctx: JobContext) -> None:
        self.measure, self.best, self.patience, self.trainer, self.ctx = measure, best, patience, trainer, ctx
        self.stopped = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.trainer.steps_of_an_epoch and state.global_step < state.max_steps:
            return
        loss = self.measure()
        if loss < self.best.loss:
            self.best.loss, self.best.step, self.best.worse = loss, state.global_step, 0
            self.best.weights = {name: each.detach().cpu().clone() for name, each in trained(self.trainer.trained)}
        else:
            self.best.worse += 1
        self.ctx.log(
            f"held-out loss after step {state.global_step}: {loss:.4f}; the lowest is {self.best.loss:.4f} after step {self.best.step}",
            step=state.global_step,
            heldout_loss=loss,
        )
        if self.best.worse >= self.patience and state.global_step < state.max_steps:
            self.stopped = control.should_training_stop = True

    def restore_best(self) -> None:
        """Put the best weights back into the model."""
        assert self.best.weights is not None
        with torch.no_grad():
            for name, each in trained(self.trainer.trained):
                each.copy_(self.best.weights[name])


def trained(model: Any) -> list[tuple[str, Any]]:
    return [(name, each) for name, each in model.named_parameters() if each.requires_grad]


def memory_gb() -> float:
    """The most that the device held; without CUDA, what the process holds now."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 1e9)
    return float(psutil.Process().memory_info().rss / 1e9)
