"""What is computed: packed as unpacked, pairs as TRL does it, and each method to weights that are loaded again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from goldsmith.datasets import Example
from goldsmith.errors import InvalidInput
from goldsmith.kinds.train import backends, losses, packed, rows
from goldsmith.kinds.train.run import run
from goldsmith.student.local import likelihood
from tests.tiny import answer, gold, make_model, student_factory
from tests.training import config, context, weights


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


def pairs() -> list[Example]:
    return [example.model_copy(update={"rejected": f"No {example.group}."}) for example in gold(heldout=5)]


def moved(model: Any) -> Any:
    """An adapter that changes something: fresh ones are zero."""
    torch.manual_seed(1)
    for name, each in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(each, std=0.3)
    return model


class TestPacking:
    def test_rows_end_to_end_give_the_loss_and_the_gradients_of_each_alone(self, model_folder: Path, tmp_path: Path) -> None:
        student = student_factory(tmp_path)(str(model_folder), None)
        tokens = [row.chosen for row in rows.tokenized(student.tokenizer, rows.checked("gold", gold()), 1024).train]
        model = moved(backends.adapted("peft", student, config(model_folder)))
        assert packed.can_pack(model)
        alone = torch.stack([losses.answers_nll(model, [row], packed=False)[0] for row in tokens])
        alone.sum().backward()
        gradients = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
        model.zero_grad()
        with packed.attention(model, on=True):
            together = losses.answers_nll(model, tokens, packed=True)
            together.sum().backward()

        assert len(gradients) == 2 * 7 * 2
        assert torch.allclose(together, alone, rtol=1e-5)
        for name, each in model.named_parameters():
            if each.grad is not None:
                assert torch.allclose(each.grad, gradients[name], rtol=1e-3, atol=1e-5), name

    def test_a_row_does_not_see_its_neighbour(self, model_folder: Path, tmp_path: Path) -> None:
        student = student_factory(tmp_path)(str(model_folder), None)
        one, other, third = [row.chosen for row in rows.tokenized(student.tokenizer, rows.checked("g", gold()), 1024).train][:3]
        with packed.attention(student.model, on=True):
            beside = [losses.answers_nll(student.model, [each, one], packed=True)[1].item() for each in (other, third)]
        joined = losses.Tokens(other.input_ids + one.input_ids, [-100] * len(other.labels) + one.labels)
        reading_on = losses.answers_nll(student.model, [joined], packed=False)[0].item()

        assert beside[0] == pytest.approx(beside[1], rel=1e-6)
        assert beside[0] != pytest.approx(reading_on, rel=1e-4)  # had it seen it, it would show

    def test_packing_changes_how_an_update_is_computed_and_not_what_it_is(self, model_folder: Path, tmp_path: Path) -> None:
        on, off = context(tmp_path / "on"), context(tmp_path / "off")
        more = {"num_train_epochs": 1, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
        run(config(model_folder, packing=True, **more), on)
        run(config(model_folder, packing=False, **more), off)

        told = [[metrics["loss"] for _, _, metrics in ctx.events if "loss" in metrics] for ctx in (on, off)]
        assert told[0] == pytest.approx(told[1], rel=1e-4)
        assert len(told[0]) == 3

    def test_what_all_rows_begin_with_is_computed_once(self, model_folder: Path, tmp_path: Path) -> None:
        student = student_factory(tmp_path)(str(model_folder), None)
        ids = [row.chosen.input_ids for row in rows.tokenized(student.tokenizer, rows.checked("g", gold()), 1024).train]
        shared = packed.beginning(ids)
        inputs, moved = packed.end_to_end(ids, "cpu", shared)

        assert shared >= packed.WORTH
        assert inputs["input_ids"].shape[1] == sum(map(len, ids)) - (len(ids) - 1) * shared
        laid, places = inputs["input_ids"][0].tolist(), inputs["position_ids"][0].tolist()
        for row, tokens in enumerate(ids):
            at = [place if place < shared else place + moved[row] for place in range(len(tokens))]
            assert [laid[index] for index in at] == tokens
            assert [places[index] for index in at] == list(range(len(tokens)))
        assert packed.beginning(ids[:1]) == packed.beginning([ids[0], ids[0][1:]]) == 0
        assert packed.beginning([ids[0], ids[0]]) == len(ids[0]) - 1
        assert not packed.draws(student.model)
        assert packed.draws(backends.adapted("peft", student, config(model_folder, lora_dropout=0.1)))

    def test_a_sliding_window_is_not_packed(self, model_folder: Path, tmp_path: Path) -> None:
        model = student_factory(tmp_path)(str(model_folder), None).model
        model.config.layer_types = ["full_attention", "sliding_attention"]
        assert not packed.can_pack(model)

    def test_passes_hold_what_the_budget_allows_and_every_row_once(self) -> None:
        parts = packed.passes([5, 9, 2, 2, 7, 1], batch_size=2, budget=10)
        assert sorted(row for part in parts for row in part) == list(range(6))
        assert [sum([5, 9, 2, 2, 7, 1][row] for row in part) for part in parts] == [10, 9, 7]
        assert packed.passes([5, 9, 2], batch_size=2, budget=None) == [[1, 0], [2]]

    def test_a_large_head_is_computed_in_parts_to_the_same(
        self, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        student = student_factory(tmp_path)(str(model_folder), None)
        tokens = [row.chosen for row in rows.tokenized(student.tokenizer, rows.checked("gold", gold()), 1024).train]
        whole = losses.answers_nll(student.model, tokens, packed=False)
        monkeypatch.setattr(losses, "LOGITS_AT_ONCE", 5 * 400)
        assert torch.allclose(losses.answers_nll(student.model, tokens, packed=False), whole, rtol=1e-6)


class TestPairs:
    def test_the_loss_is_trls(self, model_folder: Path, tmp_path: Path) -> None:
        from trl.trainer.dpo_config import DPOConfig
        from trl.trainer.dpo_trainer import DPOTrainer

        student = student_factory(tmp_path)(str(model_folder), None)
        data = rows.tokenized(student.tokenizer, rows.checked("gold", pairs(), pairs=True), 1024, pairs=True).train[:4]
        chosen, rejected = [row.chosen for row in data], [row.rejected for row in data if row.rejected]
        base = [likelihood(student.model, each) for each in (chosen, rejected)]
        reference = [(good, bad) for (good, _), (bad, _) in zip(*base, strict=True)]
        model = moved(backends.adapted("peft", student, config(model_folder)))
        totals = losses.Totals(tokens=sum(map(losses.labels_of, chosen)), rows=len(data))
        with packed.attention(model, on=True):
            ours = losses.dpo_nll_loss(model, list(zip(chosen, rejected, strict=True)), reference, totals, packed=True)

        arguments = DPOConfig(
            str(tmp_path),
            loss_type=["sigmoid", "sft"],
            loss_weights=[0.5, 0.5],
            beta=0.1,
            use_cpu=True,
            bf16=False,
            report_to="none",
        )
        dataset = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
        trainer = DPOTrainer(model=model, args=arguments, train_dataset=dataset, processing_class=student.tokenizer)
        model.delete_adapter("ref")  # TRL would compare with the adapter as it was given; ours is compared with the base model
        sequences = [*chosen, *rejected]
        width = max(len(each.input_ids) for each in sequences)
        theirs = trainer.compute_loss(
            model,
            {
                "input_ids": torch.tensor([each.input_ids + [0] * (width - len(each.input_ids)) for each in sequences]),
                "attention_mask": torch.tensor(
                    [[1] * len(each.input_ids) + [0] * (width - len(each.input_ids)) for each in sequences]
                ),
                "completion_mask": torch.tensor(
                    [[int(label != -100) for label in each.labels] + [0] * (width - len(each.labels)) for each in sequences]
                ),
            },
        )
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)

    def test_training_on_pairs_prefers_the_chosen_answers(self, model_folder: Path, tmp_path: Path) -> None:
        ctx = context(tmp_path, pairs())
        result = run(config(model_folder, objective="dpo_nll", num_train_epochs=6), ctx)

        assert result.objective == "dpo_nll"
        assert result.reward_accuracy == 1
        first = next(metrics["loss"] for _, _, metrics in ctx.events if "loss" in metrics)
        assert first > math.log(2) / 2  # DPO begins at log 2: the fresh adapter prefers nothing
        assert result.improved is True

    @pytest.mark.parametrize("rejected", [None, " ", answer("fox")])
    def test_rows_without_a_different_rejected_answer_are_named(
        self, model_folder: Path, tmp_path: Path, rejected: str | None
    ) -> None:
        examples = pairs()
        examples[0] = examples[0].model_copy(update={"rejected": rejected})
        with pytest.raises(
            InvalidInput, match=r"without a rejected answer .*: row 0 \(run-0, oil\); objective dpo_nll needs pairs"
        ):
            run(config(model_folder, objective="dpo_nll"), context(tmp_path, examples))

    def test_rows_that_are_no_pairs_keep_their_hash(self) -> None:
        plain, pair = gold()[0], pairs()[0]
        assert "rejected" not in plain.model_dump(mode="json")
        assert Example(**pair.model_dump(mode="json")) == pair


class TestMethods:
    @pytest.mark.filterwarnings("error:.*autograd kernel was not registered")  # a layer through which no gradient comes
    @pytest.mark.parametrize("method", ["qlora", "dora", "full"])
    def test_every_method_learns_and_its_weights_answer_for_it(self, model_folder: Path, tmp_path: Path, method: str) -> None:
        if method == "qlora":
            pytest.importorskip("bitsandbytes")
        ctx = context(tmp_path)
        more: dict[str, Any] = {"learning_rate": 5e-3} if method == "full" else {}
        result = run(config(model_folder, method=method, max_steps=5, gradient_checkpointing=True, **more), ctx)

        assert (result.method, result.backend) == (method, "peft")
        assert result.heldout_loss_after < 0.95 * result.heldout_loss_before
        student = ctx.student(str(model_folder), ctx.adapter(result.adapter))
        turns = [rows.turns(example) for example in ctx.examples("dataset:gold@1", "heldout")]
        after = student.nll(turns)
        tolerance = 0.1 if method == "qlora" else 1e-4  # served on the base model as it is, not in 4 bits
        assert sum(loss for loss, _ in after) / sum(n for _, n in after) == pytest.approx(
            result.heldout_loss_after, rel=tolerance
        )
        student.use(None)
        before = student.nll(turns)
        assert sum(loss for loss, _ in before) / sum(n for _, n in before) == pytest.approx(
            result.heldout_loss_before, rel=tolerance
        )

    def test_checkpointing_gives_the_same_weights(self, model_folder: Path, tmp_path: Path) -> None:
        on, off = context(tmp_path / "on"), context(tmp_path / "off")
        for ctx in (on, off):
            run(config(model_folder, max_steps=2, gradient_checkpointing=ctx is on), ctx)
        one, other = weights(on), weights(off)
        assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
