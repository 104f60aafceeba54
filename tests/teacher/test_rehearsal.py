"""The rehearsal server as any HTTP client sees it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from goldsmith.teacher.rehearsal import Refused, RehearsalServer
from tests.conftest import free_port, wait_until

BODY: dict[str, Any] = {
    "model": "rehearsal-1",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "A whale in the lift"}],
}
HEADERS = {"authorization": "Bearer rehearsal", "anthropic-version": "2023-06-01", "content-type": "application/json"}


@pytest.fixture(scope="module")
def server() -> Iterator[RehearsalServer]:
    with RehearsalServer() as server:
        yield server


def post(
    server: RehearsalServer, body: object, path: str = "/v1/messages", headers: dict[str, str] = HEADERS
) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)
    connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body), headers)
    response = connection.getresponse()
    raw = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, json.loads(raw)


def test_it_answers_in_the_messages_format_and_says_rehearsal(server: RehearsalServer) -> None:
    status, headers, message = post(server, {**BODY, "system": "Be brief."})
    assert status == 200
    assert headers["x-rehearsal"] == "REHEARSAL"
    assert headers["request-id"].startswith("req_rehearsal_")
    assert (message["type"], message["role"], message["stop_reason"]) == ("message", "assistant", "end_turn")
    assert message["model"].startswith("rehearsal-")
    assert [block["type"] for block in message["content"]] == ["text"]
    assert message["usage"]["input_tokens"] == 5 + 3  # bytes over four, rounded up, of prompt and system


def test_it_counts_tokens(server: RehearsalServer) -> None:
    assert post(server, BODY, "/v1/messages/count_tokens")[2] == {"input_tokens": 5}


@pytest.mark.parametrize(
    ("change", "status", "error", "says"),
    [
        ({"model": "claude-9"}, 404, "not_found_error", "model: claude-9"),
        ({"messages": []}, 400, "invalid_request_error", "at least one message"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "invalid_request_error", "must not be empty"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "invalid_request_error", "role user"),
        ({"max_tokens": -1}, 400, "invalid_request_error", "max_tokens: -1"),
        ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens: None"),
        ({"temperature": 2}, 400, "invalid_request_error", "temperature: 2"),
        ({"top_p": 2}, 400, "invalid_request_error", "top_p: 2"),
        ({"temperature": 1, "top_p": 0.9}, 400, "invalid_request_error", "cannot both be specified"),
        ({"output_config": {"format": {"type": "xml"}}}, 400, "invalid_request_error", "output_config.format"),
    ],
)
def test_a_bad_request_gets_the_providers_envelope(
    server: RehearsalServer, change: dict[str, Any], status: int, error: str, says: str
) -> None:
    got, headers, body = post(server, {**BODY, **change})
    assert (got, body["type"], body["error"]["type"]) == (status, "error", error)
    assert says in body["error"]["message"]
    assert "request-id" in headers


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", HEADERS, 400),
        (b"[]", HEADERS, 400),
        (b"\xff", HEADERS, 400),
        (b"{}", {"anthropic-version": "2023-06-01"}, 401),
        (b"{}", {"x-api-key": "k"}, 400),
    ],
)
def test_what_is_no_request_is_refused(server: RehearsalServer, body: bytes, headers: dict[str, str], status: int) -> None:
    assert post(server, body, headers=headers)[0] == status


def test_unknown_paths_are_not_found(server: RehearsalServer) -> None:
    assert post(server, BODY, "/v1/complete")[0] == 404


def test_it_misbehaves_when_a_header_asks_for_it(server: RehearsalServer) -> None:
    assert post(server, BODY, headers={**HEADERS, "x-rehearsal-misbehave": "529"})[0] == 529
    status, _, body = post(server, BODY, headers={**HEADERS, "x-rehearsal-misbehave": "sing"})
    assert status == 400
    assert "half_json" in body["error"]["message"]


def test_it_misbehaves_as_often_as_it_was_told_to(server: RehearsalServer) -> None:
    server.fail_next("429", "empty")
    assert post(server, BODY)[0] == 429
    assert post(server, BODY)[2]["content"] == [{"type": "text", "text": ""}]
    assert post(server, BODY)[2]["content"][0]["text"]
    with pytest.raises(Refused, match="sing"):
        server.fail_next("sing")


def test_it_runs_as_a_process_with_a_banner() -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "goldsmith.teacher.rehearsal", "--port", str(port)], stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: _is_up(port), "the start of the rehearsal teacher")
        busy = subprocess.run(
            [sys.executable, "-m", "goldsmith.teacher.rehearsal", "--port", str(port)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert busy.returncode == 1
        assert "cannot listen" in busy.stderr
    finally:
        process.terminate()
        log = process.communicate(timeout=120)[1]
    assert log.startswith("*** REHEARSAL ***")
    assert "REHEARSAL " in log.splitlines()[1]


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as response:
            return bool(json.load(response)["label"] == "REHEARSAL")
    except OSError:
        return False


@pytest.mark.parametrize(
    ("field", "prompt", "holds"),
    [
        (
            "prompts",
            "Language: German\nNumber: 2\nAbout, one each:\n- ein Reiher, auf dem Dach\n- zwei Eulen, im Hafen",
            ["Reiher", "Eulen"],
        ),
        ("translation", "Der Hund schläft im Walzwerk", ["the dog sleeps in the Walzwerk"]),
    ],
)
def test_it_makes_prompts_and_translations_by_rule(server: RehearsalServer, field: str, prompt: str, holds: list[str]) -> None:
    schema = {"type": "object", "properties": {field: {}}, "required": [field], "additionalProperties": False}
    body = {
        **BODY,
        "messages": [{"role": "user", "content": prompt}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }
    status, _, message = post(server, body)
    assert status == 200
    made = json.loads(message["content"][0]["text"])[field]
    assert all(each in (made if isinstance(made, str) else made[place]) for place, each in enumerate(holds))
