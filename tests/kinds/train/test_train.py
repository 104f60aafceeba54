"""Training trains: on a tiny model, from gold to a registered adapter."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from goldsmith.adapters import AdapterVersion
from goldsmith.datasets import Message
from goldsmith.errors import InvalidInput, JobCancelled
from goldsmith.kinds.registry import parse_config
from goldsmith.kinds.train import backends, ending, losses, rows
from goldsmith.kinds.train.packed import passes
from goldsmith.kinds.train.run import run
from goldsmith.kinds.train.schema import TrainConfig
from goldsmith.kinds.train.trainer import Shuffled, Trainer
from goldsmith.student import Student
from goldsmith.student.conversation import IGNORED, Tokens
from tests.fakes import FakeContext
from tests.tiny import gold, make_model, student_factory
from tests.training import config, context, weights


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


def test_the_loss_goes_down_and_the_adapter_answers_for_it(model_folder: Path, tmp_path: Path) -> None:
    ctx = context(tmp_path)

    result = run(config(model_folder, alias="challenger"), ctx)

    assert (result.steps, result.epochs, result.examples, result.heldout_examples) == (24, 8, 9, 3)
    assert result.heldout_loss_after < 0.7 * result.heldout_loss_before
    assert result.perplexity_after == pytest.approx(math.exp(result.heldout_loss_after))
    assert ctx.aliases["prose", "challenger"] == 1
    adapter = ctx.adapter(result.adapter)
    student = ctx.student(str(model_folder), adapter)
    sums = student.nll([rows.turns(example) for example in ctx.examples("dataset:gold@1", "heldout")])
    assert sum(loss for loss, _ in sums) / sum(n for _, n in sums) == pytest.approx(result.heldout_loss_after, rel=1e-5)
    student.use(None)
    base = student.nll([rows.turns(example) for example in ctx.examples("dataset:gold@1", "heldout")])
    assert sum(loss for loss, _ in base) / sum(n for _, n in base) == pytest.approx(result.heldout_loss_before, rel=1e-5)


def test_a_run_explains_itself(model_folder: Path, tmp_path: Path) -> None:
    examples = gold()
    examples[0].messages[-1] = Message(role="assistant", content="Write to ada@example.org about the fox.")
    ctx = context(tmp_path, examples)

    made = ctx.student_factory

    def from_the_hub(base_model: str, adapter: AdapterVersion | None) -> Student:
        student = made(base_model, adapter)
        student.revision = "f" * 40
        return student

    ctx.student_factory = from_the_hub

    result = run(config(model_folder, seed=7), ctx)

    lines = ctx.artifact(f"{ctx.ref}/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 25))
    losses = [json.loads(line)["loss"] for line in lines]
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    told = json.loads(ctx.artifact(f"{ctx.ref}/train.json").read_text())
    assert (told["method"]["seed"], told["method"]["dataset"], told["result"]["steps"]) == (7, "dataset:gold@1", 24)
    assert told["versions"]["torch"] == torch.__version__
    assert ctx.adapter(result.adapter).base_revision == "f" * 40
    searched = told["trained_on"]
    assert (searched["rows"], searched["leakage"]) == ({"train": 9, "heldout": 3}, {"shared_prompts": 0, "shared_groups": 0})
    assert (searched["personal_data"]["rows"], searched["personal_data"]["by_kind"]) == (1, {"email": 1})
    adapter = ctx.adapter(result.adapter)
    assert sorted(adapter.files) == ["adapter_config.json", "adapter_model.safetensors", "train.json"]
    assert json.loads((adapter.folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(model_folder)
    assert (adapter.method["lora_r"], adapter.method["shuffled"], adapter.method["backend"]) == (16, False, "peft")
    percents = [percent for percent, _, _ in ctx.events]
    assert percents == sorted(percents)
    told_steps = [metrics for _, _, metrics in ctx.events if "loss" in metrics]
    assert len(told_steps) == 24
    assert {"loss", "learning_rate", "grad_norm", "tokens_per_s", "memory_gb", "eta_s", "step"} == set(told_steps[0])
    assert told_steps[-1]["eta_s"] == 0


def test_the_seed_decides_everything(model_folder: Path, tmp_path: Path) -> None:
    one, same, other = (context(tmp_path / name) for name in ("one", "same", "other"))
    for ctx, seed in ((one, 1), (same, 1), (other, 2)):
        run(config(model_folder, seed=seed, num_train_epochs=1), ctx)

    assert all(torch.equal(tensor, weights(same)[name]) for name, tensor in weights(one).items())
    assert not all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


@pytest.mark.parametrize("killed_after", [2, 4, 6])
def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_weights(
    model_folder: Path, tmp_path: Path, killed_after: int
) -> None:
    asked = config(model_folder, num_train_epochs=3, lora_dropout=0.1, checkpoint_every_s=1)
    whole = context(tmp_path / "whole")
    uncut = run(asked, whole)
    job_id = uuid4()
    first = context(tmp_path / "cut", job_id=job_id)
    every_step = asked.model_copy(update={"checkpoint_every_s": 0})
    first.cancel_after(2 + killed_after)  # two calls come before the first step
    with pytest.raises(JobCancelled):
        run(every_step, first)

    second = context(tmp_path / "cut", job_id=job_id, attempt=2)
    result = run(asked, second)

    assert result.resumed_at is not None
    assert 1 <= result.resumed_at <= killed_after
    assert result.train_loss == pytest.approx(uncut.train_loss)
    assert all(torch.equal(tensor, weights(second)[name]) for name, tensor in weights(whole).items())
    lines = second.artifact(f"{second.ref}/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 10))


def test_the_head_at_labels_alone_gives_the_loss_of_the_whole(model_folder: Path, tmp_path: Path) -> None:
    student = student_factory(tmp_path)(str(model_folder), None)
    tokens = rows.tokenized(student.tokenizer, rows.checked("gold", gold()), max_length=1024).train
    model = backends.adapted("peft", student, config(model_folder))
    sums, number = 0.0, 0
    with torch.no_grad():
        for row in tokens:
            logits = model(input_ids=torch.tensor([row.chosen.input_ids])).logits[0, :-1]
            labels = torch.tensor(row.chosen.labels[1:])
            sums += torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum").item()
            number += int((labels != -100).sum())
        totals = losses.Totals(tokens=number, rows=len(tokens))
        loss = losses.nll_loss(model, [row.chosen for row in tokens], totals, packed=False)

    assert loss.item() == pytest.approx(sums / number, abs=1e-5)


def test_chosen_layers_alone_are_trained(model_folder: Path, tmp_path: Path) -> None:
    ctx = context(tmp_path)
    run(config(model_folder, layers_to_transform=[1], max_steps=1), ctx)
    assert all(".layers.1." in name for name in weights(ctx))
    with pytest.raises(InvalidInput, match=r"layers_to_transform: 2 is no layer of .*; it has 0 to 1"):
        run(config(model_folder, layers_to_transform=[1, 2]), context(tmp_path))


def test_a_control_is_trained_on_other_rows_and_says_so(model_folder: Path, tmp_path: Path) -> None:
    honest, control = context(tmp_path / "honest"), context(tmp_path / "control")
    learned = run(config(model_folder, num_train_epochs=1), honest)
    shuffled = run(config(model_folder, num_train_epochs=1, shuffle_answers=True), control)

    assert (learned.shuffled, shuffled.shuffled) == (False, True)
    assert control.adapter(shuffled.adapter).method["shuffled"] is True
    assert (shuffled.heldout_loss_before, shuffled.examples) == (learned.heldout_loss_before, learned.examples)
    assert not all(torch.equal(tensor, weights(control)[name]) for name, tensor in weights(honest).items())


def test_gold_of_a_rehearsal_is_marked_to_the_end(model_folder: Path, tmp_path: Path) -> None:
    ctx = FakeContext(tmp_path)
    ctx.student_factory = student_factory(tmp_path)
    ctx.save_dataset("gold", gold(), manifest={}, parents=[], rehearsal=True)

    result = run(config(model_folder, max_steps=1), ctx)

    assert (result.rehearsal, result.label, ctx.adapter(result.adapter).rehearsal) == (True, "REHEARSAL", True)


class TestShuffledAnswers:
    def test_no_row_keeps_its_answer_and_none_is_lost(self) -> None:
        examples = gold()
        shuffled = rows.with_shuffled_answers(examples, seed=3)

        assert all(new.messages[-1] != old.messages[-1] for new, old in zip(shuffled, examples, strict=True))
        assert [new.messages[:-1] for new in shuffled] == [old.messages[:-1] for old in examples]
        assert sorted(new.messages[-1].content for new in shuffled) == sorted(old.messages[-1].content for old in examples)
        assert shuffled == rows.with_shuffled_answers(examples, seed=3)
        assert shuffled != rows.with_shuffled_answers(examples, seed=4)

    @pytest.mark.parametrize("copies", [2, 5, 6])
    def test_rows_with_the_same_answer_do_not_swap_it(self, copies: int) -> None:
        examples = [
            example.model_copy(update={"messages": [example.messages[0], Message(role="assistant", content="the same")]})
            if number < copies
            else example
            for number, example in enumerate(gold())
        ]
        for seed in range(20):
            shuffled = rows.with_shuffled_answers(examples, seed)
            assert all(new.messages[-1] != old.messages[-1] for new, old in zip(shuffled, examples, strict=True))

    def test_more_than_half_with_one_answer_cannot_be_shuffled(self) -> None:
        same = [
            example.model_copy(update={"messages": [*example.messages[:1], Message(role="assistant", content="x")]})
            for example in gold()
        ]
        with pytest.raises(InvalidInput, match="shuffle_answers: 12 of 12"):
            rows.with_shuffled_answers(same, seed=0)


class TestBadRows:
    @pytest.mark.parametrize("answer", [None, "", " \n"])
    def test_rows_without_an_answer_are_named(self, model_folder: Path, tmp_path: Path, answer: str | None) -> None:
        examples = gold()
        turns = [examples[4].messages[0]] + ([] if answer is None else [Message(role="assistant", content=answer)])
        examples[4] = examples[4].model_copy(update={"messages": turns})
        with pytest.raises(InvalidInput, match=r"do not end with an answer of the assistant: row 4 \(run-4, oil\)"):
            run(config(model_folder), context(tmp_path, examples))

    @pytest.mark.parametrize("split", ["train", "heldout"])
    def test_both_splits_are_needed(self, model_folder: Path, tmp_path: Path, split: str) -> None:
        examples = [example for example in gold() if example.split != split]
        with pytest.raises(InvalidInput, match=f"has no {split} rows"):
            run(config(model_folder), context(tmp_path, examples))

    def test_a_held_out_row_that_is_trained_on_is_refused_by_name(self, model_folder: Path, tmp_path: Path) -> None:
        examples = gold()
        examples[9] = examples[0].model_copy(update={"split": "heldout", "source": "run-0-again", "group": "other"})
        examples[10] = examples[10].model_copy(update={"group": examples[1].group})
        with pytest.raises(
            InvalidInput, match=r"2 of 3 held-out rows .* in training too.*: run-0-again, oil, run-10, oil"
        ) as no:
            run(config(model_folder), context(tmp_path, examples))
        assert no.value.extra["overlapping"] == ["run-0-again, oil", "run-10, oil"]

    def test_case_and_spaces_make_no_other_prompt(self) -> None:
        examples = gold()
        prompt = Message(role="user", content=f"\n{examples[0].messages[0].content.upper()}  ")
        examples[9] = examples[9].model_copy(update={"messages": [prompt, examples[9].messages[1]]})
        with pytest.raises(InvalidInput, match=r"1 of 3 held-out rows .*: run-9, oil"):
            rows.checked("gold", examples)

    @pytest.mark.parametrize("before", [[], [Message(role="system", content="Be kind.")], [Message(role="user", content=" ")]])
    def test_an_answer_to_nobody_is_named(self, before: list[Message]) -> None:
        examples = gold()
        examples[4] = examples[4].model_copy(update={"messages": [*before, examples[4].messages[1]]})
        with pytest.raises(InvalidInput, match=r"rows in which no user says anything: row 4 \(run-4, oil\)"):
            rows.checked("gold", examples)

    def test_one_row_is_too_few(self, model_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="has no heldout rows; both splits are needed"):
            run(config(model_folder), context(tmp_path, gold()[:1]))

    def test_long_rows_are_left_out_counted_and_listed(self, model_folder: Path, tmp_path: Path) -> None:
        examples = gold()
        long = Message(role="assistant", content="very " * 600 + "long.")
        examples[0] = examples[0].model_copy(update={"messages": [examples[0].messages[0], long]})
        ctx = context(tmp_path, examples)
        result = run(config(model_folder, max_length=200, max_steps=1), ctx)
        assert (result.too_long, result.examples) == (1, 8)
        report = json.loads(ctx.artifact(result.too_long_report).read_bytes())
        assert report["max_length"] == 200
        assert [(row["split"], row["row"], row["source"], row["config_id"]) for row in report["rows"]] == [
            (examples[0].split, 0, "run-0", "oil")
        ]
        assert report["rows"][0]["tokens"] > 400
        assert result.longer_than == {"200": 1, "512": 1, "1024": 1, "2048": 0, "3072": 0, "4096": 0, "8192": 0}
        assert 1024 < result.longest <= 2048

    def test_a_max_length_that_leaves_out_most_is_refused(self, model_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"max_length: 9 of 9 train rows are longer than 16 tokens; the longest has \d+"):
            run(config(model_folder, max_length=16), context(tmp_path))


class TestBackend:
    @pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ({"backend": "unsloth"}, "backend: unsloth needs a CUDA device"),
        ],
    )
    def test_what_needs_cuda_says_so_at_once(
        self, model_folder: Path, tmp_path: Path, more: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InvalidInput, match=message):
            run(config(model_folder, **more), context(tmp_path))

    def test_unknown_modules_are_named(self, model_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"lora_target_modules: qqq: .* it has down_proj, .*q_proj"):
            run(config(model_folder, lora_target_modules=["q_proj", "qqq"]), context(tmp_path))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lora_r", 0),
        ("learning_rate", 0),
        ("num_train_epochs", -1),
        ("lora_target_modules", []),
        ("lora_rank", 8),
        ("max_length", 8),
        ("load_in_3bit", True),
        ("bits", 3),
        ("method", "qlora3"),
        ("objective", "ppo"),
        ("preset", "small"),
        ("report_to", ["nobody"]),
        ("num_train_epochs", 51),
        ("continue_from", "job:1"),
    ],
)
def test_wrong_options_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        TrainConfig(**{"dataset": "dataset:gold@1", "name": "prose", field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("lora_r", 0, "lora_r: Input should be greater than or equal to 1, not 0; allowed is 1 to 512"),
        ("max_steps", 0, "allowed is 1 to 10000000"),
        ("learning_rate", 2.0, "allowed is more than 0 to 1"),
        ("lora_dropout", 1.0, "allowed is 0 to less than 1"),
        ("load_in_3bit", True, "load_in_3bit: a base model is quantised to 4 bits .*, not True"),
        ("num_train_epochs", 51, "more than max_epochs 50"),
    ],
)
def test_a_wrong_option_is_told_with_its_value_and_what_is_allowed(field: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        parse_config({"kind": "train", "dataset": "dataset:gold@1", "name": "prose", field: value})
    (told,) = refused.value.errors
    assert (told["field"], told["value"]) == (field, value)


class TestPresets:
    def asked(self, **more: Any) -> TrainConfig:
        return TrainConfig(**({"dataset": "dataset:gold@1", "name": "prose"} | more))

    def test_the_default_is_the_missions(self) -> None:
        it = self.asked()
        assert (it.lora_r, it.lora_alpha, it.lora_dropout, len(it.lora_target_modules)) == (32, 64, 0, 7)
        assert (it.per_device_train_batch_size, it.gradient_accumulation_steps, it.num_train_epochs) == (2, 8, 3)
        assert (it.learning_rate, it.lr_scheduler_type, it.gradient_checkpointing, it.max_length) == (
            2e-4,
            "cosine",
            True,
            3072,
        )

    def test_what_is_said_wins_over_the_preset(self) -> None:
        uno, own = self.asked(preset="uno"), self.asked(preset="uno", lora_r=8)
        assert (uno.lora_r, uno.lora_dropout, uno.learning_rate, uno.num_train_epochs) == (64, 0.05, 5e-4, 8)
        assert (own.lora_r, own.lora_dropout, own.learning_rate, own.num_train_epochs) == (8, 0.05, 5e-4, 8)
        assert TrainConfig(**own.model_dump(mode="json")) == own

    def test_four_bits_have_two_names_and_one_meaning(self) -> None:
        assert self.asked(load_in_4bit=True) == self.asked(method="qlora")
        for contradiction in ({"load_in_4bit": True, "method": "lora"}, {"load_in_4bit": False, "method": "qlora"}):
            with pytest.raises(ValidationError, match="load_in_4bit"):
                self.asked(**contradiction)


class TestHonesty:
    def test_a_gain_in_every_row_is_an_improvement_and_noise_is_not(self) -> None:
        before = [(10.0, 10), (22.0, 20), (9.0, 10), (31.0, 30), (12.0, 10), (20.0, 20)]
        better = ending.change(before, [(loss - 0.3 * number, number) for loss, number in before], seed=1)
        assert better.interval == pytest.approx((-0.3, -0.3, -0.3))
        assert better.improved is True
        assert better.perplexity_ratio[0] == pytest.approx(math.exp(-0.3))
        worse = ending.change(before, [(loss + 0.3 * number, number) for loss, number in before], seed=1)
        assert worse.improved is False
        mixed = [(loss + (1 if row % 2 else -1), number) for row, (loss, number) in enumerate(before)]
        noise = ending.change(before, mixed, seed=1)
        assert noise.low < 0 < noise.high
        assert noise.improved == "unclear"
        assert noise == ending.change(before, mixed, seed=1)

    def test_few_rows_say_nothing(self) -> None:
        before = [(10.0, 10)] * 4
        assert ending.change(before, [(1.0, 10)] * 4, seed=1).improved == "unclear"

    def test_answers_of_before_and_after_stand_side_by_side(self, model_folder: Path, tmp_path: Path) -> None:
        ctx = context(tmp_path, gold(heldout=5))
        result = run(config(model_folder, samples=2, max_new_tokens=40), ctx)

        assert result.improved is True
        assert result.heldout_loss_change[0] == pytest.approx(result.heldout_loss_after - result.heldout_loss_before)
        assert result.perplexity_ratio[0] == pytest.approx(result.perplexity_after / result.perplexity_before)
        lines = [json.loads(line) for line in ctx.artifact(f"{ctx.ref}/samples.jsonl").read_text().splitlines()]
        assert (
            [sample.source for sample in result.samples] == [line["source"] for line in lines] == ["run-7, oil", "run-8, oil"]
        )
        student = ctx.student(str(model_folder), ctx.adapter(result.adapter))
        prompts = [rows.turns(example)[:-1] for example in ctx.examples("dataset:gold@1", "heldout")][:2]
        assert [line["after"] for line in lines] == student.generate(prompts, 40)
        student.use(None)
        assert [line["before"] for line in lines] == student.generate(prompts, 40)

    def test_the_numbers_are_files_for_tensorboard(self, model_folder: Path, tmp_path: Path) -> None:
        from tensorboardX.proto.event_pb2 import Event

        ctx = context(tmp_path)
        result = run(config(model_folder, max_steps=2), ctx)
        told: dict[tuple[str, int], float] = {}
        content = ctx.artifact(f"{ctx.ref}/events.out.tfevents.goldsmith").read_bytes()
        while content:  # length, its checksum, the event, its checksum
            length = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + length])
            told |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            content = content[16 + length :]
        assert told["train/loss", 2] == pytest.approx(next(m["loss"] for _, _, m in ctx.events if m.get("step") == 2))
        assert told["heldout/loss", 2] == pytest.approx(result.heldout_loss_after)
        assert {"train/learning_rate", "train/grad_norm"} <= {tag for tag, _ in told}


def test_a_tracker_that_is_not_installed_is_refused_by_name(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="report_to: the package swanlab is not installed on this worker"):
        run(config(model_folder, report_to=["swanlab"]), context(tmp_path))


def test_every_row_comes_once_an_epoch_and_seed_and_epoch_decide_when() -> None:
    orders = {}
    for seed, epoch in ((1, 0), (1, 1), (2, 0)):
        sampler = Shuffled(50, seed)
        sampler.set_epoch(epoch)
        orders[seed, epoch] = list(sampler)
        assert orders[seed, epoch] == list(sampler)
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len(set(map(tuple, orders.values()))) == 3


def test_an_update_has_rows_of_all_lengths_and_what_is_padded_together_has_like_ones(
    model_folder: Path, tmp_path: Path
) -> None:
    """An update of short rows alone would let each of their tokens weigh more."""
    tokens = [Tokens([1] * length, [IGNORED] * (length - 1) + [1]) for length in range(10, 74)]
    data = [rows.Row(str(len(each.input_ids)), each) for each in tokens]
    asked = config(model_folder, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    made = Trainer(AutoModelForCausalLM.from_pretrained(model_folder), data, asked, tmp_path)
    order = list(made.get_train_dataloader().batch_sampler)
    assert [len(numbers) for numbers in order] == [8] * 8
    assert all(max(numbers) - min(numbers) > 30 for numbers in order)
    parts = passes([made.lengths[number] for number in order[0]], 2, None)
    assert [len(part) for part in parts] == [2] * 4
    held = [sorted(made.lengths[order[0][at]] for at in part) for part in parts]
    assert (
        sorted(held)
        == sorted(map(sorted, held))
        == [sorted(made.lengths[number] for number in order[0])[at : at + 2] for at in range(0, 8, 2)]
    )
