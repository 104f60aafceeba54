"""A real HTTP server on loopback that speaks the formats of OpenAI and Ollama, and misbehaves when told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class InferenceServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: list[dict[str, Any]] = []
        """What came in: path, headers, body."""
        self.text = "A fox of glass stands in the rain."
        self.model: str | None = None
        """Says that this model answered, whatever was asked for."""
        self.extra: dict[str, Any] = {}
        self.refuse: tuple[int, Any] | None = None
        """Answers with this status and body (a str is sent as it is)."""
        self.hang = threading.Event()
        """Set: not hanging. Cleared: a request is answered only once it is set."""
        self.hang.set()


class _Handler(BaseHTTPRequestHandler):
    server: InferenceServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
        self.server.hang.wait(30)
        if self.server.refuse:
            status, answer = self.server.refuse
            return self._send(status, answer)
        model = self.server.model or body["model"]
        if self.path == "/api/chat":
            answer = {"model": model, "message": {"role": "assistant", "content": self.server.text}, "done_reason": "stop"}
        else:
            message = {"role": "assistant", "content": self.server.text}
            answer = {"model": model, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        return self._send(200, answer | self.server.extra)

    def _send(self, status: int, answer: Any) -> None:
        raw = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def inference_server() -> Iterator[InferenceServer]:
    server = InferenceServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.hang.set()
        server.shutdown()
        server.server_close()
