"""POSTs of JSON to Goldsmith over one connection, with little computing. Standard library only."""

from __future__ import annotations

import http.client
import json
import ssl
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

CONNECT_S, ANSWER_S = 0.5, 10.0
MAX_ANSWER = 16_777_216  # bytes: a verdict on every one of 500 wrong events takes about one million


class Answer(NamedTuple):
    status: int
    reason: str
    is_json: bool
    retry_after: str | None
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Poster:
    """`with poster:` is one connection, made by the first `post`. Redirects are not followed and proxies not asked."""

    def __init__(self, url: str, api_key: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url: must be http://host:port or https://host:port, not {url!r}")
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None  # reads certificates, which takes 20 ms
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, content: bytes) -> Answer:
        """Raises `OSError` or `http.client.HTTPException` when there is no answer."""
        if self._connection is None or self._connection.sock is None:  # not made yet, or ended by the other side
            self._connection = self._connect()
        self._connection.request("POST", self._prefix + path, content, self._headers)
        answer = self._connection.getresponse()
        media_type, retry_after = answer.headers.get("Content-Type", ""), answer.headers.get("Retry-After")
        return Answer(answer.status, answer.reason, "json" in media_type, retry_after, answer.read(MAX_ANSWER))

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is None:
            made = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_S)
        else:
            made = http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_S, context=self._tls)
        made.connect()
        made.sock.settimeout(ANSWER_S)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
