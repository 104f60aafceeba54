"""`python -m bench.readers`: readers of event streams, one connection each, in a process of their own.

The order comes as one line on stdin. It says `ready` when every reader has got what was there, reads on until as many more
came as the order says, and answers with those; JSON both. Times are the machine's clock. Standard library only.
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
    paths: Sequence[str]
    """One reader each."""
    seen: int
    """The `seq` of the newest event that each reader finds."""
    events: int
    """So many come afterwards, over all readers."""


class Readers:
    """What the connections share."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.came: list[tuple[int, int, float]] = []
        self.caught_up = 0
        self.all_caught_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.all_came: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, number: int, seq: int, now: float) -> None:
        if seq > self.order.seen:
            self.came.append((number, seq, now))
            if len(self.came) == self.order.events:
                self.all_came.set_result(None)
        elif seq == self.order.seen:
            self.caught_up += 1
            if self.caught_up == len(self.order.paths):
                self.all_caught_up.set_result(None)

    def fail(self, why: str) -> None:
        waited_for = self.all_came if self.all_caught_up.done() else self.all_caught_up
        if not waited_for.done():
            waited_for.set_exception(RuntimeError(why))


class Reader(asyncio.Protocol):
    """One connection."""

    def __init__(self, readers: Readers, number: int) -> None:
        self._readers, self._number = readers, number
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        order = self._readers.order
        head = f"GET {order.paths[self._number]} HTTP/1.1\r\nHost: 127.0.0.1:{order.port}\r\n"
        transport.write(f"{head}Accept: text/event-stream\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"HTTP/1.1 ") and not line.startswith(b"HTTP/1.1 200"):
                self._readers.fail(line.decode())
            if line.startswith(b"id: "):
                self._readers.take(self._number, int(line[4:]), now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._readers.fail(f"the server closed a stream ({exc})")


async def read(order: Order) -> list[tuple[int, int, float]]:
    """(reader, seq, when) for each event after those that were there. Raises `RuntimeError` when a stream is refused or closed."""
    readers = Readers(order)
    for number in range(len(order.paths)):
        await asyncio.get_running_loop().create_connection(
            lambda number=number: Reader(readers, number),  # type: ignore[misc]
            "127.0.0.1",
            order.port,
        )
    await readers.all_caught_up
    print("ready", flush=True)
    await readers.all_came
    return readers.came


def main() -> None:
    json.dump(asyncio.run(read(Order(**json.loads(sys.stdin.readline())))), sys.stdout)


def as_line(order: Order) -> str:
    return json.dumps(asdict(order)) + "\n"


if __name__ == "__main__":
    main()
