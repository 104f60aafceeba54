"""What a training outlives: kill -9, a cancel, memory that runs out, a full disk, numbers that are none."""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch

from goldsmith.errors import InvalidInput, JobCancelled, OutOfMemory
from goldsmith.kinds.train import checkpoints, fit, losses, trainer
from goldsmith.kinds.train.run import run
from goldsmith.kinds.train.trainer import Diverged
from tests.fakes import FakeContext
from tests.tiny import make_model
from tests.training import config, context, weights


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


def losses_told(ctx: FakeContext) -> list[float]:
    return [metrics["loss"] for _, _, metrics in ctx.events if "loss" in metrics]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


KILLED = """
import sys, time
from pathlib import Path
from uuid import UUID
from goldsmith.kinds.train.run import run
from tests.training import config, context

ctx = context(Path(sys.argv[1]), job_id=UUID(sys.argv[2]))
telling = ctx.progress
def progress(percent, message="", **metrics):
    telling(percent, message, **metrics)
    if "step" in metrics:
        print(int(metrics["step"]), flush=True)
ctx.progress = progress
run(config(Path(sys.argv[3]), num_train_epochs=8, lora_dropout=0.1, checkpoint_every_steps=2), ctx)
"""


def test_killed_with_9_at_any_step_it_ends_with_the_same_adapter(model_folder: Path, tmp_path: Path) -> None:
    asked = config(model_folder, num_train_epochs=8, lora_dropout=0.1, checkpoint_every_steps=2)
    job_id = uuid4()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "cut"), str(job_id), str(model_folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert process.stdout is not None
    last = random.randint(3, 18)
    seen = [int(line) for line, _ in zip(process.stdout, range(last), strict=False)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert seen == list(range(1, last + 1))
    assert process.returncode == -signal.SIGKILL

    whole, second = context(tmp_path / "whole"), context(tmp_path / "cut", job_id=job_id, attempt=2)
    uncut, result = run(asked, whole), run(asked, second)

    assert result.resumed_at is not None
    assert result.resumed_at >= last - 3  # at most two steps and the one that was being written are lost
    assert (result.train_loss, result.heldout_loss_after) == (uncut.train_loss, uncut.heldout_loss_after)
    assert same(weights(second), weights(whole))


class TestContinuing:
    def cancelled(self, model_folder: Path, tmp_path: Path, after: int, **more: Any) -> FakeContext:
        ctx = context(tmp_path)
        ctx.progress = cancelling_at(ctx, after)  # type: ignore[method-assign]
        with pytest.raises(JobCancelled):
            run(config(model_folder, **more), ctx)
        return ctx

    def test_a_cancelled_job_leaves_its_last_step_and_a_new_one_goes_on_from_it(
        self, model_folder: Path, tmp_path: Path
    ) -> None:
        whole = context(tmp_path / "whole")
        run(config(model_folder, max_steps=6), whole)
        ctx = self.cancelled(model_folder, tmp_path / "cut", 4, max_steps=6)

        new = context(tmp_path / "cut")
        result = run(config(model_folder, max_steps=6, continue_from=ctx.ref, early_stopping_patience=None), new)

        assert (result.resumed_at, result.steps) == (4, 6)
        assert same(weights(new), weights(whole))

    def test_it_may_train_longer(self, model_folder: Path, tmp_path: Path) -> None:
        ctx = self.cancelled(model_folder, tmp_path, 2, max_steps=3)
        result = run(config(model_folder, max_steps=5, continue_from=ctx.ref, name="longer"), context(tmp_path))
        assert (result.resumed_at, result.steps) == (2, 5)

    def test_another_config_is_refused_and_every_difference_named(self, model_folder: Path, tmp_path: Path) -> None:
        ctx = self.cancelled(model_folder, tmp_path, 1, max_steps=3)
        with pytest.raises(InvalidInput, match=r"learning_rate: 0.02 there, 0.01 here; lora_r: 16 there, 8 here") as refused:
            run(config(model_folder, max_steps=3, continue_from=ctx.ref, lora_r=8, learning_rate=0.01), context(tmp_path))
        assert len(refused.value.extra["differences"]) == 2

    def test_a_job_without_a_checkpoint_is_named(self, model_folder: Path, tmp_path: Path) -> None:
        ref = f"job:{uuid4()}"
        with pytest.raises(InvalidInput, match=f"continue_from: {ref} left no checkpoint"):
            run(config(model_folder, continue_from=ref), context(tmp_path))


def cancelling_at(ctx: FakeContext, step: int) -> Any:
    telling = ctx.progress

    def progress(percent: float, message: str = "", **metrics: float) -> None:
        telling(percent, message, **metrics)
        if metrics.get("step") == step:
            raise JobCancelled("cancelled by the test")

    return progress


class TestOutOfMemory:
    def test_the_batch_is_halved_and_the_update_stays(
        self, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = config(model_folder, per_device_train_batch_size=4, gradient_accumulation_steps=1, num_train_epochs=2)
        calm, pressed = context(tmp_path / "calm"), context(tmp_path / "pressed")
        run(asked, calm)
        forward, calls, trained_on = losses.answers_nll, [0], []

        def tight(model: Any, rows: Any, *, packed: bool) -> Any:
            calls[0] += 1
            if calls[0] > 2 and len(rows) > 2:  # from then on four rows are too many; the third update has one
                raise torch.OutOfMemoryError("CUDA out of memory, says the test")
            trained_on.append(len(rows))
            return forward(model, rows, packed=packed)

        monkeypatch.setattr(losses, "answers_nll", tight)
        # unpacked, a pass has as many rows as it says
        result = run(asked.model_copy(update={"packing": False}), pressed)

        assert (result.per_device_train_batch_size, result.gradient_accumulation_steps, result.steps) == (2, 2, 6)
        assert sum(trained_on) == 18
        assert max(trained_on[2:]) == 2
        assert losses_told(pressed) == pytest.approx(losses_told(calm), rel=1e-3)
        (event,) = [data for message, data in pressed.logs if "memory ran out" in message]
        assert (event["per_device_train_batch_size"], event["gradient_accumulation_steps"], event["step"]) == (2, 2, 4)

    def test_below_one_row_it_gives_up_with_advice(
        self, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*_: Any, **__: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory, says the test")

        monkeypatch.setattr(losses, "answers_nll", never)
        ctx = context(tmp_path)
        with pytest.raises(
            OutOfMemory,
            match=r"one row at a time .*; less would take: max_length: \d+ \(saves \d+\.\d MB\), .*gradient_checkpointing: true",
        ):
            run(config(model_folder), ctx)
        assert [data["per_device_train_batch_size"] for message, data in ctx.logs if "ran out" in message] == [2, 1]

    def test_the_cpus_allocator_is_understood_too(self) -> None:
        assert trainer.out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
        assert not trainer.out_of_memory(RuntimeError("shapes cannot be multiplied"))


class TestNumbersThatAreNone:
    @pytest.mark.parametrize(("every", "step", "kept"), [(None, 3, 2), (2, 4, 2)])
    def test_it_stops_names_the_rows_and_keeps_the_last_checkpoint(
        self, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int | None, step: int, kept: int
    ) -> None:
        """Step 3 itself may have spoilt the weights, so it does not take the place of 2; where there is none it is better than
        nothing."""
        forward, calls = losses.answers_nll, [0]

        def diverging(model: Any, rows: Any, *, packed: bool) -> Any:
            calls[0] += 1
            return forward(model, rows, packed=packed) * (float("nan") if calls[0] == step else 1)

        monkeypatch.setattr(losses, "answers_nll", diverging)
        ctx = context(tmp_path)
        words = (
            rf"the loss of step {step} is no finite number, on \d rows: run-\d, oil.*; the checkpoint of step {kept} is kept"
        )
        with pytest.raises(Diverged, match=words) as stopped:
            run(config(model_folder, checkpoint_every_steps=every, max_steps=5), ctx)
        assert (stopped.value.extra["step"], stopped.value.extra["kept_at"]) == (step, kept)
        monkeypatch.undo()
        result = run(config(model_folder, continue_from=ctx.ref, max_steps=5), context(tmp_path))
        assert (result.resumed_at, result.steps) == (kept, 5)

    def test_weights_that_are_none_are_no_checkpoint(
        self, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forward, calls = losses.answers_nll, [0]

        def spoiling(model: Any, rows: Any, *, packed: bool) -> Any:
            calls[0] += 1
            if calls[0] == 2:
                next(each for each in model.parameters() if each.requires_grad).data.fill_(float("inf"))
            return forward(model, rows, packed=packed)

        monkeypatch.setattr(losses, "answers_nll", spoiling)
        ctx = context(tmp_path)
        with pytest.raises(Diverged, match=r"of step 2 is no finite number.*; no checkpoint is kept"):
            run(config(model_folder), ctx)
        assert ctx.restore(ctx.ref) is None

    def test_a_last_step_that_spoils_the_weights_is_no_result(
        self, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measure, calls = fit.heldout_nll, [0]

        def measured(*args: Any, **more: Any) -> Any:
            calls[0] += 1
            return [(float("nan"), 1)] if calls[0] == 2 else measure(*args, **more)

        monkeypatch.setattr(fit, "heldout_nll", measured)
        ctx = context(tmp_path)
        with pytest.raises(Diverged, match="the held-out loss after training is no finite number"):
            run(config(model_folder, max_steps=1), ctx)
        assert "prose" not in ctx.adapters

    def test_a_gradient_that_is_none_stops_it_too(
        self, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forward = losses.answers_nll

        def infinite(model: Any, rows: Any, *, packed: bool) -> Any:
            nll = forward(model, rows, packed=packed)
            nll.register_hook(lambda gradient: gradient * float("inf"))
            return nll

        monkeypatch.setattr(losses, "answers_nll", infinite)
        with pytest.raises(Diverged, match=r"the gradient of step 1 is no finite number, on 4 rows: run-"):
            run(config(model_folder), context(tmp_path))


class TestDisk:
    def test_a_full_disk_leaves_the_last_checkpoint_and_the_training(
        self, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ctx = context(tmp_path)
        keep, calls = ctx.checkpoint, [0]

        def filling(folder: Path) -> None:
            calls[0] += 1
            if calls[0] == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            keep(folder)

        ctx.checkpoint = filling  # type: ignore[method-assign]
        result = run(config(model_folder, max_steps=4, checkpoint_every_steps=1), ctx)

        assert result.steps == 4
        (told,) = [message for message, _ in ctx.logs if "no room" in message]
        assert told == "no room for the checkpoint of step 2: No space left on device; the one of step 1 stays"
        assert not list((ctx.scratch / "trainer").glob("checkpoint-*"))

    def test_the_disk_is_looked_at_first(self, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ctx = context(tmp_path)
        monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
        run(config(model_folder, max_steps=3, checkpoint_every_steps=1), ctx)
        told = [message for message, _ in ctx.logs if "no room" in message]
        assert [re.sub(r"\d+ MB are needed", "", message) for message in told] == [
            f"no room for the checkpoint of step {step}: , 0 MB are free; there is none yet" for step in (1, 2)
        ]
        assert ctx.restore(ctx.ref) is None

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, "No space left on device"),
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            RuntimeError("[enforce fail at inline_container.cc:669] . unexpected pos 128 vs 22"),
        ],
    )
    def test_every_writer_s_word_for_full_is_known(self, error: Exception) -> None:
        assert checkpoints._no_space(error)


class TestEnding:
    def test_early_stopping_keeps_the_best_epoch(self, model_folder: Path, tmp_path: Path) -> None:
        ctx = context(tmp_path)
        result = run(config(model_folder, early_stopping_patience=2, num_train_epochs=40, learning_rate=5e-2), ctx)

        measured = {data["step"]: data["heldout_loss"] for _, data in ctx.logs if "heldout_loss" in data}
        best = min(measured, key=lambda step: measured[step])
        assert result.stopped_early
        assert (result.best_step, result.steps) == (best, best + 2 * 3)
        assert result.heldout_loss_after == pytest.approx(measured[best], rel=1e-5)

    def test_the_guard_of_epochs_ends_what_max_steps_would_not(self, model_folder: Path, tmp_path: Path) -> None:
        ctx = context(tmp_path)
        result = run(config(model_folder, max_steps=1000, max_epochs=2, num_train_epochs=1), ctx)
        assert (result.steps, result.epochs) == (6, 2)
        assert any("max_epochs: 2 epochs are 6 steps" in message for message, _ in ctx.logs)
