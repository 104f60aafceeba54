"""What is exported answers like what was trained, and is refused where it does not."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from pathlib import Path

import httpx
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from goldsmith.errors import InvalidInput
from goldsmith.export import gguf_file, parity, weights
from goldsmith.export.parity import ServedDiffers
from goldsmith.kinds.export.run import run
from goldsmith.kinds.export.schema import ExportConfig, ExportResult
from goldsmith.storage import sha256_file
from goldsmith.student import llama_cpp
from goldsmith.student.conversation import prompt_ids
from goldsmith.student.llama_cpp import LlamaCpp
from tests.fakes import FakeContext
from tests.tiny import make_model
from tests.trained import context, make_llama

pytest.importorskip("xllamacpp", reason="pip install 'goldsmith[export]'")

PROMPTS = (
    *parity.BUILT_IN,
    *(
        f"Describe a {thing} in {number} words."
        for number, thing in enumerate(("fox", "boat", "tower", "lamp", "river", "bird"))
    ),
    *(f"Schreibe über {thing}: äöü ß!" for thing in ("Wolke", "Brücke", "Garten", "Spiegel", "Trommel", "Drachen")),
)


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def base_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp(request.param)
    return str(make_llama(folder) if request.param == "llama" else make_model(folder))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_llama(tmp_path_factory.mktemp("llama")))


def exported(ctx: FakeContext, **more: object) -> ExportResult:
    return run(ExportConfig(**{"adapter": "adapter:tiny@1", "parity_prompts": 3, "parity_tokens": 32} | more), ctx)


def file(ctx: FakeContext, name: str) -> Path:
    return ctx.artifact(f"{ctx.ref}/{name}")


def logprobs(server: LlamaCpp, ids: list[int], vocab_size: int, whole_letter: int) -> dict[int, float]:
    """Of every token that may come next. llama.cpp tells none after a token that ends within a character, so it is made to say
    another one; what it tells are the probabilities before that."""
    body = {"prompt": ids, "n_predict": 1, "n_probs": vocab_size, "temperature": -1, "logit_bias": [[whole_letter, 1000]]}
    answer = httpx.post(f"{server.url}/completion", json=body, timeout=60, trust_env=False).json()
    return {one["id"]: one["logprob"] for one in answer["completion_probabilities"][0]["top_logprobs"]}


def close_to_peft(
    ctx: FakeContext, adapter_of_ctx: str, model: Path, adapter: Path | None, written: str, prompts: tuple[str, ...]
) -> None:
    """Every log-probability in float32; in float16 the same greedy token wherever PEFT prefers it by more than 0.1."""
    found = ctx.adapter(adapter_of_ctx)
    student = ctx.student(found.base_model, found)
    vocab_size = student.model.config.vocab_size
    with llama_cpp.serve(model, adapter, context=512, exact=written == "f32") as server:
        for prompt in prompts:
            messages = [{"role": "user", "content": prompt}]
            ids = prompt_ids(student.tokenizer, messages)
            assert server.tokenized(server.rendered(messages)) == ids
            with torch.inference_mode():
                expected = torch.log_softmax(student.model(input_ids=torch.tensor([ids])).logits[0, -1].float(), dim=-1)
            told = logprobs(server, ids, vocab_size, student.tokenizer.convert_tokens_to_ids("a"))
            assert len(told) == vocab_size
            first, second = expected.topk(2).values.tolist()
            if written == "f32":
                assert max(abs(logprob - expected[token].item()) for token, logprob in told.items()) < 1e-2
            if first - second > 0.1:
                assert max(told, key=lambda token: told[token]) == int(expected.argmax())


@pytest.mark.parametrize("written", ["f32", "f16"])
def test_gguf_files_have_the_logits_of_peft(tmp_path: Path, base_model: str, written: str) -> None:
    assert len(set(PROMPTS)) == 20
    ctx = context(tmp_path, base_model)
    result = exported(ctx, formats=["gguf-merged", "gguf-lora"], outtype=written, parity_prompts=1, parity_tokens=4)

    assert [one.by for one in result.parity] == ["llama.cpp"] * 2
    close_to_peft(ctx, "adapter:tiny@1", file(ctx, f"model-{written}.gguf"), None, written, PROMPTS)
    base, adapter = file(ctx, f"base-{written}.gguf"), file(ctx, f"adapter-{written}.gguf")
    close_to_peft(ctx, "adapter:tiny@1", base, adapter, written, PROMPTS)


def test_all_formats_with_their_hashes_card_and_modelfile(tmp_path: Path, llama: str) -> None:
    ctx = context(tmp_path, llama, std=0)
    result = exported(ctx, formats=["peft", "safetensors", "gguf-lora", "gguf-merged"], quantization="q8_0", parity_tokens=48)

    assert {one.name for one in result.files} == {
        "peft.tar", "merged.tar", "base-f16.gguf", "adapter-f16.gguf", "model-f16.gguf", "model-q8_0.gguf", "Modelfile", "README.md", "passport.json",
    }  # fmt: skip
    for one in result.files:
        assert (one.sha256, one.bytes) == (sha256_file(ctx.artifact(one.artifact)), ctx.artifact(one.artifact).stat().st_size)
    assert result.parity_checked
    assert result.label == "REHEARSAL"
    assert [one.served for one in result.parity] == [
        "peft.tar", "base-f16.gguf with adapter-f16.gguf", "model-f16.gguf", "model-q8_0.gguf", "merged.tar",
    ]  # fmt: skip
    for one in result.parity:
        assert one.passed
        assert one.stops > 0
        assert one.own_words > 0

    for name in ("peft", "merged"):
        with tarfile.open(file(ctx, f"{name}.tar")) as tar:
            tar.extractall(tmp_path / "unpacked", filter="data")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "unpacked" / "merged", dtype=torch.float32)
    peft = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32), tmp_path / "unpacked" / "peft"
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "unpacked" / "merged")
    ids = torch.tensor([prompt_ids(tokenizer, [{"role": "user", "content": PROMPTS[1]}])])
    torch.testing.assert_close(merged(ids).logits, peft(ids).logits, atol=0.05, rtol=0)

    card = file(ctx, "README.md").read_text()
    for said in (
        "**REHEARSAL**",
        "`dataset:gold@1`",
        "rehearsal rules",
        "heldout_loss_after: 1.25",
        "## Licence",
        "## Limits",
        "model-q8_0.gguf in llama.cpp",
    ):
        assert said in card
    modelfile = file(ctx, "Modelfile").read_text()
    for said in (
        "FROM ./model-q8_0.gguf\n",
        'PARAMETER stop "<|im_end|>"\n',
        "PARAMETER temperature 0.7\n",
        "PARAMETER top_p 0.8\n",
        "REHEARSAL",
    ):
        assert said in modelfile


def test_a_rank_stabilised_adapter_with_ranks_of_its_own_keeps_its_scale(tmp_path: Path, llama: str) -> None:
    ctx = context(tmp_path, llama, use_rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 32}, lora_alpha=8)

    assert exported(ctx, formats=["gguf-lora", "gguf-merged"], outtype="f32").parity_checked


def test_a_dora_is_merged_and_refused_as_gguf_lora(tmp_path: Path, llama: str) -> None:
    ctx = context(tmp_path, llama, use_dora=True)

    with pytest.raises(InvalidInput, match="it is a DoRA"):
        exported(ctx, formats=["gguf-lora"])
    assert exported(another_job(ctx), outtype="f32").parity_checked


def another_job(ctx: FakeContext) -> FakeContext:
    other = FakeContext(ctx.root)
    other.datasets, other.adapters, other.student_factory = ctx.datasets, ctx.adapters, ctx.student_factory
    return other


def test_wrong_weights_fail_the_gate_and_leave_no_file(tmp_path: Path, llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context(tmp_path, llama)
    monkeypatch.setattr(gguf_file, "_permuted", lambda tensor, heads: tensor)

    with pytest.raises(ServedDiffers, match=r"model-f16.gguf .llama.cpp., prompt \d, token: token \d+ of the answer is"):
        exported(ctx)
    assert [path.name for path in file(ctx, "parity.json").parent.iterdir()] == ["parity.json"]
    told = json.loads(file(ctx, "parity.json").read_text())
    assert told["parity"][0]["differences"][0]["detail"]


def test_the_base_model_alone_fails_the_gate_though_it_says_the_same(
    tmp_path: Path, llama: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context(tmp_path, llama, std=0.01)
    monkeypatch.setattr(weights, "merge", lambda model: model.unload())

    with pytest.raises(ServedDiffers):
        exported(ctx)


def test_without_parity_it_says_so_loudly(tmp_path: Path, llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "installed", lambda: False)
    ctx = context(tmp_path, llama)

    with pytest.raises(InvalidInput, match="xllamacpp"):
        exported(ctx)
    result = exported(another_job(ctx), parity=False)
    assert (result.parity_checked, result.parity) == (False, [])
    assert "NOT CHECKED" in result.label
    for name in ("README.md", "Modelfile"):
        assert "NOT CHECKED" in next(ctx.root.rglob(name)).read_text()


def test_an_answer_that_leaves_no_room_for_a_prompt_is_refused(tmp_path: Path, llama: str) -> None:
    with pytest.raises(
        InvalidInput, match="parity_tokens: an answer of 512 tokens leaves no room for a prompt in a context of 512"
    ):
        exported(context(tmp_path, llama), parity_tokens=512)


class TestQuantization:
    def test_a_missing_program_is_named_with_what_to_install(
        self, tmp_path: Path, llama: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")

        with pytest.raises(InvalidInput, match=r"llama-quantize.*install llama.cpp"):
            exported(context(tmp_path, llama), quantization="q4_k_m")

    def test_the_program_gets_the_merged_file_and_what_it_writes_is_compared(
        self, tmp_path: Path, llama: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "bin" / "llama-quantize"
        program.parent.mkdir()
        program.write_text('#!/bin/sh\n[ "$3" = Q6_K ] && cp "$1" "$2"\n')
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

        result = exported(context(tmp_path, llama), quantization="q6_k")
        assert [one.served for one in result.parity] == ["model-f16.gguf", "model-q6_k.gguf"]

    def test_it_is_for_merged_files(self) -> None:
        with pytest.raises(ValueError, match="add it to formats"):
            ExportConfig(adapter="adapter:tiny@1", formats=["peft"], quantization="q8_0")


def test_another_architecture_is_refused_by_its_name(tmp_path: Path, llama: str) -> None:
    ctx = context(tmp_path, llama)
    student = ctx.student(llama)
    student.model.config.model_type = "gemma3"

    with pytest.raises(InvalidInput, match="architecture 'gemma3'; GGUF is written for llama and qwen3"):
        gguf_file.check_architecture(student.model.config)
