"""A stand-in of the devserver: puts prompts together in a way of its own and posts them to a model server that keeps the bodies.

    python -m tests.devserver.stand_in     captures `tests/data/stand_in/requests` anew

It runs what Goldsmith only reads, and fills by replacing: nothing of Goldsmith's is used here.
"""

from __future__ import annotations

import json
import runpy
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data" / "stand_in"
CASES: dict[str, dict[str, Any]] = {
    "wiki_de": {"config_id": "kachelöfen", "language": "de", "text": "Ein Bär heizt 🔥 den Ofen\n mit „Schnee“ "},
    "wiki_en": {"config_id": "kachelöfen", "language": "en", "text": "A stove that snores"},
    "plain_en": {"config_id": "wire", "language": "en", "text": "the word {{CONTEXT}} as a knot, \\n and all"},
    "plain_uk": {"config_id": "wire", "language": "uk", "text": "Лелека з дроту"},
}


class _ModelServer(BaseHTTPRequestHandler):
    server: _Http

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        answer = b'{"response": "ok", "done": true}'
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Http(HTTPServer):
    bodies: list[bytes]


@contextmanager
def model_server() -> Iterator[tuple[str, list[bytes]]]:
    """Its URL, and every body that was posted to it."""
    server = _Http(("127.0.0.1", 0), _ModelServer)
    server.bodies = []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.bodies
    finally:
        server.shutdown()
        server.server_close()


def intercept(model_url: str, config_id: str, language: str, text: str, root: Path = DATA / "devserver") -> None:
    """What the devserver does with a child's text: put the prompt together, ask the model."""
    schemas = root / "schemas"
    chunk = json.loads((schemas / "chunks" / "manipulate.json").read_text())
    config = json.loads((schemas / "configs" / "interception" / f"{config_id}.json").read_text())
    task = runpy.run_path(str(schemas / "engine" / "instruction_selector.py"))["INSTRUCTION_TYPES"]["transformation"]["default"]
    head, foot = chunk["template"].split("{{INPUT_TEXT}}")
    before, after = head.replace("{{TASK_INSTRUCTION}}", task).split("{{CONTEXT}}")
    prompt = before + config["context"][language] + after + text + foot
    if config["meta"]["wikipedia"]:
        prompt += runpy.run_path(str(schemas / "engine" / "wikipedia_prompt_helper.py"))["get_wikipedia_instructions"]()
    says = config["parameters"]
    body = {
        "model": "stand-in:1b",
        "prompt": prompt,
        "stream": False,
        "keep_alive": "10m",
        "options": {"temperature": says["temperature"], "num_predict": says["max_tokens"]},
    }
    request = urllib.request.Request(
        f"{model_url}/api/generate", json.dumps(body).encode(), {"content-type": "application/json"}, method="POST"
    )
    urllib.request.urlopen(request).close()


def capture() -> dict[str, bytes]:
    with model_server() as (url, bodies):
        for case in CASES.values():
            intercept(url, **case)
        return dict(zip(CASES, bodies, strict=True))


if __name__ == "__main__":
    for name, body in capture().items():
        (DATA / "requests" / f"{name}.json").write_bytes(body)
