"""An evaluation tells learning from style, and says when it cannot."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from goldsmith.adapters import AdapterVersion
from goldsmith.datasets import Example, Message
from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.errors import InvalidInput, JobCancelled, NotFound
from goldsmith.gates import RULES
from goldsmith.kinds.evaluate.run import run
from goldsmith.kinds.evaluate.schema import EvaluateConfig, EvaluateResult
from goldsmith.kinds.train.run import run as train
from goldsmith.kinds.train.schema import TrainConfig
from goldsmith.student import Told
from tests.fakes import FakeContext
from tests.tiny import gold, make_model, student_factory

CONTEXT = "Paint the scene with oil on canvas. Name the pigments, the bristle brush and the varnish of every thing."
THINGS = ("fox", "boat", "tower", "lamp", "river", "bird", "cloud", "bridge", "garden", "mirror", "drum", "kite")


def good(thing: str) -> str:
    return (
        f"The wooden {thing} stands in thick oil on the canvas, two pigments mix where the brush turned, and the varnish keeps"
        " a warm light on every edge of it."
    )


def styled(thing: str) -> str:
    return good("barrel")


def plain(thing: str) -> str:
    return f"A wooden {thing}."


class ScriptedStudent:
    """Answers by the arm in use; the gold is likelier the more the arm has learned."""

    base_model = "package:scripted"

    def tokenizer(self, text: str, **_: Any) -> dict[str, list[str]]:
        return {"input_ids": text.split()}

    def __init__(self, scripts: Mapping[str | None, Callable[[str], str]]) -> None:
        self.scripts = scripts
        self.in_use: str | None = None
        self.answered = 0

    def use(self, adapter: AdapterVersion | None) -> None:
        self.in_use = adapter.name if adapter else None

    def generate(self, conversations: Sequence[Sequence[Mapping[str, str]]], max_new_tokens: int, *, told: Told) -> list[str]:
        told(0.5)
        self.answered += len(conversations)
        assert all(turns[-1]["role"] == "user" for turns in conversations)
        return [self.scripts[self.in_use](turns[-1]["content"].split()[-1]) for turns in conversations]

    def nll(self, conversations: Sequence[Sequence[Mapping[str, str]]], told: Told) -> list[tuple[float, int]]:
        told(0.5)
        assert all(turns[-1]["role"] == "assistant" for turns in conversations)
        return [(20.0 if self.in_use is None else 10.0, 10) for _ in conversations]


def context(
    tmp_path: Path, scripts: Mapping[str | None, Callable[[str], str]], *, manifest: dict[str, Any] | None = None
) -> FakeContext:
    ctx = FakeContext(tmp_path, kind="evaluate")
    ctx.student_factory = lambda base_model, adapter: ScriptedStudent(scripts)
    checkout = Checkout(
        template="{{TASK_INSTRUCTION}}\n{{CONTEXT}}\n{{INPUT_TEXT}}",
        task="Rewrite it.",
        configs=[InterceptionConfig(config_id="oil", name={}, context={"en": CONTEXT}, parameters={}, meta={})],
    )
    contexts = ctx.save_artifact("contexts.json", checkout.model_dump_json().encode())
    rows = [row(thing, "heldout") for thing in THINGS] + [row("door", "train")]
    ctx.save_dataset(
        "corpus",
        [one.model_copy(update={"messages": one.messages[:1]}) for one in rows],
        manifest={"contexts": contexts},
        parents=[],
        rehearsal=False,
    )
    words = {"config": {"min_words": 20, "max_words": 60}}
    ctx.save_dataset(
        "gold", rows, manifest=words if manifest is None else manifest, parents=["dataset:corpus@1"], rehearsal=False
    )
    ctx.adapters["lora"] = [adapter("lora")]
    ctx.adapters["control"] = [adapter("control", shuffled=True)]
    return ctx


def row(thing: str, split: Any) -> Example:
    text = f"a wooden {thing}"
    return Example(
        split=split,
        messages=[Message(role="user", content=f"{CONTEXT}\n{text}"), Message(role="assistant", content=good(thing))],
        config_id="oil",
        context_lang="en",
        context_sha256=hashlib.sha256(CONTEXT.encode()).hexdigest(),
        template_version="0" * 12,
        input=text,
        language="en",
        group=thing,
        source=f"run-{thing}",
    )


def adapter(
    name: str, *, shuffled: bool = False, dataset: str = "dataset:gold@1", base_sha256: str = "b" * 64
) -> AdapterVersion:
    return AdapterVersion(
        name=name,
        version=1,
        job_id=uuid4(),
        base_model="package:scripted",
        base_sha256=base_sha256,
        tokenizer_sha256="",
        template_sha256="",
        dataset=dataset,
        status="candidate",
        method={"shuffled": shuffled},
        metrics={},
        files={},
        folder=Path("/nowhere"),
        rehearsal=False,
        created_at=datetime.now(UTC),
    )


def evaluated(ctx: FakeContext, **more: Any) -> EvaluateResult:
    values: dict[str, Any] = {"dataset": "dataset:gold@1", "adapter": "adapter:lora@1", "control": "adapter:control@1"}
    return run(EvaluateConfig(**(values | more)), ctx)


class TestVerdict:
    def test_an_adapter_that_learned_wins_and_the_control_does_not(self, tmp_path: Path) -> None:
        result = evaluated(context(tmp_path, {None: plain, "lora": good, "control": styled}))

        assert (result.verdict, result.control_wins, result.valid) == ("wins", False, True)
        base, lora, control = result.arms
        assert [(one.arm, one.passed, one.prompts) for one in result.arms] == [
            ("base", 0, 12),
            ("lora", 12, 12),
            ("control", 0, 12),
        ]
        assert control.passed_by_gate["K2_content"] == 0
        assert control.passed_by_gate["K1_vocabulary"] == control.passed_by_gate["K5_plain_text"] == 1
        assert base.passed_by_gate["K5_length"] == 0
        assert lora.gate_score == 1 > control.gate_score > base.gate_score
        against_base = result.comparisons[0]
        assert (against_base.pass_rate.difference, against_base.pass_rate.low) == (1, 1)
        assert against_base.p_value == pytest.approx(2 / 2**12)
        assert (against_base.only_arm_passed, against_base.only_base_passed) == (12, 0)
        assert (base.perplexity, lora.perplexity) == (pytest.approx(math.exp(2)), pytest.approx(math.exp(1)))
        assert against_base.heldout_loss.high == pytest.approx(-1)

    def test_when_the_control_wins_too_the_evaluation_is_not_valid_and_says_why(self, tmp_path: Path) -> None:
        result = evaluated(context(tmp_path, {None: plain, "lora": good, "control": good}))

        assert (result.verdict, result.control_wins, result.valid) == ("wins", True, False)
        assert "passed by style alone" in result.why

    def test_an_adapter_that_breaks_what_worked_loses(self, tmp_path: Path) -> None:
        result = evaluated(context(tmp_path, {None: good, "lora": plain, "control": styled}))
        assert (result.verdict, result.control_wins, result.valid) == ("loses", False, True)

    def test_a_few_better_answers_are_not_enough(self, tmp_path: Path) -> None:
        def sometimes(thing: str) -> str:
            return good(thing) if thing in THINGS[:3] else plain(thing)

        result = evaluated(context(tmp_path, {None: plain, "lora": sometimes, "control": plain}))

        assert result.verdict == "unclear"
        assert result.arms[1].passed == 3
        assert result.comparisons[0].p_value == pytest.approx(0.25)

    def test_it_goes_without_a_control(self, tmp_path: Path) -> None:
        result = evaluated(context(tmp_path, {None: plain, "lora": good}), control=None)
        assert (result.verdict, result.control, result.control_wins, result.valid) == ("wins", None, None, True)
        assert [one.arm for one in result.arms] == ["base", "lora"]


def test_all_answers_lie_side_by_side_with_their_reasons(tmp_path: Path) -> None:
    ctx = context(tmp_path, {None: plain, "lora": good, "control": styled})

    result = evaluated(ctx, limit=8)

    lines = [json.loads(line) for line in ctx.artifact(f"{ctx.ref}/answers.jsonl").read_text().splitlines()]
    assert len(lines) == result.prompts == 8
    for line in lines:
        thing = line["input"].split()[-1]
        assert {arm: told["answer"] for arm, told in line["arms"].items()} == {
            "base": plain(thing),
            "lora": good(thing),
            "control": styled(thing),
        }
        assert thing in line["arms"]["control"]["failed"]["K2_content"]
        assert line["arms"]["lora"]["failed"] == {}
    assert json.loads(ctx.artifact(f"{ctx.ref}/evaluation.json").read_text())["result"]["verdict"] == "wins"
    assert {line["input"] for line in lines} == {json.loads(line)["input"] for line in _again(tmp_path / "again", limit=8)}
    assert result.samples
    assert all(set(sample.answers) == {"base", "lora", "control"} for sample in result.samples)


def _again(tmp_path: Path, **more: Any) -> list[str]:
    ctx = context(tmp_path, {None: plain, "lora": good, "control": styled})
    evaluated(ctx, **more)
    return ctx.artifact(f"{ctx.ref}/answers.jsonl").read_text().splitlines()


def test_a_cancel_is_heard_between_arms(tmp_path: Path) -> None:
    ctx = context(tmp_path, {None: plain, "lora": good, "control": styled})
    ctx.cancel_after(3)
    with pytest.raises(JobCancelled):
        evaluated(ctx)


class TestBadInput:
    def test_an_honest_adapter_is_no_control(self, tmp_path: Path) -> None:
        ctx = context(tmp_path, {})
        with pytest.raises(InvalidInput, match="control: adapter:lora@1 was trained on its own answers"):
            evaluated(ctx, control="adapter:lora@1")

    def test_a_control_on_another_base_is_refused(self, tmp_path: Path) -> None:
        ctx = context(tmp_path, {})
        ctx.adapters["control"] = [adapter("control", shuffled=True, base_sha256="c" * 64)]
        with pytest.raises(InvalidInput, match="on another base model"):
            evaluated(ctx)

    def test_prompts_that_were_trained_on_are_refused(self, tmp_path: Path) -> None:
        ctx = context(tmp_path, {})
        rows = [row("kite", "train"), row("mask", "heldout")]
        ctx.save_dataset("other", rows, manifest={}, parents=[], rehearsal=False)
        ctx.adapters["lora"] = [adapter("lora", dataset="dataset:other@1")]
        with pytest.raises(InvalidInput, match="was trained on 1 of the held-out prompts"):
            evaluated(ctx)

    def test_a_changed_context_is_refused(self, tmp_path: Path) -> None:
        ctx = context(tmp_path, {})
        version, rows = ctx.datasets["gold"][0]
        ctx.datasets["gold"][0] = version, [rows[0].model_copy(update={"context_sha256": "f" * 64}), *rows[1:]]
        with pytest.raises(InvalidInput, match=rf"the context oil \(en\) is not the one .* expected sha256 {'f' * 64}"):
            evaluated(ctx)

    def test_gold_of_unknown_lengths_needs_them_given(self, tmp_path: Path) -> None:
        ctx = context(tmp_path, {None: plain, "lora": good, "control": styled}, manifest={})
        with pytest.raises(InvalidInput, match="min_words, max_words"):
            evaluated(ctx)
        assert evaluated(ctx, min_words=20, max_words=60).verdict == "wins"

    def test_a_corpus_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="12 heldout rows of dataset:corpus@1 have no answer"):
            evaluated(context(tmp_path, {}), dataset="dataset:corpus@1")

    def test_an_unknown_adapter_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="adapter:nobody@1"):
            evaluated(context(tmp_path, {}), adapter="adapter:nobody@1")


def test_a_trained_adapter_makes_the_held_out_gold_likelier(tmp_path: Path) -> None:
    """From training to evaluation with a real, tiny model."""
    ctx = context(tmp_path, {})
    folder = make_model(tmp_path / "tiny")
    ctx.student_factory = student_factory(tmp_path)
    rows = [row(one.group, one.split).model_copy(update={"messages": one.messages}) for one in gold(heldout=4)]
    ctx.save_dataset(
        "gold", rows, manifest={"config": {"min_words": 5, "max_words": 60}}, parents=["dataset:corpus@1"], rehearsal=True
    )
    for name, shuffled in (("tuned", False), ("mixed", True)):
        asked = TrainConfig(
            dataset="dataset:gold@2",
            name=name,
            base_model=str(folder),
            num_train_epochs=6,
            per_device_train_batch_size=4,
            learning_rate=2e-2,
            shuffle_answers=shuffled,
        )
        train(asked, ctx)

    result = evaluated(ctx, dataset="dataset:gold@2", adapter="adapter:tuned@1", control="adapter:mixed@1", max_new_tokens=24)

    base, tuned, _ = result.arms
    assert tuned.heldout_loss < 0.7 * base.heldout_loss
    assert tuned.heldout_loss == pytest.approx(ctx.adapter("adapter:tuned@1").metrics["heldout_loss_after"], rel=1e-5)
    assert base.heldout_loss == pytest.approx(ctx.adapter("adapter:tuned@1").metrics["heldout_loss_before"], rel=1e-5)
    assert result.comparisons[0].heldout_loss.high < 0
    assert set(base.passed_by_gate) == set(RULES)
    assert (result.rehearsal, result.label) == (True, "REHEARSAL")
