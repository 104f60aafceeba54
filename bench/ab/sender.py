"""What an event costs the request that sends it: `python -m bench.ab.sender [--events 20000]`.

Before a Goldsmith that is away, hangs, answers 503, or takes everything. Beside it, in the same run, one bare `write` of as many bytes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

from goldsmith.client.events import EventSender
from goldsmith.client.spool import memory_of

EXPERIMENT = "01a1fff8-bb8c-7b03-b307-c825ec846b75"
RATE = 500  # events a second: a class of children sends a few


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = b'{"accepted":0,"duplicates":0,"rejected":[]}'
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


def serve(status: int, ports: Connection) -> None:
    Handler.status = status
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        ports.send(server.server_address[1])
        server.serve_forever()


@contextmanager
def answering(status: int) -> Iterator[int]:
    """In a process of its own: in this one it would take its turns from the sender."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(status, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


@contextmanager
def hanging() -> Iterator[int]:
    """Connections are made and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield int(server.getsockname()[1])


@contextmanager
def away() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield int(probe.getsockname()[1])


def paced(do: Callable[[int], object], count: int) -> dict[str, float]:
    """Milliseconds of each call at a steady rate: half of them, 99 and 99.9 % took at most so long."""
    took, due = [], time.perf_counter()
    for number in range(count):
        due += 1 / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        began = time.perf_counter()
        do(number)
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    at = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    return {name: round(took[int(share * count)], 3) for name, share in at.items()} | {"max": round(took[-1], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="of the spool; a temporary one when empty")
    options = parser.parse_args()
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        line = b"x" * 300
        fd = os.open(f"{folder}/bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        result["bare write"] = paced(lambda _: os.write(fd, line), options.events)
        os.close(fd)
        cases = {"away": away(), "hangs": hanging(), "answers 503": answering(503), "takes all": answering(200)}
        for name, goldsmith in cases.items():
            with goldsmith as port:
                sender = EventSender(Path(folder) / name, f"http://127.0.0.1:{port}")

                def send(number: int, sender: EventSender = sender) -> None:
                    assert sender.send(EXPERIMENT, "exposure", f"device-{number}", interception_run_id=f"run_{number}")

                result[name] = paced(send, options.events)
                stats = sender.stats
                memory = memory_of(Path(folder) / name)
                held = [file for where in (Path(folder) / name, memory) if where for file in where.glob("*.log")]
                lost = stats.spooled - stats.delivered - sum(file.read_bytes().count(b"\n") for file in held)
                result[name] |= {"spooled": stats.spooled, "dropped": stats.dropped, "lost": max(0, lost)}  # type: ignore[operator]
                sender.close(0)
                if memory is not None:
                    shutil.rmtree(memory, ignore_errors=True)  # or by the sender's thread, as it ends
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
