"""The student in this process, on a tiny model made on the spot."""

from __future__ import annotations

import json
import math
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from goldsmith.adapters import AdapterVersion
from goldsmith.errors import InvalidInput, JobCancelled, ReferenceNotUsable
from goldsmith.storage import sha256_file
from goldsmith.student import base, load_student
from goldsmith.student.conversation import IGNORED, prompt_ids, tokenize
from goldsmith.student.local import ANSWERED_AT_ONCE, SCORED_AT_ONCE, LocalStudent, likelihood
from tests.tiny import TEMPLATE, answer, gold, make_model, prompt


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def student(model_folder: Path, tmp_path: Path) -> LocalStudent:
    return LocalStudent.load(str(model_folder), None, cache=tmp_path)


def conversation(thing: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt(thing)}, {"role": "assistant", "content": answer(thing)}]


def adapter_of(student: LocalStudent, folder: Path, *, scale: float = 0.5, **more: Any) -> AdapterVersion:
    """An adapter with random weights that fits the student."""
    torch.manual_seed(7)
    fresh = AutoModelForCausalLM.from_pretrained(student.folder)
    model = get_peft_model(fresh, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=scale)
    model.save_pretrained(folder)
    values: dict[str, Any] = {
        "name": "random",
        "version": 1,
        "job_id": uuid4(),
        "base_model": student.base_model,
        "base_sha256": student.base_sha256,
        "tokenizer_sha256": student.tokenizer_sha256,
        "base_files": student.base_files,
        "template_sha256": student.template_sha256,
        "dataset": "dataset:gold@1",
        "status": "candidate",
        "method": {},
        "metrics": {},
        "files": {path.name: sha256_file(path) for path in folder.iterdir()},
        "folder": folder,
        "rehearsal": False,
        "created_at": datetime.now(UTC),
    }
    return AdapterVersion(**(values | more))


class TestConversation:
    def test_only_the_answer_and_the_token_that_ends_it_are_labelled(self, student: LocalStudent) -> None:
        tokens = tokenize(student.tokenizer, conversation("fox"))

        labelled = [label for label in tokens.labels if label != IGNORED]
        assert student.tokenizer.decode(labelled) == f"{answer('fox')}<|im_end|>"
        assert labelled[-1] == student.tokenizer.eos_token_id == tokens.input_ids[-1]
        assert tokens.input_ids[-len(labelled) :] == labelled

    def test_what_precedes_the_answer_is_what_the_student_reads_before_it_answers(self, student: LocalStudent) -> None:
        tokens = tokenize(student.tokenizer, conversation("fox"))

        asked = prompt_ids(student.tokenizer, conversation("fox")[:1])
        assert tokens.input_ids[: len(asked)] == asked
        assert all(label == IGNORED for label in tokens.labels[: len(asked)])
        assert all(label != IGNORED for label in tokens.labels[len(asked) :])

    def test_every_turn_of_the_assistant_is_labelled(self, student: LocalStudent) -> None:
        turns = [*conversation("fox"), *conversation("boat")]

        tokens = tokenize(student.tokenizer, turns)

        labelled = [label for label in tokens.labels if label != IGNORED]
        assert student.tokenizer.decode(labelled) == f"{answer('fox')}<|im_end|>{answer('boat')}<|im_end|>"
        whole = student.tokenizer.apply_chat_template(turns, tokenize=False)
        assert student.tokenizer.decode(tokens.input_ids) == whole.removesuffix("\n")

    def test_a_conversation_without_an_answer_is_refused(self, student: LocalStudent) -> None:
        with pytest.raises(InvalidInput, match="no turn is the assistant's"):
            tokenize(student.tokenizer, conversation("fox")[:1])

    def test_a_template_that_never_closes_an_answer_is_refused(self, tmp_path: Path) -> None:
        folder = make_model(tmp_path / "open", template=TEMPLATE.replace("<|im_end|>", ""))
        with pytest.raises(InvalidInput, match="does not close an answer"):
            tokenize(load_student(str(folder), cache=tmp_path).tokenizer, conversation("fox"))


class TestLikelihood:
    def test_it_is_the_plain_cross_entropy_of_the_labels(self, student: LocalStudent) -> None:
        rows = [tokenize(student.tokenizer, conversation(thing)) for thing in ("fox", "garden", "river")]

        for row, (loss, number) in zip(rows, likelihood(student.model, rows), strict=True):
            with torch.inference_mode():
                plain = student.model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
            assert number == sum(label != IGNORED for label in row.labels)
            assert loss / number == pytest.approx(plain.item(), abs=1e-5)

    def test_the_company_of_a_conversation_changes_nothing(self, student: LocalStudent) -> None:
        alone = student.nll([conversation("fox")])[0]
        long = [*conversation("boat"), *conversation("garden")]

        together = student.nll([long, conversation("fox"), conversation("kite")])[1]

        assert together[1] == alone[1]
        assert together[0] == pytest.approx(alone[0], rel=1e-5)


class TestGenerate:
    def test_answers_come_in_the_order_of_the_prompts_and_do_not_depend_on_each_other(self, student: LocalStudent) -> None:
        prompts = [conversation(thing)[:1] for thing in ("fox", "garden", "sea")] + [[{"role": "user", "content": "a"}]]

        together = student.generate(prompts, 12)

        assert together == [student.generate([one], 12)[0] for one in prompts]

    def test_the_share_that_is_done_is_told_and_rises(self, student: LocalStudent) -> None:
        prompts = [conversation("fox")[:1]] * (ANSWERED_AT_ONCE + 1)  # two batches
        shares: list[float] = []

        student.generate(prompts, 4, told=shares.append)
        scored: list[float] = []
        student.nll([conversation("fox")] * (SCORED_AT_ONCE + 1), scored.append)

        assert shares == sorted(shares)
        assert 0 < shares[0] < shares[-1] <= 1
        assert scored == [0, SCORED_AT_ONCE / (SCORED_AT_ONCE + 1)]

    def test_what_is_told_may_end_the_work(self, student: LocalStudent) -> None:
        def stop(share: float) -> None:
            raise JobCancelled(f"at {share}")

        with pytest.raises(JobCancelled):
            student.generate([conversation("fox")[:1]], 12, told=stop)

    def test_sampling_repeats_with_its_seed(self, student: LocalStudent) -> None:
        prompts = [conversation("fox")[:1]]
        one, same, other = (student.generate(prompts, 12, temperature=1.5, seed=seed) for seed in (1, 1, 2))
        assert one == same != other


class TestAdapters:
    def test_one_model_switches_between_base_and_adapters(self, student: LocalStudent, tmp_path: Path) -> None:
        base_loss = student.nll([conversation("fox")])[0][0]
        weak = adapter_of(student, tmp_path / "weak", scale=0.1)
        strong = adapter_of(student, tmp_path / "strong", scale=0.9, version=2)

        def loss(adapter: AdapterVersion | None) -> float:
            student.use(adapter)
            return student.nll([conversation("fox")])[0][0]

        assert len({base_loss, loss(weak), loss(strong)}) == 3
        assert loss(weak) == loss(weak)
        assert loss(None) == base_loss
        alone = load_student(student.base_model, strong, cache=tmp_path)
        assert alone.nll([conversation("fox")])[0][0] == pytest.approx(loss(strong), rel=1e-6)

    @pytest.mark.parametrize("what", ["base", "tokenizer", "template"])
    def test_an_adapter_of_another_model_is_refused_with_both_hashes(
        self, student: LocalStudent, tmp_path: Path, what: str
    ) -> None:
        foreign = adapter_of(student, tmp_path / "a", **{f"{what}_sha256": "f" * 64})
        with pytest.raises(ReferenceNotUsable, match=f"another {what}: expected sha256 {'f' * 64}") as refused:
            student.use(foreign)
        assert getattr(student, f"{what}_sha256") in str(refused.value)

    def test_a_flipped_byte_is_refused(self, student: LocalStudent, tmp_path: Path) -> None:
        adapter = adapter_of(student, tmp_path / "a")
        weights = tmp_path / "a" / "adapter_model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-3] ^= 4
        weights.write_bytes(content)
        with pytest.raises(ReferenceNotUsable, match="changed"):
            student.use(adapter)

    @pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json"])
    def test_one_byte_of_any_file_of_the_base_model_is_enough(self, student: LocalStudent, tmp_path: Path, name: str) -> None:
        adapter, folder = adapter_of(student, tmp_path / "a"), make_model(tmp_path / "other")
        load_student(str(folder), adapter, cache=tmp_path)
        (folder / name).write_text((folder / name).read_text() + " ")
        expected = (student.base_files or {})[name]
        with pytest.raises(ReferenceNotUsable, match=rf"{name} of its base .* expected sha256 {expected}, found \w{{64}}"):
            load_student(str(folder), adapter, cache=tmp_path)

    @pytest.mark.parametrize(("file", "what"), [("config.json", "base"), ("tokenizer.json", "tokenizer")])
    def test_a_base_that_cannot_even_be_read_is_refused_with_what_was_expected(
        self, student: LocalStudent, tmp_path: Path, file: str, what: str
    ) -> None:
        adapter, folder = adapter_of(student, tmp_path / "a"), make_model(tmp_path / "broken")
        (folder / file).write_text("{" + (folder / file).read_text())
        expected = getattr(adapter, f"{what}_sha256")
        with pytest.raises(ReferenceNotUsable, match=rf"another {what}: expected sha256 {expected}.* \w{{64}}") as refused:
            load_student(str(folder), adapter, cache=tmp_path)
        assert what == "base" or sha256_file(folder / file) in str(refused.value)


class TestBase:
    def test_hashes_tell_weights_tokenizer_and_template_apart(self, student: LocalStudent, tmp_path: Path) -> None:
        def hashes(folder: Path) -> tuple[str, str, str]:
            other = load_student(str(folder), cache=tmp_path)
            return other.base_sha256, other.tokenizer_sha256, other.template_sha256

        mine = (student.base_sha256, student.tokenizer_sha256, student.template_sha256)
        assert hashes(make_model(tmp_path / "same")) == mine
        reweighted = hashes(make_model(tmp_path / "weights", seed=1))
        assert (reweighted[0] != mine[0], reweighted[1:] == mine[1:]) == (True, True)
        retold = hashes(make_model(tmp_path / "template", template=f"{TEMPLATE} "))
        assert (retold[:2] == mine[:2], retold[2] != mine[2]) == (True, True)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("package:no-such-model", "the package 'no-such-model' is not installed"),
            ("package:../etc", "the package '../etc' is not installed"),
            ("package:pytest", "holds 0 GGUF files"),
            ("/no/such/folder", "neither a folder with a config.json nor a .gguf file"),
            ("smollm2", "allowed are package:<distribution>"),
        ],
    )
    def test_a_model_that_is_not_there_is_an_error_and_never_another_model(
        self, name: str, message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(InvalidInput, match=f"(?s){message}"):
            load_student(name, cache=tmp_path)

    def test_a_tokenizer_that_cannot_be_read_is_named_with_its_hash(self, tmp_path: Path) -> None:
        folder = make_model(tmp_path / "broken")
        file = folder / "tokenizer.json"
        file.write_text(file.read_text().replace('"merges"', '"mergez"', 1))
        with pytest.raises(InvalidInput, match=rf"cannot be read .*: tokenizer.json has sha256 {sha256_file(file)}"):
            load_student(str(folder), cache=tmp_path)

    def test_a_model_without_a_chat_template_is_refused(self, tmp_path: Path) -> None:
        folder = make_model(tmp_path / "plain", template=None)
        with pytest.raises(InvalidInput, match="has no chat template"):
            load_student(str(folder), cache=tmp_path)

    def test_a_conversion_happens_once_and_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        gguf = tmp_path / "model.gguf"
        gguf.write_bytes(b"weights")
        converted: list[Path] = []

        def convert(source: Path, folder: Path) -> None:
            converted.append(source)
            (folder / "config.json").write_text(json.dumps({"from": source.name}))
            (folder / "model.safetensors").write_bytes(b"float32")

        monkeypatch.setattr(base, "_packaged", lambda name: gguf)
        monkeypatch.setattr(base, "_convert", convert)
        found: list[base.Base] = []
        threads = [
            threading.Thread(target=lambda: found.append(base.prepare("package:model", tmp_path / "cache"))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(converted) == 1
        assert len(set(found)) == 1
        folder, sha256 = found[0].folder, found[0].sha256
        assert (folder.name, sha256) == (sha256_file(gguf), sha256_file(gguf))
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", base.COPY, "model.safetensors"]

    def test_a_conversion_that_fails_leaves_nothing_and_is_tried_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gguf = tmp_path / "model.gguf"
        gguf.write_bytes(b"weights")
        monkeypatch.setattr(base, "_packaged", lambda name: gguf)

        def fail(source: Path, folder: Path) -> None:
            (folder / "half").write_text("…")
            raise MemoryError

        monkeypatch.setattr(base, "_convert", fail)
        with pytest.raises(MemoryError):
            base.prepare("package:model", tmp_path / "cache")
        assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]

        def convert(source: Path, folder: Path) -> None:
            (folder / "config.json").write_text("{}")
            (folder / "model.safetensors").write_bytes(b"float32")

        monkeypatch.setattr(base, "_convert", convert)
        folder = base.prepare("package:model", tmp_path / "cache").folder
        assert (folder / "config.json").exists()


def test_scoring_takes_fewer_rows_at_once_when_memory_runs_out(student: LocalStudent, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [conversation(thing) for thing in ("fox", "boat", "tower", "lamp", "river")]
    calm, forward, widths = student.nll(rows), student.model.forward, []

    def tight(*, input_ids: torch.Tensor, **more: Any) -> Any:
        widths.append(len(input_ids))
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory, says the test")
        return forward(input_ids=input_ids, **more)

    monkeypatch.setattr(student.model, "forward", tight)
    assert [loss for loss, _ in student.nll(rows)] == pytest.approx([loss for loss, _ in calm], rel=1e-5)
    assert widths == [5, 4, 2, 2, 1]
    monkeypatch.setattr(student.model, "forward", lambda **_: (_ for _ in ()).throw(torch.OutOfMemoryError("for good")))
    with pytest.raises(torch.OutOfMemoryError, match="for good"):
        student.nll(rows)


def test_untrained_answers_are_as_likely_as_chance(student: LocalStudent) -> None:
    sums = student.nll([[message.model_dump() for message in example.messages] for example in gold()])
    mean = sum(loss for loss, _ in sums) / sum(number for _, number in sums)
    assert mean == pytest.approx(math.log(len(student.tokenizer)), rel=0.2)
