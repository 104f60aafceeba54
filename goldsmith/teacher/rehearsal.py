"""The rehearsal teacher: a server on loopback that speaks the Anthropic Messages wire format and applies written rules.

    python -m goldsmith.teacher.rehearsal --port 17807

What it writes is no model's work; the name of its model, its log, a header of every response and every dataset that came
from it say REHEARSAL. Token counts are bytes over four. Not covered: streaming, tools, images, batches, caching.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from goldsmith.teacher import transform

LABEL = "REHEARSAL"
MODELS = ("rehearsal-1",)
MAX_BODY = 4_000_000

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
    "drop",
    "slow",
)


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RehearsalServer:
    """`with RehearsalServer() as server: … server.url`. Port 0 takes a free one."""

    def __init__(self, port: int = 0) -> None:
        self.requests: deque[dict[str, Any]] = deque(maxlen=1000)
        """The newest bodies of `POST /v1/messages`, for tests."""
        self._misbehave: deque[str] = deque()
        self.waiting = False
        """A request that was told to be slow has come in."""
        self._let_go = threading.Event()
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.teacher = self
        self.url = f"http://127.0.0.1:{self._http.server_port}"

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
    request_queue_size = 128  # 64 callers may connect at once; the default of 5 would drop some
    teacher: RehearsalServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "goldsmith-rehearsal/1"
    server: _Http
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/healthz":
            return self._reply(200, {"status": "ok", "label": LABEL, "models": list(MODELS)})
        return self._error(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        try:
            body = self._body()
            how = self.server.teacher.misbehaviour(self.headers.get("x-rehearsal-misbehave"))
            if how == "slow":
                self.server.teacher.wait()
            if self.path == "/v1/messages/count_tokens":
                self._reply(200, {"input_tokens": _tokens(_prompt(body), str(body.get("system", "")))})
            elif self.path == "/v1/messages":
                self.server.teacher.requests.append(body)
                self._message(body, how)
            else:
                raise Refused(404, f"no such path: {self.path}")
        except Refused as refused:
            self._error(refused.status, refused.message)

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("content-length") or "0"
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            raise Refused(413, f"content-length {length}: 0 to {MAX_BODY} bytes")
        raw = self.rfile.read(int(length))
        if not (
            self.headers.get("authorization") or self.headers.get("x-api-key")
        ):  # SDK 2 sends the first, older ones the second
            raise Refused(401, "a key is required: Authorization or x-api-key")
        if not self.headers.get("anthropic-version"):
            raise Refused(400, "anthropic-version: header is required")
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise Refused(400, f"the body is no JSON: {error}") from error
        if not isinstance(body, dict):
            raise Refused(400, "the body is no JSON object")
        if body.get("model") not in MODELS:
            raise Refused(404, f"model: {body.get('model')}")
        return body

    def _message(self, body: Mapping[str, Any], how: str | None) -> None:
        prompt = _prompt(body)
        max_tokens = body.get("max_tokens")
        if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
            raise Refused(400, f"max_tokens: {max_tokens!r} is no integer of at least 1")
        temperature = body.get("temperature", 1)
        if not isinstance(temperature, int | float) or not 0 <= temperature <= 1:
            raise Refused(400, f"temperature: {temperature!r} is not from 0 to 1")
        text = transform.rules(prompt) if _wants_rules(body) else transform.answer(prompt)
        if how in ("401", "403", "429", "500", "529"):
            return self._error(int(how), "asked for by the test")
        if how == "drop":
            self.close_connection = True
            return None
        if how == "html":
            return self._send(200, "text/html", b"<html><body>Sign in to the network</body></html>")
        if how == "other_shape":
            return self._reply(200, {"choices": [{"message": {"content": text}}]})
        content = [{"type": "text", "text": "" if how == "empty" else text}]
        if how == "thinking":
            content.insert(0, {"type": "thinking", "thinking": "…", "signature": "s"})
        stop_reason = "end_turn"
        if _tokens(text) > max_tokens:
            stop_reason = "max_tokens"
            content[-1]["text"] = text.encode()[: max_tokens * 4].decode("utf-8", "ignore")
        if how == "refusal":
            stop_reason, content = "refusal", []
        message = {
            "id": f"msg_{uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": _tokens(prompt, str(body.get("system", ""))),
                "output_tokens": min(_tokens(text), max_tokens),
            },
        }
        raw = json.dumps(message, ensure_ascii=False).encode()
        return self._send(200, "application/json", raw[: len(raw) // 2] if how == "half_json" else raw)

    def _error(self, status: int, message: str) -> None:
        self._reply(status, {"type": "error", "error": {"type": _ERRORS[status], "message": message}})

    def _reply(self, status: int, body: Mapping[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(body, ensure_ascii=False).encode())

    def _send(self, status: int, content_type: str, raw: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(raw)))
        self.send_header("request-id", f"req_rehearsal_{uuid4().hex[:16]}")
        self.send_header("x-rehearsal", LABEL)
        if status in (429, 500, 529):
            self.send_header("retry-after-ms", "20")
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        sys.stderr.write(f"{LABEL} {format % args}\n")


def _prompt(body: Mapping[str, Any]) -> str:
    """The text of the last turn, which must be the user's."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages: at least one message is required")
    last = messages[-1]
    if not isinstance(last, dict) or last.get("role") != "user":
        raise Refused(400, f"messages.{len(messages) - 1}: the last message must have the role user")
    content = last.get("content")
    if isinstance(content, list):
        content = "".join(
            str(block.get("text", "")) for block in content if isinstance(block, dict) and block.get("type") == "text"
        )
    if not isinstance(content, str) or not content.strip():
        raise Refused(400, f"messages.{len(messages) - 1}: text content must not be empty")
    return content


def _wants_rules(body: Mapping[str, Any]) -> bool:
    wanted = (body.get("output_config") or {}).get("format")
    if wanted is None:
        return False
    properties = (wanted.get("schema") or {}).get("properties") or {}
    if wanted.get("type") != "json_schema" or set(properties) != {"rules"}:
        raise Refused(400, "output_config.format: this rehearsal fills the schema of one property `rules` only")
    return True


def _tokens(*texts: str) -> int:
    return sum(math.ceil(len(text.encode()) / 4) for text in texts)


def _known(how: str) -> str:
    if how not in MISBEHAVIOURS:
        raise Refused(400, f"x-rehearsal-misbehave {how!r}: one of {', '.join(MISBEHAVIOURS)}")
    return how


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m goldsmith.teacher.rehearsal", description="The rehearsal teacher, on loopback."
    )
    parser.add_argument("--port", type=int, default=17807, help="0 takes a free one (default: 17807)")
    try:
        server = RehearsalServer(parser.parse_args().port)
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
