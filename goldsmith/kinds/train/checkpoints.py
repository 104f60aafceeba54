"""Checkpoints: what is in one, when the disk has no room for it, and who may go on from it."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from goldsmith.context import JobContext
from goldsmith.errors import InvalidInput
from goldsmith.kinds.train.schema import KeptEpoch, TrainConfig
from goldsmith.kinds.train.trainer import Trainer

ABOUT, BEST = "run.json", "best.safetensors"
STATE = "trainer_state.json"  # transformers'

# What may differ when a new job goes on: what it is called, how long it trains, what is written down, how it is computed.
FREE = {
    "name", "alias", "continue_from", "num_train_epochs", "max_steps", "max_epochs", "early_stopping_patience", "checkpoint_every_s",
    "checkpoint_every_steps", "samples", "max_new_tokens", "report_to", "packing", "gradient_checkpointing", "preset",
    "per_device_train_batch_size", "gradient_accumulation_steps",
}  # fmt: skip


@dataclass
class Best:
    """The lowest held-out loss so far, where early stopping looks for it."""

    loss: float = float("inf")
    step: int = 0
    worse: int = 0
    """Measurements since then."""
    weights: dict[str, torch.Tensor] | None = None


@dataclass(frozen=True)
class Run:
    """What makes two runs the same one; a checkpoint carries it."""

    config: TrainConfig
    hashes: dict[str, str]
    """Of the dataset, base model, tokenizer and chat template."""
    backend: str

    def dump(self) -> dict[str, Any]:
        return {"config": self.config.model_dump(mode="json"), "hashes": self.hashes, "backend": self.backend}

    def differences(self, other: dict[str, Any]) -> list[str]:
        """How the other one differs, as `<what>: <there>, <here>`."""
        there = _comparable(other["config"]) | other["hashes"] | {"backend": other["backend"]}
        here = _comparable(self.config.model_dump(mode="json")) | self.hashes | {"backend": self.backend}
        return [f"{key}: {there.get(key)} there, {here.get(key)} here" for key in sorted(here) if there.get(key) != here[key]]


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    """Options that came later than the checkpoint were what they are by default."""
    later = ("role", "keep_epochs", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm")
    config = {name: TrainConfig.model_fields[name].default for name in later} | config
    update = config["per_device_train_batch_size"] * config["gradient_accumulation_steps"]
    return {key: value for key, value in config.items() if key not in FREE} | {"rows of an update": update}


@dataclass(frozen=True)
class Found:
    folder: Path
    own: bool
    """Of an earlier attempt of this job."""
    step: int
    batch_size: int
    best: Best
    epochs: list[KeptEpoch]


def found(ctx: JobContext, run: Run) -> Found | None:
    """The checkpoint to go on from: of an earlier attempt, else of the job in `continue_from`, whose config must fit."""
    folder = ctx.restore()
    own = folder is not None
    if folder is None and run.config.continue_from is not None:
        folder = ctx.restore(run.config.continue_from)
        if folder is None:
            raise InvalidInput(f"continue_from: {run.config.continue_from} left no checkpoint")
    if folder is None:
        return None
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    if differences := run.differences(about):
        raise InvalidInput(
            f"continue_from: the checkpoint is of another run: {'; '.join(differences)}", differences=differences
        )
    weights = load_file(folder / BEST) if (folder / BEST).is_file() else None
    former: int = about["per_device_train_batch_size"]
    epochs = [KeptEpoch(**each) for each in about.get("epochs", [])]
    step: int = json.loads((folder / STATE).read_text(encoding="utf-8"))["global_step"]
    return Found(folder, own, step, former, Best(**about["best"], weights=weights), epochs)


class Keeper:
    """Writes a checkpoint in the scratch folder and hands it over whole. Without room for one the last stays, and training goes
    on: what is lost is the way back, not the run."""

    def __init__(self, ctx: JobContext, run: Run, before: Found | None, epochs: list[KeptEpoch]) -> None:
        self.ctx, self.run, self.epochs = ctx, run, epochs
        self.best = before.best if before else Best()
        self.kept_at = before.step if before and before.own else None
        """The step of this job's newest checkpoint."""

    def keep(self, trainer: Trainer, folder: Path) -> None:
        step = trainer.state.global_step
        needed = _bytes(trainer, with_best=self.best.weights is not None)
        free = shutil.disk_usage(self.ctx.scratch).free
        if free < needed:
            self._full(step, f"{needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")
            return
        try:
            trainer.write_checkpoint()
            self._describe(trainer, folder)
            self.ctx.checkpoint(folder)  # looks at the disk where it is kept
            self.kept_at = step
        except (OSError, RuntimeError, SafetensorError) as error:
            if not _no_space(error):
                raise
            self._full(step, getattr(error, "strerror", None) or str(error).partition("\n")[0])
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _describe(self, trainer: Trainer, folder: Path) -> None:
        best = {"loss": self.best.loss, "step": self.best.step, "worse": self.best.worse}
        epochs = [each.model_dump() for each in self.epochs]
        about = self.run.dump() | {"per_device_train_batch_size": trainer.batch_size, "best": best, "epochs": epochs}
        (folder / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False), encoding="utf-8")
        if self.best.weights is not None:
            save_file(self.best.weights, folder / BEST)

    def _full(self, step: int, why: str) -> None:
        last = "there is none yet" if self.kept_at is None else f"the one of step {self.kept_at} stays"
        self.ctx.log(f"no room for the checkpoint of step {step}: {why}; {last}", step=step, kept_at=self.kept_at)


def _bytes(trainer: Trainer, *, with_best: bool) -> int:
    """Weights, AdamW's two moments and, where it is kept, the best epoch's weights; a megabyte for the rest."""
    weights: int = sum(each.numel() * each.element_size() for each in trainer.trained.parameters() if each.requires_grad)
    return (4 if with_best else 3) * weights + 1_000_000


def _no_space(error: BaseException) -> bool:
    """PyTorch's and safetensors' writers tell of a full disk in words of their own."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(
        sign in str(error) for sign in ("No space left", "PytorchStreamWriter", "file write failed", "unexpected pos")
    )
