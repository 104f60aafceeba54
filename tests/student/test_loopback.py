"""Questions to a model server on this machine over kept connections, and what becomes of those that it closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from goldsmith.student.loopback import Loopback

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 9\r\n\r\n"
Ask = Callable[[Loopback, list[asyncio.StreamWriter]], Awaitable[None]]


def served(ask: Ask, *answers: bytes) -> tuple[int, list[bytes]]:
    """Answers in turn and stays silent after the last; returns how many connections were made, and what was asked."""
    opened: list[asyncio.StreamWriter] = []
    asked: list[bytes] = []
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            asked.append(head + await reader.readexactly(length))
            said = left.pop(0)
            writer.write(said)
            if not said.startswith(b"HTTP"):
                writer.close()

    async def both() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        client = Loopback(server.sockets[0].getsockname()[1], "k3y")
        try:
            await ask(client, opened)
        finally:
            await client.aclose()
            server.close()

    asyncio.run(both())
    return len(opened), asked


async def _twice(client: Loopback, _: object) -> None:
    for number in (1, 2):
        response = await client.post("/v1/embeddings", {"input": "é"})
        assert (response.status_code, response.json()) == (200, {"n": number * 100})


def test_a_connection_is_kept_and_used_again() -> None:
    connections, asked = served(_twice, ANSWER + b'{"n":100}', ANSWER + b'{"n":200}')
    assert connections == 1
    assert asked[0].startswith(b"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Bearer k3y\r\n" in asked[0]
    assert asked[0].endswith(b'\r\n\r\n{"input": "\\u00e9"}')


def test_one_that_was_closed_in_between_is_opened_anew() -> None:
    async def ask(client: Loopback, opened: list[asyncio.StreamWriter]) -> None:
        await client.post("/", {})
        opened[0].close()
        assert (await client.post("/", {})).json() == {"n": 200}

    assert served(ask, ANSWER + b'{"n":100}', ANSWER + b'{"n":200}')[0] == 2


def test_one_on_which_a_question_was_given_up_is_not_used_again() -> None:
    async def ask(client: Loopback, _: object) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.post("/", {})
        assert (await client.post("/", {})).json() == {"n": 200}

    assert served(ask, ANSWER[:20] + b" ", ANSWER + b'{"n":200}')[0] == 2


@pytest.mark.parametrize("said", [b"no", b"HTTP/1.1 200 OK\r\n\r\n{}"])
def test_a_server_that_breaks_off_or_speaks_otherwise_is_an_end_of_file(said: bytes) -> None:
    async def ask(client: Loopback, _: object) -> None:
        with pytest.raises(EOFError):
            await client.post("/", {})

    served(ask, said)


def test_an_error_comes_with_its_status() -> None:
    async def ask(client: Loopback, _: object) -> None:
        response = await client.post("/", {})
        assert isinstance(response, httpx.Response)
        assert (response.status_code, response.text) == (503, "not ready")

    served(ask, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot ready")
