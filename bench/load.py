"""`python -m bench.load`: a closed-loop HTTP client in a process of its own. One order on stdin, one answer on stdout, JSON both.

Each connection sends its next request when the last was answered. Standard library only: it shares the cores with what it measures.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Order:
    port: int
    method: str
    paths: Sequence[str]
    """Asked in turn."""
    body: str = ""
    connections: int = 16
    seconds: float | None = None
    count: int | None = None
    """Stop after so many seconds or requests, whichever is given."""


@dataclass(frozen=True)
class Answer:
    seconds: float
    """From the first byte sent to the last answer."""
    latencies_ms: list[float]
    """One for each request, in order of the answers."""


class Load:
    """What the connections share."""

    def __init__(self, order: Order) -> None:
        body = order.body.encode()
        head = f"Host: 127.0.0.1:{order.port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self._requests = [f"{order.method} {path} HTTP/1.1\r\n".encode() + head + body for path in order.paths]
        self._count = order.count
        self._end = time.perf_counter() + order.seconds if order.seconds is not None else None
        self._sent = 0
        self.latencies_ms: list[float] = []

    def next_request(self) -> bytes | None:
        if self._sent == self._count or (self._end is not None and time.perf_counter() > self._end):
            return None
        self._sent += 1
        return self._requests[self._sent % len(self._requests)]


class Caller(asyncio.Protocol):
    """One connection, kept open."""

    def __init__(self, load: Load, done: asyncio.Future[None]) -> None:
        self._load, self.done = load, done
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        request = self._load.next_request()
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, complete, body = self._buffer.partition(b"\r\n\r\n")
        if not complete:
            return
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(headers[b"content-length"]):
            return
        took_ms = (time.perf_counter() - self._sent_at) * 1000
        if not head.startswith(b"HTTP/1.1 2"):
            self._fail(f"refused: {head.splitlines()[0].decode()} {body[:300].decode(errors='replace')}")
            return
        self._load.latencies_ms.append(took_ms)
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the server closed the connection ({exc})")

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))


async def call(order: Order) -> Answer:
    """Ask as ordered; raises `RuntimeError` at the first answer that is not 2xx."""
    loop = asyncio.get_running_loop()
    load = Load(order)
    started = time.perf_counter()
    callers = [Caller(load, loop.create_future()) for _ in range(order.connections)]
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", order.port)  # type: ignore[misc]
    await asyncio.gather(*(caller.done for caller in callers))
    return Answer(time.perf_counter() - started, load.latencies_ms)


def main() -> None:
    json.dump(asdict(asyncio.run(call(Order(**json.load(sys.stdin))))), sys.stdout)


if __name__ == "__main__":
    main()
