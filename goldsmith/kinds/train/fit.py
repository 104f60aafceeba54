"""The training itself, from rows to trained weights; it goes on from a checkpoint when there is one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from goldsmith.context import JobContext
from goldsmith.errors import JobCancelled, OutOfMemory, Requeue
from goldsmith.kinds.train import packed
from goldsmith.kinds.train.checkpoints import Keeper, Run, found
from goldsmith.kinds.train.epochs import KeepingEpochs, SaveEpoch, taken_over
from goldsmith.kinds.train.losses import unsloth_nll
from goldsmith.kinds.train.rows import Row, Rows
from goldsmith.kinds.train.schema import KeptEpoch
from goldsmith.kinds.train.telling import Stopping, Telling, memory_gb, trained
from goldsmith.kinds.train.trainer import Diverged, Trainer
from goldsmith.student import Told
from goldsmith.student.local import likelihood


@dataclass(frozen=True)
class Fitted:
    steps: int
    epochs: float
    stopped_early: bool
    best_step: int | None
    batch_size: int
    accumulation: int
    train_loss: float
    tokens: int
    seconds: float
    peak_memory_gb: float
    metrics: list[dict[str, float]]
    """One entry for each update, those of earlier attempts included."""
    resumed_at: int | None
    kept_epochs: list[KeptEpoch]


def fit(
    model: Any,
    data: Rows,
    run: Run,
    ctx: JobContext,
    *,
    reference: Sequence[tuple[float, float]] = (),
    backend: str = "peft",
    save_epoch: SaveEpoch,
) -> Fitted:
    """Train what is trainable in `model`; from the newest checkpoint when there is one, to the same weights as without a break.

    A cancel, a worker that is stopped and memory that is too small leave a checkpoint of the last step. So does a loss that is no
    number where there is none yet: the weights of the last step may be what is wrong, and must not take a good one's place.
    """
    config = run.config
    before = found(ctx, run)
    epochs = taken_over(before.epochs, ctx) if before else []
    keeper = Keeper(ctx, run, before, epochs)
    trainer = Trainer(
        model,
        data.train,
        config,
        ctx.scratch / "trainer",
        reference=reference,
        backend=backend,
        packed=config.packing and (backend == "unsloth" or packed.can_pack(model)),
        keep=lambda folder: keeper.keep(trainer, folder),
        log=ctx.log,
    )
    if before is not None:
        trainer.batch_size = min(before.batch_size, trainer.batch_size)
    if config.max_steps and trainer.args.max_steps < config.max_steps:
        ctx.log(f"max_epochs: {config.max_epochs:g} epochs are {trainer.args.max_steps} steps, fewer than max_steps")
    telling = Telling(ctx, config, trainer)
    stopping = None
    if config.early_stopping_patience is not None:
        stopping = Stopping(
            lambda: mean(heldout_nll(model, data.heldout, backend=backend)),
            keeper.best,
            config.early_stopping_patience,
            trainer,
            ctx,
        )
        trainer.add_callback(stopping)
    if config.keep_epochs:
        trainer.add_callback(KeepingEpochs(epochs, save_epoch, trainer))
    trainer.add_callback(telling)
    began = time.monotonic()
    with packed.attention(model, on=trainer.packed and backend != "unsloth"):
        try:
            trainer.train(resume_from_checkpoint=str(before.folder) if before else None)
        except (JobCancelled, Requeue, OutOfMemory):
            if trainer.state.global_step not in (0, telling.resumed_at):
                trainer._save_checkpoint(model, None)
            raise
        except Diverged as error:
            if keeper.kept_at is None and trainer.state.global_step and _finite(model):
                trainer._save_checkpoint(model, None)
            kept = "no checkpoint is kept" if keeper.kept_at is None else f"the checkpoint of step {keeper.kept_at} is kept"
            raise Diverged(f"{error.detail}; {kept}", **error.extra, kept_at=keeper.kept_at) from error
    if stopping is not None:
        stopping.restore_best()
    metrics = [_metrics(entry) for entry in trainer.state.log_history if "loss" in entry]
    return Fitted(
        steps=trainer.state.global_step,
        epochs=round(float(trainer.state.epoch or 0), 4),
        stopped_early=stopping is not None and stopping.stopped,
        best_step=keeper.best.step if stopping else None,
        batch_size=trainer.batch_size,
        accumulation=trainer.accumulation,
        train_loss=sum(entry["loss"] for entry in metrics) / len(metrics),
        tokens=trainer.tokens_read,
        seconds=time.monotonic() - began,
        peak_memory_gb=memory_gb(),
        metrics=metrics,
        resumed_at=telling.resumed_at,
        kept_epochs=epochs,
    )


def _finite(model: Any) -> bool:
    return all(bool(torch.isfinite(each).all()) for _, each in trained(model))


Nll = list[tuple[float, int]]
"""Of each row: summed nats of the answers, and their tokens."""


def heldout_nll(model: Any, rows: Sequence[Row], told: Told | None = None, *, backend: str = "peft") -> Nll:
    measure = unsloth_nll if backend == "unsloth" else likelihood
    return measure(model, [row.chosen for row in rows], told)


def rejected_nll(model: Any, rows: Sequence[Row], told: Told | None = None) -> Nll:
    """The same of the answers to turn away from."""
    return likelihood(model, [row.rejected for row in rows if row.rejected is not None], told)


def mean(nll: Nll) -> float:
    """Nats per token, over all rows."""
    return sum(loss for loss, _ in nll) / sum(number for _, number in nll)


def _metrics(entry: dict[str, Any]) -> dict[str, float]:
    return {key: float(entry[key]) for key in ("step", "epoch", "loss", "learning_rate", "grad_norm") if key in entry}
