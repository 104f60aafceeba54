"""Bedrock and OpenAI-compatible servers, over real HTTP to small servers that speak their formats."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import pytest

from goldsmith.errors import GoldsmithError, RetryableError
from goldsmith.settings import Settings
from goldsmith.teacher.provider import Failed, Provider, Reply, Request
from goldsmith.teacher.providers import open_provider

T = TypeVar("T")
ASKED = Request("A whale is stuck in the lift.", 300, system="Be brief.")
MESSAGE = {
    "type": "message",
    "model": "claude-sonnet-4-6",
    "content": [{"type": "text", "text": "A whale: wool."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 12, "output_tokens": 4},
}
COMPLETION = {
    "id": "chatcmpl-1",
    "model": "qwen3:4b",
    "choices": [{"message": {"role": "assistant", "content": "A whale: wool."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 4},
}


class Server:
    """Answers every request with `answer` and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.status = 200
        self.answer: bytes | dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                raw = server.answer if isinstance(server.answer, bytes) else json.dumps(server.answer).encode()
                self.send_response(server.status)
                for name, value in {"content-type": "application/json", **server.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.http.shutdown()
    server.http.server_close()


def with_provider(provider: Provider, do: Callable[[Provider], Awaitable[T]]) -> T:
    async def work() -> T:
        async with aclosing(provider):
            return await do(provider)

    return asyncio.run(work())


def ask(provider: Provider, request: Request = ASKED) -> Reply:
    return with_provider(provider, lambda it: it.ask(request))


def failure(provider: Provider) -> Failed:
    with pytest.raises(Failed) as caught:
        ask(provider)
    return caught.value


# -- Bedrock


@pytest.fixture
def bedrock(server: Server, monkeypatch: pytest.MonkeyPatch) -> Provider:
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    server.answer = MESSAGE
    settings = Settings(_env_file=None, ANTHROPIC_BEDROCK_BASE_URL=server.url)
    return open_provider(settings, "bedrock", None, recorded=True)


def test_bedrock_is_asked_signed_for_its_eu_region(server: Server, bedrock: Provider) -> None:
    reply = ask(bedrock, replace(ASKED, temperature=0.5))
    assert (reply.text, reply.input_tokens, reply.output_tokens) == ("A whale: wool.", 12, 4)
    [(path, headers, body)] = server.asked
    assert path == "/model/eu.anthropic.claude-sonnet-4-6/invoke"
    assert "/eu-central-1/bedrock/aws4_request" in headers["authorization"]
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert (body["temperature"], body["system"], body["max_tokens"]) == (0.5, "Be brief.", 300)


def test_bedrock_takes_no_batches_and_counts_no_tokens(bedrock: Provider) -> None:
    assert bedrock.batches is None
    assert with_provider(bedrock, lambda it: it.count_tokens(ASKED)) is None


def test_bedrock_refuses_a_wrong_key_at_once(server: Server, bedrock: Provider) -> None:
    server.status, server.answer = 403, {"message": "The security token included in the request is invalid."}
    failed = failure(bedrock)
    assert (failed.why, failed.billed, type(failed.error)) == ("key", "no", GoldsmithError)
    assert "AWS credentials" in failed.error.detail
    assert len(server.asked) == 1


def test_bedrock_without_credentials_names_what_to_set(
    server: Server, bedrock: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    monkeypatch.setattr(boto3.Session, "get_credentials", lambda self: None)
    failed = failure(bedrock)
    assert failed.why == "key"
    assert "AWS_PROFILE" in failed.error.detail
    assert not server.asked


# -- OpenAI-compatible


def local(server: Server, **settings: Any) -> Provider:
    server.answer = server.answer or COMPLETION
    known = Settings(_env_file=None, openai_compatible_url=server.url, **settings)
    return open_provider(known, "openai-compatible", "qwen3:4b", recorded=True)


def test_a_local_server_is_asked_for_a_completion(server: Server) -> None:
    schema = {"type": "object", "properties": {"rules": {"type": "array"}}}
    reply = ask(local(server), replace(ASKED, temperature=0.5, json_schema=schema))
    assert (reply.text, reply.stop_reason, reply.model) == ("A whale: wool.", "end_turn", "qwen3:4b")
    assert (reply.input_tokens, reply.output_tokens, reply.request_id) == (12, 4, "chatcmpl-1")
    [(path, headers, body)] = server.asked
    assert path == "/v1/chat/completions"
    assert "authorization" not in headers
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASKED.prompt}]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("qwen3:4b", 300, 0.5)
    assert body["response_format"]["json_schema"]["schema"] == schema


def test_a_local_server_is_told_how_to_sample(server: Server) -> None:
    ask(local(server), replace(ASKED, temperature=1.0, top_p=0.9, seed=42))
    [(_, _, body)] = server.asked
    assert (body["temperature"], body["top_p"], body["seed"]) == (1.0, 0.9, 42)


def test_it_costs_nothing(server: Server) -> None:
    provider = local(server)
    assert provider.price.cost(ask(provider).usage) == 0


@pytest.mark.parametrize(("finish", "stop"), [("length", "max_tokens"), ("content_filter", "refusal"), ("odd", "odd")])
def test_the_end_is_worded_as_everywhere(server: Server, finish: str, stop: str) -> None:
    server.answer = {**COMPLETION, "choices": [{"message": {"content": None}, "finish_reason": finish}]}
    reply = ask(local(server))
    assert (reply.text, reply.stop_reason) == ("", stop)


def test_thoughts_in_the_text_are_no_part_of_the_answer(server: Server) -> None:
    thinking = {"message": {"content": "<think>\nWool?\n</think>\n\nA whale: wool."}, "finish_reason": "stop"}
    server.answer = {**COMPLETION, "choices": [thinking]}
    assert ask(local(server)).text == "A whale: wool."


@pytest.mark.parametrize(
    "answer", [b"<html>Sign in</html>", b'{"model": "qwen', b"[]", b'{"model": "m", "choices": [], "usage": {}}', b""]
)
def test_what_is_no_completion_is_not_asked_again_here(server: Server, answer: bytes) -> None:
    server.answer = answer or b" "
    failed = failure(local(server))
    assert (failed.why, failed.billed, type(failed.error)) == ("broken", "maybe", RetryableError)
    assert len(server.asked) == 1


def test_more_tokens_than_asked_for_are_no_answer(server: Server) -> None:
    server.answer = {**COMPLETION, "usage": {"prompt_tokens": 12, "completion_tokens": 40_000}}
    assert "40000 tokens; at most 300" in failure(local(server)).error.detail


@pytest.mark.parametrize(
    ("status", "answer", "why", "says"),
    [
        (401, {"error": {"message": "no such key"}}, "key", "GOLDSMITH_OPENAI_COMPATIBLE_KEY.*no such key"),
        (404, {"error": "model 'qwen3:4b' not found"}, "model", "knows no model 'qwen3:4b'.*not found"),
        (400, {"error": {"message": "context length"}}, "request", "context length"),
    ],
)
def test_a_refusal_says_what_the_server_said(server: Server, status: int, answer: dict[str, Any], why: str, says: str) -> None:
    server.status, server.answer = status, answer
    with pytest.raises(Failed, match=says) as caught:
        ask(local(server))
    assert (caught.value.why, caught.value.billed) == (why, "no")
    assert len(server.asked) == 1


def test_a_key_is_sent_when_there_is_one(server: Server) -> None:
    ask(local(server, openai_compatible_key="secret"))
    assert server.asked[0][1]["authorization"] == "Bearer secret"
