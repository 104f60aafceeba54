"""The training itself: TRL's SFTTrainer on token ids that are there already, with checkpoints that it goes on from."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from goldsmith.context import JobContext
from goldsmith.kinds.train.schema import TrainConfig
from goldsmith.student import Student, Told
from goldsmith.student.conversation import Tokens
from goldsmith.student.local import likelihood

BEGIN, END = 10.0, 90.0  # the part of the job's progress bar that is training


@dataclass(frozen=True)
class Fitted:
    steps: int
    epochs: float
    train_loss: float
    tokens: int
    seconds: float
    metrics: list[dict[str, float]]
    """One entry for each update, those of earlier attempts included."""
    resumed_at: int | None


def fit(model: Any, student: Student, rows: Sequence[Tokens], config: TrainConfig, ctx: JobContext) -> Fitted:
    """Train the adapter in `model`; from the newest checkpoint when an earlier attempt left one, to the same weights."""
    trainer = make_trainer(model, student, rows, config, ctx.scratch / "trainer")
    telling = Telling(ctx, config.checkpoint_every_s, trainer)
    trainer.add_callback(telling)
    checkpoint = ctx.restore()
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    metrics = [_metrics(entry) for entry in trainer.state.log_history if "loss" in entry]
    return Fitted(
        steps=trainer.state.global_step,
        epochs=round(float(trainer.state.epoch), 4),
        train_loss=sum(entry["loss"] for entry in metrics) / len(metrics),
        tokens=trainer.tokens_read,
        seconds=time.monotonic() - began,
        metrics=metrics,
        resumed_at=telling.resumed_at,
    )


def heldout_loss(model: Any, rows: Sequence[Tokens], told: Told | None = None) -> float:
    """Nats per token of the answers, over all rows."""
    parts = likelihood(model, rows, told)
    return sum(loss for loss, _ in parts) / sum(number for _, number in parts)


def make_trainer(model: Any, student: Student, rows: Sequence[Tokens], config: TrainConfig, folder: Path) -> Trainer:
    trainer = Trainer(
        model=model,
        args=_arguments(config, folder),
        train_dataset=Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows]),
        processing_class=student.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class Trainer(SFTTrainer):
    """Batches of like length in an order that the seed and the epoch alone decide, so that a resumed run sees the same."""

    @property
    def tokens_read(self) -> int:
        return int(self._total_train_tokens)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        return LikeLengths([len(ids) for ids in rows["input_ids"]], self.args.train_batch_size, self.args.seed)


class LikeLengths(Sampler[int]):
    """Row numbers, shuffled anew for each epoch such that the rows of one batch have like lengths: less padding to compute.

    Batches stay random as a whole: rows are sorted by length only within random groups of `GROUP` batches.
    """

    GROUP = 8

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = random.Random(f"{self.seed}/{self.epoch}")  # noqa: S311 - reproducible on purpose
        order = generator.sample(range(len(self.lengths)), len(self.lengths))
        size = self.GROUP * self.batch_size
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        rows = [row for group in groups for row in sorted(group, key=lambda row: self.lengths[row])]
        batches = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        last = [batches.pop()] if len(batches[-1]) < self.batch_size else []  # stays last, or it would shift the others
        generator.shuffle(batches)
        return iter([row for batch in batches + last for row in batch])


class Telling(TrainerCallback):
    """Tells the job how the training goes, and keeps a checkpoint now and then."""

    def __init__(self, ctx: JobContext, checkpoint_every_s: float, trainer: Trainer) -> None:
        self.ctx, self.every, self.trainer = ctx, checkpoint_every_s, trainer
        self.resumed_at: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.resumed_at = state.global_step or None
        self.first, self.began = state.global_step, time.monotonic()
        self.kept = self.began

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if time.monotonic() - self.kept >= self.every and state.global_step < state.max_steps:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ctx.checkpoint(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        self.kept = time.monotonic()

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
            tokens_per_s=self.trainer.tokens_read / seconds,
            eta_s=seconds / done * (state.max_steps - state.global_step),
        )


def _arguments(config: TrainConfig, folder: Path) -> SFTConfig:
    cuda = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(folder),
        learning_rate=config.learning_rate,
        num_train_epochs=config.num_train_epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_ratio,  # below 1 it is a share
        weight_decay=config.weight_decay,
        seed=config.seed,
        max_length=None,  # rows that are too long were left out
        loss_type="chunked_nll",  # the head, a fifth of a small model's work, is computed only at labels
        bf16=cuda,
        use_cpu=not cuda,
        gradient_checkpointing=cuda,
        dataloader_pin_memory=cuda,
        logging_steps=1,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",  # `Telling` decides by the clock
        save_total_limit=1,
    )


def _metrics(entry: dict[str, Any]) -> dict[str, float]:
    return {key: float(entry[key]) for key in ("step", "epoch", "loss", "learning_rate", "grad_norm") if key in entry}
