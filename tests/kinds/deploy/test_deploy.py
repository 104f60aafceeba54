"""A deployment gets its names only when what Ollama serves answers like the trained model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from goldsmith.errors import Conflict, InvalidInput, RetryableError, Unavailable
from goldsmith.export.parity import ServedDiffers
from goldsmith.kinds.deploy.run import run
from goldsmith.kinds.deploy.schema import DeployConfig, DeployResult
from goldsmith.kinds.rollback.run import run as rollback
from goldsmith.kinds.rollback.schema import RollbackConfig
from goldsmith.student.chat import ollama_url
from goldsmith.student.ollama import Ollama
from tests.fakes import FakeContext
from tests.ollama_server import OllamaServer, ollama_server
from tests.trained import add_adapter, context, make_llama

pytest.importorskip("xllamacpp", reason="pip install 'goldsmith[export]'")


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_llama(tmp_path_factory.mktemp("llama")))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, base_model: str) -> FakeContext:
    """Two versions of an adapter: one that was trained, one of random weights."""
    world = context(tmp_path_factory.mktemp("world"), base_model, std=0)
    add_adapter(world, base_model, cache=world.root, std=0.3, seed=8)
    return world


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OllamaServer]:
    (tmp_path / "blobs").mkdir()
    with ollama_server(tmp_path / "blobs") as server:
        yield server


@pytest.fixture
def ctx(tmp_path: Path, world: FakeContext, server: OllamaServer) -> FakeContext:
    ctx = FakeContext(tmp_path, kind="deploy")
    ctx.datasets, ctx.adapters, ctx.student_factory = world.datasets, world.adapters, world.student_factory
    ctx.ollama_factory = lambda: Ollama(server.url)
    return ctx


def again(ctx: FakeContext, **more: Any) -> FakeContext:
    """The context of another job, or of another attempt, in the same world."""
    other = FakeContext(ctx.root, kind="deploy", **more)
    other.datasets, other.adapters, other.aliases = ctx.datasets, ctx.adapters, ctx.aliases
    other.student_factory, other.ollama_factory = ctx.student_factory, ctx.ollama_factory
    return other


def deployed(ctx: FakeContext, **more: object) -> DeployResult:
    return run(DeployConfig(**{"adapter": "adapter:tiny@1", "parity_prompts": 2, "parity_tokens": 40} | more), ctx)


def test_it_is_deployed_replaced_and_rolled_back(ctx: FakeContext, server: OllamaServer) -> None:
    first = deployed(ctx)

    assert set(server.models) == {"tiny:v1", "tiny:latest"}
    assert first.digest == server.digest("tiny:latest") == server.digest("tiny:v1")
    assert (first.former_digest, first.former_alias_version, first.label) == (None, None, "REHEARSAL")
    assert first.parity.stops > 0
    assert first.parity.own_words > 0
    assert first.parity.largest_difference is not None
    assert first.parity.largest_difference < 0.1
    assert len(first.canary.answer) > 10
    assert ctx.aliases["tiny", "deployed"] == 1
    made = server.models["tiny:latest"]["parameters"]
    assert {key: made[key] for key in ("temperature", "top_p", "stop")} == {
        "temperature": 0.7,
        "top_p": 0.8,
        "stop": ["<|im_end|>"],
    }

    second_ctx = again(ctx)
    second = deployed(second_ctx, adapter="adapter:tiny@2")
    assert set(server.models) == {"tiny:v1", "tiny:v2", "tiny:latest", "tiny:former"}
    assert second.former_digest == first.digest == server.digest("tiny:former")
    assert ctx.aliases["tiny", "deployed"] == 2

    with pytest.raises(Conflict, match="roll back the newest"):
        rollback(RollbackConfig(deploy=ctx.ref), again(ctx))

    retired = again(ctx)
    retired.adapters = {"tiny": [one.model_copy(update={"status": "retired"}) for one in ctx.adapters["tiny"]]}
    with pytest.raises(Conflict, match=r"adapter:tiny@1, which job:\S+ replaced, is retired"):
        rollback(RollbackConfig(deploy=second_ctx.ref), retired)
    assert server.digest("tiny:latest") == second.digest

    undone = rollback(RollbackConfig(deploy=second_ctx.ref), again(ctx))
    assert server.digest("tiny:latest") == first.digest == undone.latest
    assert (ctx.aliases["tiny", "deployed"], undone.version) == (1, 1)

    none_left = rollback(RollbackConfig(deploy=ctx.ref), again(ctx))
    assert none_left.latest is None
    assert "tiny:latest" not in server.models
    assert ("tiny", "deployed") not in ctx.aliases


def test_base_and_adapter_apart_and_older_servers_that_tell_less(ctx: FakeContext, server: OllamaServer) -> None:
    server.tells.clear()
    result = deployed(ctx, format="gguf-lora", model="apart", alias=None)

    made = server.models["apart:latest"]
    assert len(made["files"]) == len(made["adapters"]) == 1
    assert sorted(result.uploaded) == sorted(
        blob.removeprefix("sha256:") for blob in (*made["files"].values(), *made["adapters"].values())
    )
    assert result.parity.largest_difference is None
    assert result.parity.own_words > 0
    assert ctx.aliases == {}

    sent = len(server.requests)
    second = deployed(again(ctx), format="gguf-lora", model="again", alias=None, from_model="apart")
    assert second.uploaded == []
    assert not any(path.startswith("/api/blobs") for _, path, _ in server.requests[sent:])


class TestGate:
    """Nothing that differs gets a name, and what was there stays."""

    def refused(self, ctx: FakeContext, server: OllamaServer, **more: object) -> str:
        server.models["tiny:latest"] = {"files": {}, "template": "", "parameters": {}}
        with pytest.raises((ServedDiffers, Unavailable)) as refused:
            deployed(ctx, **more)
        assert set(server.models) == {"tiny:latest"}
        assert server.models["tiny:latest"]["files"] == {}
        assert ctx.aliases == {}
        return str(refused.value)

    def test_a_swapped_blob(self, ctx: FakeContext, server: OllamaServer) -> None:
        other = again(ctx)
        deployed(other, adapter="adapter:tiny@2", model="other", alias=None)
        blob = next(iter(server.models["other:latest"]["files"].values()))
        server.models.clear()
        server.swap = lambda digest: blob

        assert "what is served differs from what was trained" in self.refused(ctx, server)
        parity = json.loads(ctx.artifact(f"{ctx.ref}/parity.json").read_text())
        assert parity["parity"][0]["differences"]

    def test_a_blob_of_the_base_model_alone(self, ctx: FakeContext, server: OllamaServer) -> None:
        deployed(again(ctx), format="gguf-lora", model="apart", alias=None)
        base = next(iter(server.models["apart:latest"]["files"].values()))
        server.models.clear()
        server.swap = lambda digest: base

        assert "what is served differs from what was trained" in self.refused(ctx, server)

    def test_a_truncated_blob(self, ctx: FakeContext, server: OllamaServer) -> None:
        server.keep = lambda content: content[: len(content) // 2]

        assert "500" in self.refused(ctx, server)

    def test_another_template(self, ctx: FakeContext, server: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "goldsmith.export.template.ChatForm.go",
            lambda form: "{{ range $i, $turn := .Messages }}{{ $turn.Content }}{{ end }}",
        )

        assert "template: token 0 of the prompt is" in self.refused(ctx, server)

    def test_another_template_where_only_the_number_of_tokens_is_told(
        self, ctx: FakeContext, server: OllamaServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.tells.clear()
        monkeypatch.setattr(
            "goldsmith.export.template.ChatForm.go",
            lambda form: "{{ range $i, $turn := .Messages }}{{ $turn.Content }}{{ end }}",
        )

        assert "template: it reads" in self.refused(ctx, server)

    def test_an_adapter_that_says_what_its_base_says_is_refused_where_only_words_are_told(
        self, tmp_path: Path, base_model: str, server: OllamaServer
    ) -> None:
        server.tells.clear()
        ctx = context(tmp_path / "slight", base_model, std=0.002)
        ctx.ollama_factory = lambda: Ollama(server.url)

        assert "neither can be told from the other" in self.refused(ctx, server, parity_tokens=2)


def test_a_name_that_answers_otherwise_is_put_back(
    ctx: FakeContext, server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = deployed(ctx)
    monkeypatch.setattr("goldsmith.kinds.deploy.run._canary", _fails)
    for model, left in (("tiny", first.digest), ("new", None)):
        with pytest.raises(ServedDiffers):
            deployed(again(ctx), model=model, format="gguf-lora")
        assert ("new:latest" in server.models, server.digest("tiny:latest")) == (False, first.digest)
        assert (server.digest(f"{model}:latest") if left else None) == left
        assert not any("candidate" in name for name in server.models)


def _fails(*_: object) -> None:
    raise ServedDiffers("on purpose")


def test_a_second_attempt_knows_what_the_first_one_replaced(ctx: FakeContext, server: OllamaServer) -> None:
    server.models["tiny:latest"] = {"files": {}, "template": "what was there", "parameters": {}}
    former = server.digest("tiny:latest")
    deployed(ctx)
    retried = again(ctx, job_id=ctx.job_id, attempt=2)

    assert deployed(retried).former_digest == former
    assert server.digest("tiny:former") == former


def test_a_server_that_is_not_there_is_tried_again_later(ctx: FakeContext) -> None:
    ctx.ollama_factory = lambda: Ollama("http://127.0.0.1:9")

    with pytest.raises(RetryableError, match="start it with `ollama serve`"):
        deployed(ctx)


def test_options_that_do_not_fit_each_other() -> None:
    with pytest.raises(ValueError, match="set format to gguf-lora"):
        DeployConfig(adapter="adapter:tiny@1", from_model="qwen3:4b-instruct-2507-fp16")
    with pytest.raises(ValueError, match="only the format gguf-merged"):
        DeployConfig(adapter="adapter:tiny@1", format="gguf-lora", quantization="q8_0")


def test_a_program_that_is_missing_is_named_before_anything_else(ctx: FakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(InvalidInput, match=r"llama-quantize, which is not on this worker's PATH; install"):
        deployed(ctx, quantization="q4_k_m")


@pytest.mark.e2e
def test_a_real_ollama(tmp_path: Path, base_model: str) -> None:
    host = os.environ.get("OLLAMA_HOST")
    if not host:
        pytest.skip("NOT TESTED against a real Ollama: set OLLAMA_HOST to the address of one")
    ollama = Ollama(ollama_url(host))
    ctx = context(tmp_path, base_model, std=0)
    ctx.ollama_factory = lambda: ollama
    try:
        result = deployed(ctx, model="goldsmith-test")
        assert ollama.tags()["goldsmith-test:latest"] == result.digest
        rollback(RollbackConfig(deploy=ctx.ref), again(ctx))
        assert "goldsmith-test:latest" not in ollama.tags()
    finally:
        ollama.delete("goldsmith-test:v1")
        ollama.delete("goldsmith-test:latest")
        assert httpx.get(f"{ollama.url}/api/version", trust_env=False).is_success
