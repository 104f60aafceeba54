"""The rehearsal teacher: a server on loopback that speaks the Anthropic Messages wire format and applies written rules.

    python -m goldsmith.teacher.rehearsal --port 17807

What it writes is no model's work; the name of its model, its log, a header of every response and every dataset that came
from it say REHEARSAL. Token counts are bytes over four; it keeps a prompt cache, takes batches, and `GET /bill` says what all
of it would have cost. Not covered: streaming, tools, images.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from goldsmith.teacher.rehearsal_batches import BatchBook
from goldsmith.teacher.rehearsal_messages import MODELS, Dropped, Meter, Refused, check, compose, count, prompt_of, system_of

LABEL = "REHEARSAL"
MAX_BODY, MAX_BATCH = 4_000_000, 256_000_000
BATCHES = "/v1/messages/batches"

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
MISBEHAVIOURS = (
    "401",
    "403",
    "429",
    "500",
    "529",
    "html",
    "half_json",
    "empty",
    "refusal",
    "thinking",
    "other_shape",
    "huge",
    "drop",
    "slow",
)


class RehearsalServer:
    """`with RehearsalServer() as server: … server.url`. Port 0 takes a free one. A batch takes at least `batch_s` seconds."""

    models: Collection[str] = MODELS
    logs = True

    def __init__(self, port: int = 0, *, batch_s: float = 2.0) -> None:
        self.requests: deque[dict[str, Any]] = deque(maxlen=1000)
        """The newest bodies of `POST /v1/messages`, for tests."""
        self.meter = Meter()
        self._misbehave: deque[str] = deque()
        self.waiting = False
        """A request that was told to be slow has come in."""
        self._let_go = threading.Event()
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.teacher = self
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.batches = BatchBook(self.meter, batch_s, self.url, self.models)

    def fail_next(self, *how: str) -> None:
        """The next requests, one each, are answered so: see `MISBEHAVIOURS`. `slow` waits for `let_go`."""
        for one in how:
            _known(one)
        self._misbehave.extend(how)

    def let_go(self) -> None:
        """Answer what is waiting, and what comes to wait."""
        self._let_go.set()

    def wait(self) -> None:
        self.waiting = True
        self._let_go.wait(60)

    def misbehaviour(self, header: str | None) -> str | None:
        try:
            return self._misbehave.popleft()
        except IndexError:
            return _known(header) if header else None

    def admit(self, path: str) -> dict[str, str]:
        """Before a request is read: extra headers for its response; raises `Refused` to turn it away."""
        return {}

    def report(self) -> dict[str, Any]:
        """What `GET /bill` says."""
        return self.meter.bill()

    def serve_forever(self) -> None:
        self._http.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        self._let_go.set()
        self._http.server_close()

    def __enter__(self) -> RehearsalServer:
        threading.Thread(target=self.serve_forever, name="rehearsal", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self.close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # many callers may connect at once; the default of 5 would drop some
    teacher: RehearsalServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a caller that is gone is no error here
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "goldsmith-rehearsal/1"
    server: _Http
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._headers: Mapping[str, str] = {}
        try:
            self._get(self.server.teacher)
        except Refused as refused:
            self._headers = {**self._headers, **refused.headers}
            self._error(refused.status, refused.message)
        except Dropped:
            self.close_connection = True

    def _get(self, teacher: RehearsalServer) -> None:
        url = urlsplit(self.path)
        if url.path == "/healthz":
            return self._reply(200, {"status": "ok", "label": LABEL, "models": list(teacher.models)})
        if url.path == "/bill":
            return self._reply(200, teacher.report())
        if not url.path.startswith(BATCHES):
            raise Refused(404, f"no such path: {self.path}")
        self._authorised()
        self._headers = teacher.admit(url.path)
        batch_id, _, rest = url.path.removeprefix(BATCHES).strip("/").partition("/")
        if not batch_id:
            query = parse_qs(url.query)
            limit = query.get("limit", ["20"])[0]
            if not limit.isdecimal() or not 1 <= int(limit) <= 1000:
                raise Refused(400, f"limit: {limit} is not from 1 to 1000")
            return self._reply(200, teacher.batches.list(int(limit), query.get("after_id", [None])[0]))
        if not rest:
            return self._reply(200, teacher.batches.get(batch_id))
        if rest == "results":
            return self._stream(teacher.batches.results(batch_id))
        raise Refused(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        self._headers = {}
        try:
            self._post(self.server.teacher)
        except Refused as refused:
            self._headers = {**self._headers, **refused.headers}
            self._error(refused.status, refused.message)
        except Dropped:
            self.close_connection = True

    def _post(self, teacher: RehearsalServer) -> None:
        path = urlsplit(self.path).path
        body = self._body(MAX_BATCH if path == BATCHES else MAX_BODY)
        version = self.headers["anthropic-version"]
        if path == "/v1/messages":
            how = teacher.misbehaviour(self.headers.get("x-rehearsal-misbehave"))
            if how == "slow":
                teacher.wait()
            self._headers = teacher.admit(path)
            teacher.requests.append(body)
            check(body, version, teacher.models)
            self._message(body, how)
        elif path == "/v1/messages/count_tokens":
            check({**body, "max_tokens": 0}, version, teacher.models)
            self._reply(200, {"input_tokens": count(prompt_of(body), system_of(body))})
        elif path == BATCHES:
            self._headers = teacher.admit(path)
            self._reply(200, teacher.batches.create(body, version))
        elif path.startswith(f"{BATCHES}/") and path.endswith("/cancel"):
            self._reply(200, teacher.batches.cancel(path.removeprefix(f"{BATCHES}/").removesuffix("/cancel")))
        else:
            raise Refused(404, f"no such path: {self.path}")

    def _body(self, most: int) -> dict[str, Any]:
        length = self.headers.get("content-length") or "0"
        if not length.isdecimal() or int(length) > most:
            self.close_connection = True
            raise Refused(413, f"content-length {length}: 0 to {most} bytes")
        raw = self.rfile.read(int(length))
        self._authorised()
        try:
            body = json.loads(raw or b"{}")
        except ValueError as error:
            raise Refused(400, f"the body is no JSON: {error}") from error
        if not isinstance(body, dict):
            raise Refused(400, "the body is no JSON object")
        return body

    def _authorised(self) -> None:
        if not (
            self.headers.get("authorization") or self.headers.get("x-api-key")
        ):  # SDK 2 sends the first, older ones the second
            raise Refused(401, "a key is required: Authorization or x-api-key")
        if not self.headers.get("anthropic-version"):
            raise Refused(400, "anthropic-version: header is required")

    def _message(self, body: Mapping[str, Any], how: str | None) -> None:
        if how in ("401", "403", "429", "500", "529"):
            return self._error(int(how), "asked for by the test")
        if how == "html":
            return self._send(200, "text/html", b"<html><body>Sign in to the network</body></html>")
        meter = self.server.teacher.meter
        usage, name = meter.input(body)
        message = compose(body, usage, how)
        meter.remember(name)
        meter.charge(body["model"], message["usage"])
        if how == "drop":
            raise Dropped
        if how == "other_shape":
            return self._reply(200, {"choices": [{"message": {"content": message["content"]}}]})
        raw = json.dumps(message, ensure_ascii=False).encode()
        return self._send(200, "application/json", raw[: len(raw) // 2] if how == "half_json" else raw)

    def _error(self, status: int, message: str) -> None:
        self._reply(status, {"type": "error", "error": {"type": _ERRORS[status], "message": message}})

    def _reply(self, status: int, body: Mapping[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(body, ensure_ascii=False).encode())

    def _send(self, status: int, content_type: str, raw: bytes) -> None:
        self._start(status, content_type)
        self.send_header("content-length", str(len(raw)))
        if status in (429, 500, 529) and "retry-after" not in self._headers:
            self.send_header("retry-after-ms", "20")
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, lines: Iterator[bytes]) -> None:
        self._start(200, "application/binary")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for line in lines:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def _start(self, status: int, content_type: str) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("request-id", f"req_rehearsal_{uuid4().hex[:16]}")
        self.send_header("x-rehearsal", LABEL)
        for name, value in self._headers.items():
            self.send_header(name, value)

    def log_message(self, format: str, *args: Any) -> None:
        if self.server.teacher.logs:
            sys.stderr.write(f"{LABEL} {format % args}\n")


def _known(how: str) -> str:
    if how not in MISBEHAVIOURS:
        raise Refused(400, f"x-rehearsal-misbehave {how!r}: one of {', '.join(MISBEHAVIOURS)}")
    return how


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m goldsmith.teacher.rehearsal", description="The rehearsal teacher, on loopback."
    )
    parser.add_argument("--port", type=int, default=17807, help="0 takes a free one (default: 17807)")
    parser.add_argument("--batch-s", type=float, default=2.0, help="seconds that a batch takes at least (default: 2)")
    arguments = parser.parse_args()
    try:
        server = RehearsalServer(arguments.port, batch_s=arguments.batch_s)
    except OSError as error:
        parser.exit(1, f"cannot listen: {error}; choose another --port\n")
    sys.stderr.write(f"*** {LABEL} *** no model answers here: written rules, on {server.url}\n")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


if __name__ == "__main__":
    main()
