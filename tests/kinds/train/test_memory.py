"""A run asks for its memory before it loads anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from goldsmith.errors import Requeue
from goldsmith.footprint import Shape
from goldsmith.kinds.train import backends
from goldsmith.kinds.train.run import run
from goldsmith.kinds.train.schema import TrainConfig
from tests.fakes import FakeContext
from tests.tiny import gold, make_model, student_factory


def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, **more: Any) -> FakeContext:
    ctx = FakeContext(tmp_path, kind="train")
    ctx.student_factory = student_factory(tmp_path)
    ctx.save_dataset("gold", gold(), manifest={}, parents=[], rehearsal=False)
    ctx.no_room = Requeue(60, "Waits: no room")
    monkeypatch.setattr(backends, "adapted", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(Requeue, match="Waits: no room"):
        run(TrainConfig(dataset="dataset:gold@1", name="prose", base_model=str(model), **more), ctx)
    return ctx


def test_what_is_needed_is_told_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tmp_path / "model")
    ctx = asked(tmp_path, monkeypatch, model, lora_r=8)
    ((need, advice),) = ctx.needs
    parameters = sum(one.numel() for one in ctx.student(str(model)).model.parameters())
    assert need.weights == 4 * parameters
    # q 64-64, k and v 64-32, o 64-64, gate and up 64-128, down 128-64, in two blocks
    assert need.adapters == 4 * 2 * 8 * (128 + 96 + 96 + 128 + 192 + 192 + 192)
    assert (need.optimizer, need.context) == (2 * need.adapters, 0)
    assert "per_device_train_batch_size: 1 (saves " in advice


def test_of_a_model_that_is_not_counted_nothing_is_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from goldsmith.kinds.train import memory

    model = make_model(tmp_path / "model")
    ctx = FakeContext(tmp_path, kind="train")
    ctx.student_factory = student_factory(tmp_path)
    monkeypatch.setattr(Shape, "of", lambda config: None)
    memory.make_room(
        TrainConfig(dataset="dataset:gold@1", name="prose"), ctx.student_factory(str(model), None), "peft", None, ctx
    )  # type: ignore[arg-type]
    assert ctx.needs == []
    assert ctx.logs[0][0].startswith("memory is not estimated")
