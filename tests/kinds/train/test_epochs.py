"""UNO's two adapters: an expert with every epoch kept, a critic with its best one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from goldsmith.datasets import Example, Message
from goldsmith.errors import JobCancelled
from goldsmith.kinds.train.checkpoints import Run
from goldsmith.kinds.train.run import run
from goldsmith.kinds.train.schema import TrainConfig
from tests.fakes import FakeContext
from tests.tiny import gold, make_model
from tests.training import config, context, weights


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


def pairs() -> list[Example]:
    return [example.model_copy(update={"rejected": "No idea."}) for example in gold()]


def kept(ctx: FakeContext) -> dict[int, dict[str, torch.Tensor]]:
    told = json.loads(ctx.artifact(f"{ctx.ref}/epochs.json").read_bytes())
    return {each["epoch"]: load_file(ctx.artifact(each["artifact"])) for each in told["epochs"]}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


KILLED = """
import os, signal, sys
from pathlib import Path
from uuid import UUID
from goldsmith.kinds.train.run import run
from tests.kinds.train.test_epochs import pairs
from tests.training import config, context

ctx = context(Path(sys.argv[1]), pairs(), job_id=UUID(sys.argv[2]))
telling = ctx.progress
def progress(percent, message="", **metrics):
    telling(percent, message, **metrics)
    if metrics.get("step") == 5:
        os.kill(os.getpid(), signal.SIGKILL)
ctx.progress = progress
run(config(Path(sys.argv[3]), role="expert", num_train_epochs=2, checkpoint_every_steps=2), ctx)
"""


def test_an_experts_epochs_are_kept_whatever_kills_it(model_folder: Path, tmp_path: Path) -> None:
    job_id = uuid4()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "cut"), str(job_id), str(model_folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert killed.returncode == -signal.SIGKILL
    asked = config(model_folder, role="expert", num_train_epochs=2, checkpoint_every_steps=2)
    whole = context(tmp_path / "whole", pairs())
    second = context(tmp_path / "cut", pairs(), job_id=job_id, attempt=2)

    uncut, result = run(asked, whole), run(asked, second)

    assert (result.role, result.objective, result.resumed_at) == ("expert", "dpo_nll", 4)
    assert [(each.epoch, each.step) for each in result.kept_epochs] == [(1, 3), (2, 6)]
    assert [each.step for each in uncut.kept_epochs] == [3, 6]
    here, there = kept(second), kept(whole)
    assert all(same(here[epoch], there[epoch]) for epoch in (1, 2))
    assert not same(here[1], here[2])
    assert same(here[2], weights(second))
    assert second.adapters["prose"][0].role == "expert"
    about = json.loads(second.artifact(f"{second.ref}/adapter_config.json").read_bytes())
    assert (about["r"], about["base_model_name_or_path"]) == (16, str(model_folder))


def test_a_job_that_goes_on_from_another_has_all_epochs_itself(model_folder: Path, tmp_path: Path) -> None:
    first = context(tmp_path, pairs())
    telling = first.progress

    def progress(percent: float, message: str = "", **metrics: float) -> None:
        telling(percent, message, **metrics)
        if metrics.get("step") == 4:
            raise JobCancelled("cancelled by the test")

    first.progress = progress  # type: ignore[method-assign]
    asked = {"role": "expert", "num_train_epochs": 1.5}
    with pytest.raises(JobCancelled):
        run(config(model_folder, **asked), first)

    second = context(tmp_path, pairs())
    result = run(config(model_folder, **asked, continue_from=first.ref), second)

    assert [(each.epoch, each.step) for each in result.kept_epochs] == [(1, 3), (2, 5)]  # the second was cut short
    assert all(each.artifact.startswith(second.ref) for each in result.kept_epochs)
    assert set(kept(second)) == {1, 2}


def test_a_critic_keeps_the_epoch_of_the_lowest_held_out_loss(model_folder: Path, tmp_path: Path) -> None:
    ctx = context(tmp_path)
    result = run(config(model_folder, role="critic", num_train_epochs=8, learning_rate=6e-2, lr_scheduler_type="constant"), ctx)

    measured = {data["step"]: data["heldout_loss"] for _, data in ctx.logs if "heldout_loss" in data}
    assert list(measured) == list(range(3, 25, 3))  # every epoch, though the loss rose long before the last
    assert result.best_step == min(measured, key=lambda step: measured[step])
    assert result.best_step < 24
    assert not result.stopped_early
    assert result.heldout_loss_after == pytest.approx(measured[result.best_step], rel=1e-5)
    assert (result.objective, ctx.adapters["prose"][0].role, result.kept_epochs) == ("critic", "critic", [])


def test_a_row_longer_than_the_model_can_read_is_left_out_and_never_cut(model_folder: Path, tmp_path: Path) -> None:
    examples = pairs()
    long = [Message(role="user", content="very " * 300 + "long?"), examples[0].messages[-1]]
    examples[0] = examples[0].model_copy(update={"messages": long})
    ctx = context(tmp_path, examples)

    result = run(config(model_folder, preset="uno", max_steps=1, num_train_epochs=1), ctx)

    report = json.loads(ctx.artifact(result.too_long_report).read_bytes())
    assert (result.too_long, result.examples, report["max_length"]) == (1, 8, 512)  # the tiny model's positions


class TestOptions:
    def asked(self, **more: Any) -> TrainConfig:
        return TrainConfig(**({"dataset": "dataset:gold@1", "name": "prose"} | more))

    def test_the_uno_preset_is_unos(self) -> None:
        it = self.asked(preset="uno", role="expert")
        assert (it.lora_r, it.lora_alpha, it.lora_dropout) == (64, 128, 0.05)
        assert (it.adam_beta1, it.adam_beta2, it.adam_epsilon, it.max_grad_norm, it.weight_decay) == (
            0.9,
            0.98,
            1e-8,
            1.0,
            1e-4,
        )
        assert (it.learning_rate, it.lr_scheduler_type, it.warmup_ratio, it.num_train_epochs, it.seed) == (
            5e-4,
            "cosine",
            0,
            8,
            42,
        )
        assert it.per_device_train_batch_size * it.gradient_accumulation_steps == 32
        assert (it.objective, it.keep_epochs, it.max_length) == ("dpo_nll", True, 12_000)
        critic = self.asked(preset="uno", role="critic")
        assert (critic.objective, critic.keep_epochs, critic.max_length) == ("critic", False, 8_000)
        assert (critic.early_stopping_patience or 0) > critic.num_train_epochs
        assert self.asked(preset="uno", role="critic", max_length=900).max_length == 900

    def test_a_checkpoint_from_before_these_options_is_of_the_same_run(self) -> None:
        run_ = Run(self.asked(), {}, "peft")
        before = run_.dump()
        for later in ("role", "keep_epochs", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm"):
            del before["config"][later]
        assert run_.differences(before) == []
        other = Run(self.asked(adam_beta2=0.98), {}, "peft")
        assert other.differences(before) == ["adam_beta2: 0.999 there, 0.98 here"]

    def test_the_optimizer_gets_what_was_said(self, model_folder: Path, tmp_path: Path) -> None:
        seen: dict[str, torch.Tensor] = {}
        for name, more in {"default": {}, "clipped": {"max_grad_norm": 1e-6}, "betas": {"adam_beta2": 0.5}}.items():
            ctx = context(tmp_path / name)
            run(config(model_folder, max_steps=2, **more), ctx)
            seen[name] = torch.cat([each.flatten() for each in weights(ctx).values()])
        assert not torch.equal(seen["default"], seen["clipped"])
        assert not torch.equal(seen["default"], seen["betas"])

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            ({"role": "critic", "objective": "dpo_nll"}, "objective: role critic is trained by critic, not by dpo_nll"),
            ({"role": "expert", "objective": "critic"}, "objective: role expert is trained by dpo_nll or sft, not by critic"),
            ({"keep_epochs": True, "method": "full"}, "keep_epochs: method full would keep a whole model"),
            ({"role": "judge"}, "role"),
            ({"adam_beta2": 1.0}, "adam_beta2"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_name(self, said: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            self.asked(**said)
