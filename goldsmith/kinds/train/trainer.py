"""The trainer: transformers' loop and optimizer; updates, checkpoints and what to do when memory or numbers fail are ours."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import Dataset, Sampler
from transformers import PrinterCallback, TrainingArguments

from goldsmith.errors import GoldsmithError, OutOfMemory
from goldsmith.kinds.train.losses import Totals, dpo_nll_loss, labels_of, nll_loss, unsloth_loss
from goldsmith.kinds.train.memory import advice_at_one_row
from goldsmith.kinds.train.packed import passes
from goldsmith.kinds.train.rows import Row
from goldsmith.kinds.train.schema import TrainConfig

Tell = Callable[..., None]


class Diverged(GoldsmithError):
    title = "Training diverged"


class Trainer(transformers.Trainer):
    """One item of its loop is a whole update: `training_step` cuts it into passes. So what memory holds decides how an update is
    computed, and never which rows are in it."""

    def __init__(
        self,
        model: Any,
        rows: Sequence[Row],
        config: TrainConfig,
        folder: Path,
        *,
        reference: Sequence[tuple[float, float]] = (),
        backend: str = "peft",
        packed: bool = False,
        keep: Callable[[Path], None] | None = None,
        log: Tell = lambda *_, **__: None,
    ) -> None:
        self.rows, self.config, self.reference, self.backend, self.packed = rows, config, reference, backend, packed
        self.keep, self.tell = keep, log
        self.batch_size = config.per_device_train_batch_size
        """Rows of a pass; halved when memory runs out."""
        self.rows_per_update = config.per_device_train_batch_size * config.gradient_accumulation_steps
        self.lengths = [
            len(row.chosen.input_ids) + (len(row.rejected.input_ids) if row.rejected is not None else 0) for row in rows
        ]
        self.trained = model
        self.tokens_read = 0
        self._now: Sequence[int] = ()
        super().__init__(
            model=model,
            args=_arguments(config, folder, steps_of_epochs(config.max_epochs, len(rows), self.rows_per_update)),
            train_dataset=_Numbers(len(rows)),
            data_collator=lambda numbers: {"rows": torch.tensor(numbers)},
        )
        self.remove_callback(PrinterCallback)

    @property
    def accumulation(self) -> int:
        """Passes of a full update, were they all of `batch_size` rows."""
        return -(-self.rows_per_update // self.batch_size)

    @property
    def steps_of_an_epoch(self) -> int:
        return -(-len(self.rows) // self.rows_per_update)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return Shuffled(len(self.rows), self.args.seed)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        numbers: list[int] = inputs["rows"].tolist()
        while True:
            try:
                loss = self._update(numbers)
                break
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                cause = str(error).partition("\n")[0]
            # Here the failed pass and its activations are nobody's any more.
            model.zero_grad(set_to_none=True)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._halve(cause)
        self.tokens_read += sum(self.lengths[number] for number in numbers)
        return loss

    def _update(self, numbers: Sequence[int]) -> torch.Tensor:
        """Gradients of all the rows' mean loss; returns it."""
        self._now = numbers
        totals = Totals(tokens=sum(labels_of(self.rows[number].chosen) for number in numbers), rows=len(numbers))
        # Packed, a pass may hold what the fullest padded one would.
        budget = self.batch_size * max(self.lengths) if self.packed else None
        parts = [
            [numbers[at] for at in part]
            for part in passes([self.lengths[number] for number in numbers], self.batch_size, budget)
        ]
        losses = []
        for part in parts:
            with self.accelerator.autocast():
                loss = self._loss(part, totals)
            self.accelerator.backward(loss)
            losses.append(loss.detach())
        every = torch.stack(losses)
        for part, finite in zip(parts, torch.isfinite(every).tolist(), strict=True):
            if not finite:
                self._diverged("loss", part)
        return every.sum()

    def _loss(self, numbers: Sequence[int], totals: Totals) -> torch.Tensor:
        rows = [self.rows[number] for number in numbers]
        if self.config.objective == "dpo_nll":
            pairs = [(row.chosen, row.rejected) for row in rows if row.rejected is not None]
            base = [self.reference[number] for number in numbers]
            return dpo_nll_loss(self.trained, pairs, base, totals, packed=self.packed)
        compute = unsloth_loss if self.backend == "unsloth" else nll_loss
        return compute(self.trained, [row.chosen for row in rows], totals, packed=self.packed)

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        if not torch.isfinite(torch.as_tensor(norm)):
            self._diverged("gradient", self._now)
        return norm

    def _diverged(self, what: str, numbers: Sequence[int]) -> None:
        step = self.state.global_step + 1
        sources = [self.rows[number].source for number in numbers]
        raise Diverged(
            f"the {what} of step {step} is no finite number, on {len(sources)} rows: {'; '.join(sources[:20])}"
            f"{' …' if len(sources) > 20 else ''}; a lower learning_rate or a longer warm-up often helps",
            step=step,
            rows=sources,
        )

    def _halve(self, cause: str) -> None:
        step = self.state.global_step + 1
        if self.batch_size == 1:
            advice = advice_at_one_row(self.trained, self.config, self.backend, self.rows)
            raise OutOfMemory(f"memory ran out in step {step} with one row at a time ({cause}); {advice}", step=step)
        former, self.batch_size = self.batch_size, self.batch_size // 2
        self.tell(
            f"memory ran out in step {step}: {former} rows at a time are now {self.batch_size}, {self.accumulation} times;"
            f" an update stays {self.rows_per_update} rows",
            step=step,
            per_device_train_batch_size=self.batch_size,
            gradient_accumulation_steps=self.accumulation,
            cause=cause,
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.keep is not None:
            self.keep(Path(self.args.output_dir or "") / f"checkpoint-{self.state.global_step}")

    def write_checkpoint(self) -> None:
        """What transformers writes: weights, optimizer, scheduler, random states, and how far it is."""
        super()._save_checkpoint(self.trained, None)


class _Numbers(Dataset[int]):
    """Row numbers: the rows themselves stay where they are."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> int:
        return index


class Shuffled(Sampler[int]):
    """Row numbers, shuffled anew for each epoch. Seed and epoch alone decide, so that a resumed run sees the same.

    Rows of like lengths are not put into the same update: an update is a mean over its tokens, so that those of short rows would
    weigh more. On a tiny model the held-out loss was 0.05 higher with all of six seeds (bench/TRAINING.md).
    """

    def __init__(self, rows: int, seed: int) -> None:
        self.rows, self.seed, self.epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        generator = random.Random(f"{self.seed}/{self.epoch}")  # noqa: S311 - reproducible on purpose
        return iter(generator.sample(range(self.rows), self.rows))


def out_of_memory(error: BaseException) -> bool:
    """CUDA says so by a class of its own; PyTorch's allocator for the CPU only in words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def steps_of_epochs(epochs: float, rows: int, rows_per_update: int) -> int:
    return -int(-epochs * -(-rows // rows_per_update) // 1)


def _arguments(config: TrainConfig, folder: Path, most_steps: int) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        learning_rate=config.learning_rate,
        num_train_epochs=config.num_train_epochs,
        max_steps=min(config.max_steps, most_steps) if config.max_steps else -1,
        per_device_train_batch_size=config.per_device_train_batch_size * config.gradient_accumulation_steps,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_ratio,  # below 1 it is a share
        weight_decay=config.weight_decay,
        adam_beta1=config.adam_beta1,
        adam_beta2=config.adam_beta2,
        adam_epsilon=config.adam_epsilon,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        bf16=cuda,
        use_cpu=not cuda,
        remove_unused_columns=False,
        dataloader_pin_memory=False,  # nothing but row numbers goes through it
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is no number ends the run
        disable_tqdm=True,
        report_to=[*config.report_to] or "none",
        save_strategy="no",  # `Telling` decides
        save_total_limit=1,
    )
