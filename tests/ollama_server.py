"""A real HTTP server on loopback that speaks Ollama's API: it keeps what is uploaded, makes models of it, and answers with
llama.cpp from those very files, through the Go template that it was given."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from goldsmith.student import llama_cpp
from goldsmith.student.llama_cpp import LlamaCpp

END = "<|im_end|>"


class OllamaServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.blobs = folder
        self.models: dict[str, dict[str, Any]] = {}
        """What each name is made of, as `/api/create` was told."""
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.tells = {"logprobs", "context"}
        """What older versions do not tell is taken out of here."""
        self.swap: Callable[[str], str] = lambda digest: digest
        """Which blob is loaded in place of another one."""
        self.keep: Callable[[bytes], bytes] = lambda content: content
        """What becomes of an upload on the disk."""
        self.lock = threading.Lock()
        self.loaded: tuple[str, LlamaCpp, ExitStack] | None = None

    def path(self, digest: str) -> Path:
        return self.blobs / digest.replace(":", "-")

    def digest(self, name: str) -> str:
        return hashlib.sha256(json.dumps(self.models[name], sort_keys=True).encode()).hexdigest()

    def tags(self) -> list[dict[str, str]]:
        return [{"name": name, "model": name, "digest": self.digest(name)} for name in self.models]

    def runner(self, name: str) -> LlamaCpp:
        """llama.cpp with the model's files; one at a time is loaded."""
        made = self.models[name]
        digest = self.digest(name)
        if self.loaded and self.loaded[0] == digest:
            return self.loaded[1]
        self.unload()
        stack = ExitStack()
        files = [self.path(self.swap(blob)) for blob in made["files"].values()]
        adapters = [self.path(self.swap(blob)) for blob in made.get("adapters", {}).values()]
        context = int(made.get("parameters", {}).get("num_ctx", 512))
        server = stack.enter_context(llama_cpp.serve(files[0], adapters[0] if adapters else None, context=context))
        self.loaded = (digest, server, stack)
        return server

    def unload(self) -> None:
        if self.loaded:
            self.loaded[2].close()
            self.loaded = None


def go_template(template: str, messages: Sequence[Mapping[str, str]]) -> str:
    """What Go's text/template makes of the actions that chat templates use: range, if, else, end, eq, ne, and, literals."""
    parts = re.split(r'\{\{((?:"(?:[^"\\]|\\.)*"|[^"}]|\}(?!\}))*)\}\}', template)
    tokens = [
        ("action" if number % 2 else "text", part if number % 2 == 0 else part.strip()) for number, part in enumerate(parts)
    ]
    out: list[str] = []

    def value(words: str, scope: dict[str, Any]) -> Any:
        words = words.strip()
        if words.startswith('"'):
            return json.loads(words)
        if call := re.fullmatch(r"(eq|ne|and)\s+(.*)", words, re.DOTALL):
            inner = re.findall(r'\((?:[^()"]|"(?:[^"\\]|\\.)*")*\)|"(?:[^"\\]|\\.)*"|\S+', call[2])
            values = [value(one[1:-1] if one.startswith("(") else one, scope) for one in inner]
            return {"eq": values[0] == values[-1], "ne": values[0] != values[-1], "and": all(values)}[call[1]]
        if words.isdigit():
            return int(words)
        name, _, field = words.partition(".")
        return scope[name] if not field else scope[name][field.lower()]

    def block(at: int, scope: dict[str, Any], write: bool) -> int:
        """Run from `at` to the `end` or `else` that closes this block; returns where that is."""
        while at < len(tokens):
            sort, text = tokens[at]
            if sort == "text":
                out.extend([text] if write else [])
            elif text == "end" or text.startswith("else"):
                return at
            elif loop := re.fullmatch(r"range (\$\w+), (\$\w+) := \.Messages", text):
                start = at
                for number, message in enumerate(messages if write else []):
                    at = block(start + 1, {**scope, loop[1]: number, loop[2]: message}, True)
                if not write or not messages:
                    at = block(start + 1, scope, False)
            elif text.startswith("if "):
                taken = False
                condition = text[3:]
                while True:
                    now = write and not taken and (condition == "" or bool(value(condition, scope)))
                    taken = taken or now
                    at = block(at + 1, scope, now)
                    if tokens[at][1] == "end":
                        break
                    condition = tokens[at][1].removeprefix("else").strip().removeprefix("if ")
            elif write:
                out.append(str(value(text, scope)))
            at += 1
        return at

    block(0, {}, True)
    return "".join(out)


class _Handler(BaseHTTPRequestHandler):
    server: OllamaServer

    def do_HEAD(self) -> None:
        digest = self.path.rpartition("/")[2]
        self.send_response(200 if self.server.path(digest).exists() else 404)
        self.end_headers()

    def do_GET(self) -> None:
        self._send(200, {"models": self.server.tags()})

    def do_DELETE(self) -> None:
        body = self._body()
        found = self.server.models.pop(_full(body["model"]), None)
        self._send(200 if found else 404, {} if found else {"error": f"model '{body['model']}' not found"})

    def do_POST(self) -> None:
        if self.path.startswith("/api/blobs/"):
            return self._blob(self.path.rpartition("/")[2])
        body = self._body()
        with self.server.lock:
            return {
                "/api/create": self._create,
                "/api/copy": self._copy,
                "/api/chat": self._chat,
                "/api/generate": self._generate,
            }[self.path](body)

    def _blob(self, digest: str) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(("POST", self.path, {}))
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            return self._send(400, {"error": "digest mismatch"})
        self.server.path(digest).write_bytes(self.server.keep(content))
        return self._send(201, {})

    def _create(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        steps: list[dict[str, str]] = [{"status": "parsing GGUF"}]
        made = {key: body[key] for key in ("files", "adapters", "template", "parameters") if key in body}
        if "from" in body:
            base = self.server.models.get(_full(body["from"]))
            made = {**(base or {}), **made}
        missing = [
            blob for key in ("files", "adapters") for blob in made.get(key, {}).values() if not self.server.path(blob).exists()
        ]
        if missing or not made.get("files"):
            steps.append({"error": f"invalid model, blobs {missing} are not there, or neither 'from' nor 'files' is"})
        else:
            self.server.models[_full(body["model"])] = made
            steps += [{"status": "writing manifest"}, {"status": "success"}]
        for step in steps:
            self.wfile.write(json.dumps(step).encode() + b"\n")

    def _copy(self, body: dict[str, Any]) -> None:
        if _full(body["source"]) not in self.server.models:
            return self._send(404, {"error": f"model '{body['source']}' not found"})
        self.server.models[_full(body["destination"])] = self.server.models[_full(body["source"])]
        return self._send(200, {})

    def _chat(self, body: dict[str, Any]) -> None:
        made = self.server.models.get(_full(body["model"]))
        if made is None:
            return self._send(404, {"error": f"model '{body['model']}' not found"})
        return self._answer(body, go_template(made["template"], body["messages"]), "chat")

    def _generate(self, body: dict[str, Any]) -> None:
        made = self.server.models.get(_full(body["model"]))
        if made is None:
            return self._send(404, {"error": f"model '{body['model']}' not found"})
        if body.get("keep_alive") == 0:
            self.server.unload()
            return self._send(200, {"model": body["model"], "response": "", "done": True, "done_reason": "unload"})
        if body.get("raw"):
            return self._answer(body, body["prompt"], "generate")
        turns = [{"role": "system", "content": body["system"]}] if body.get("system") else []
        turns.append({"role": "user", "content": body["prompt"]})
        return self._answer(body, go_template(made["template"], turns), "generate")

    def _answer(self, body: dict[str, Any], prompt: str, how: str) -> None:
        try:
            runner = self.server.runner(_full(body["model"]))
        except llama_cpp.LlamaCppFailed as error:
            return self._send(500, {"error": f"llama runner process has terminated: {error.detail}"})
        ids = runner.tokenized(prompt)
        asked = {
            "prompt": ids,
            "n_predict": body["options"]["num_predict"],
            "n_probs": 1,
            "temperature": -1,
            "return_tokens": True,
        }
        done = httpx.post(f"{runner.url}/completion", json=asked, timeout=60).json()
        if "error" in done:
            return self._send(done["error"]["code"], {"error": done["error"]["message"]})
        text, stopped = done["content"], done["stop_type"] == "eos"
        answer: dict[str, Any] = {
            "model": body["model"],
            "done": True,
            "done_reason": "stop" if stopped else "length",
            "prompt_eval_count": len(ids),
            "eval_count": done["tokens_predicted"],
        }
        if body.get("logprobs") and "logprobs" in self.server.tells:
            answer["logprobs"] = [
                {"token": one["token"], "logprob": one["logprob"], "bytes": one["bytes"]}
                for one in done.get("completion_probabilities", [])
            ]
        if how == "chat":
            answer["message"] = {"role": "assistant", "content": text}
        else:
            answer["response"] = text
            if "context" in self.server.tells and not body.get("raw"):
                answer["context"] = runner.tokenized(prompt + text)
        return self._send(200, answer)

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.command, self.path, body))
        return body

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


@contextmanager
def ollama_server(folder: Path) -> Iterator[OllamaServer]:
    server = OllamaServer(folder)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.unload()
        server.shutdown()
        server.server_close()
        shutil.rmtree(folder, ignore_errors=True)
