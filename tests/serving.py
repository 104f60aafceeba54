"""What answers live requests, on loopback: a model server that looks an alias up at each request, and Ollama's names and digests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


class Serving(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, resolve: Callable[[str], str | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.resolve = resolve
        """The version behind `adapter:<name>@<alias>`; None: there is none."""
        self.stuck: str | None = None
        """What answers whatever is asked for."""
        self.down = False
        self.answers = Event()
        """Cleared: whoever asks something waits for the answer."""
        self.answers.set()
        self.tags: dict[str, str] = {}
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Serving

    def do_GET(self) -> None:
        self._say(200, {"models": [{"name": name, "digest": digest} for name, digest in self.server.tags.items()]})

    def do_DELETE(self) -> None:
        self.server.tags.pop(self._body()["model"], None)
        self._say(200, {})

    def do_POST(self) -> None:
        body, server = self._body(), self.server
        if server.down:
            return self._say(503, {"error": "starting"})
        if self.path == "/api/copy":
            server.tags[body["destination"]] = server.tags[body["source"]]
            return self._say(200, {})
        server.asked.append(body["model"])
        server.answers.wait(60)
        if self.path == "/api/chat":
            return self._say(200, {"model": body["model"], "message": {"content": "Fine."}})
        version = server.stuck or server.resolve(body["model"])
        if version is None:
            return self._say(404, {"error": {"message": f"there is no {body['model']}"}})
        return self._say(200, {"model": body["model"], "adapter": version, "choices": [{"message": {"content": "Fine."}}]})

    def _body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def _say(self, status: int, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Not on the test's output."""


@contextmanager
def serving(resolve: Callable[[str], str | None]) -> Iterator[Serving]:
    server = Serving(resolve)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(120)
        server.server_close()
