"""Ollama over its HTTP API: models are made of uploaded files, copied, removed, and asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from goldsmith.errors import RetryableError, Unavailable
from goldsmith.student.chat import BUSY, CONNECT_TIMEOUT_S, said_by

CHUNK = 1 << 20
ANSWER_TIMEOUT_S = 900.0
"""A large model is read from disk before its first answer, which takes minutes on a slow disk."""


@dataclass(frozen=True)
class Ollama:
    """Every method raises `RetryableError` when nothing answers or the server is busy, `Unavailable` when it refuses."""

    url: str
    timeout_s: float = ANSWER_TIMEOUT_S

    def tags(self) -> dict[str, str]:
        """The digest of each model, by its name with tag."""
        try:
            return {one["name"]: one["digest"] for one in self._json("GET", "/api/tags").get("models") or []}
        except (KeyError, TypeError):
            raise Unavailable(f"{self.url}/api/tags answered without models[].name and .digest") from None

    def push(self, path: Path, sha256: str, told: Callable[[float], None]) -> bool:
        """Upload a file unless it is there; whether it was sent. `told` hears the share that is."""
        blob = f"/api/blobs/sha256:{sha256}"
        if self._send("HEAD", blob, allow=(404,)).status_code != 404:
            return False
        size = path.stat().st_size

        def chunks() -> Iterator[bytes]:
            sent = 0
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
                    sent += len(chunk)
                    told(sent / size)

        self._send("POST", blob, content=chunks(), headers={"Content-Length": str(size)})
        return True

    def create(self, model: str, how: Mapping[str, Any], told: Callable[[str], None]) -> None:
        """Make `model` of `how`, as `/api/create` takes it; `told` hears each step of it."""
        last = ""
        try:
            with httpx.stream(
                "POST", f"{self.url}/api/create", json={"model": model, **how, "stream": True}, **self._options()
            ) as response:
                if not response.is_success:
                    response.read()
                    self._refused("/api/create", response)
                for line in response.iter_lines():
                    step = json.loads(line) if line.strip() else {}
                    if "error" in step:
                        raise Unavailable(f"{self.url}/api/create failed: {str(step['error'])[:300]}")
                    if step.get("status"):
                        last = step["status"]
                        told(last)
        except httpx.TransportError as error:
            raise self._unreachable("/api/create", error) from error
        if last != "success":
            raise Unavailable(f"{self.url}/api/create ended with {last!r}, not with 'success'")

    def copy(self, source: str, destination: str) -> None:
        self._send("POST", "/api/copy", json={"source": source, "destination": destination})

    def delete(self, model: str) -> None:
        """Remove a name, and what no other name needs. Nothing happens where there is none."""
        self._send("DELETE", "/api/delete", json={"model": model}, allow=(404,))

    def chat(self, model: str, messages: Sequence[Mapping[str, str]], *, limit: int) -> dict[str, Any]:
        """The likeliest answer through the model's own template, of at most `limit` tokens."""
        return self._json("POST", "/api/chat", {**_asked(model, limit), "messages": [dict(turn) for turn in messages]})

    def generate(self, model: str, prompt: str, *, system: str | None = None, raw: bool = False, limit: int) -> dict[str, Any]:
        """The likeliest continuation. `raw`: of this very text, without a template."""
        body = {**_asked(model, limit), "prompt": prompt, "raw": raw}
        return self._json("POST", "/api/generate", body if system is None else {**body, "system": system})

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        response = self._send(method, path, json=body)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unavailable(f"{self.url}{path} answered something that is no JSON object")
        return answer

    def _send(self, method: str, path: str, *, allow: tuple[int, ...] = (), **how: Any) -> httpx.Response:
        try:
            response = httpx.request(method, self.url + path, **how, **self._options())
        except httpx.TransportError as error:
            raise self._unreachable(path, error) from error
        if not response.is_success and response.status_code not in allow:
            self._refused(path, response)
        return response

    def _options(self) -> dict[str, Any]:
        return {"timeout": httpx.Timeout(self.timeout_s, connect=CONNECT_TIMEOUT_S), "trust_env": False}

    def _unreachable(self, path: str, error: httpx.TransportError) -> RetryableError:
        said = str(error) or type(error).__name__
        return RetryableError(
            f"Ollama does not answer at {self.url}{path} ({said}); start it with `ollama serve`, or set OLLAMA_HOST"
        )

    def _refused(self, path: str, response: httpx.Response) -> None:
        text = f"{self.url}{path} answered {response.status_code}: {said_by(response)}"
        raise RetryableError(text) if response.status_code in BUSY or response.status_code == 503 else Unavailable(text)


def _asked(model: str, limit: int) -> dict[str, Any]:
    options = {"temperature": 0, "repeat_penalty": 1.0, "seed": 0, "num_predict": limit}
    return {"model": model, "stream": False, "think": False, "logprobs": True, "options": options}
