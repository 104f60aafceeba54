"""Ollama, the devserver's GPU service and ComfyUI as real HTTP servers on loopback, around one pretended device.

They hold models, the device's free memory follows from what they hold, and they misbehave when told to.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from goldsmith.gpu import Holder, Memory

GB, MIB = 10**9, 2**20
Fault = Literal["slow", "drip", "500", "html", "empty", "wrong", "lies", "drops"]


@dataclass
class Model:
    name: str
    bytes: int
    backend: str = ""
    in_use: int = 0
    digest: str = ""
    on_device: bool = True


@dataclass
class Machine:
    """What is loaded where. `stubborn` bytes belong to a program that nobody can ask."""

    total: int = 24 * GB
    stubborn: int = 0
    ollama: list[Model] = field(default_factory=list)
    gpu_service: list[Model] = field(default_factory=list)
    comfyui: int = 0
    comfyui_jobs: list[list[Any]] = field(default_factory=lambda: [[], []])
    devserver_jobs: int = 0
    diffusers_active: bool = False
    evicting: bool = False
    tags: list[Model] = field(default_factory=list)
    """Of Ollama, beside what is loaded."""
    faults: dict[str, Fault] = field(default_factory=dict)
    """By path."""
    on_unload: Any = None
    """Called with the machine after each unload."""
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path, body, in their order."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def memory(self) -> Memory:
        """What NVML would say."""
        with self.lock:
            ollama = sum(one.bytes for one in self.ollama if one.on_device)
            service = sum(one.bytes for one in self.gpu_service if one.on_device)
            parts = [("ollama", 11, ollama), ("python", 12, service), ("python", 13, self.comfyui), ("Xorg", 14, self.stubborn)]
            holders = tuple(Holder(pid, name, size) for name, pid, size in sorted(parts, key=lambda one: -one[2]) if size)
            return Memory(self.total, self.total - sum(size for _, _, size in parts), holders)

    @property
    def unloads(self) -> list[tuple[str, Any]]:
        """What was asked to go: path and body."""
        return [(path, body) for method, path, body in self.requests if method == "POST"]

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """The wire formats, status and JSON."""
        match path:
            case "/api/ps":
                return 200, {"models": [self._ollama_model(one) for one in self.ollama]}
            case "/api/tags":
                return 200, {"models": [{"name": one.name, "digest": one.digest} for one in (*self.ollama, *self.tags)]}
            case "/api/generate":
                if body != {"model": body["model"], "prompt": "", "keep_alive": 0, "stream": False}:
                    return 400, {"error": "a generation was asked for"}
                self._drop(self.ollama, body["model"], path)
                return 200, {"model": body["model"], "response": "", "done": True, "done_reason": "unload"}
            case "/api/health/vram":
                loaded = [
                    {
                        "backend": one.backend,
                        "model": one.name,
                        "vram_mb": round(one.bytes / MIB, 1),
                        "priority": 2,
                        "in_use": one.in_use,
                        "last_used": 1.0,
                    }
                    for one in self.gpu_service
                ]
                return 200, {"free_mb": 90_000, "loaded_models": loaded, "eviction_in_progress": self.evicting}
            case "/api/diffusers/progress":
                return 200, {"step": 3, "total_steps": 20, "active": self.diffusers_active}
            case "/api/text/unload" | "/api/diffusers/unload":
                there = self._drop(self.gpu_service, body["model_id"], path)
                return (200, {"success": True, "model_id": body["model_id"]}) if there else (404, {"error": "not loaded"})
            case "/api/heartmula/unload" | "/api/stable_audio/unload":
                for one in [one for one in self.gpu_service if one.backend == path.split("/")[2]]:
                    self._drop(self.gpu_service, one.name, path)
                return 200, {"success": True}
            case "/system_stats":
                return 200, {"system": {}, "devices": [{"name": "cuda:0", "torch_vram_total": self.comfyui}]}
            case "/queue":
                return 200, {"queue_running": self.comfyui_jobs[0], "queue_pending": self.comfyui_jobs[1]}
            case "/api/queue-status":
                return 200, {"total": 0, "queue_running": self.devserver_jobs, "queue_pending": 0}
            case "/free":
                self.comfyui = self.comfyui if self.faults.get(path) == "lies" else 0
                return 200, None
        return 404, {"error": "not found"}

    def _ollama_model(self, one: Model) -> dict[str, Any]:
        size = {"size": one.bytes, "size_vram": one.bytes, "digest": one.digest, "expires_at": "2027-01-01T00:00:00Z"}
        return {"name": one.name, "model": one.name} | size

    def _drop(self, models: list[Model], name: str, path: str) -> bool:
        if self.faults.get(path) == "lies":
            return True
        found = [one for one in models if one.name == name]
        for one in found:
            models.remove(one)
        if self.on_unload:
            self.on_unload(self)
        return bool(found)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._reply({})

    def do_POST(self) -> None:
        self._reply(json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}"))

    def _reply(self, body: dict[str, Any]) -> None:
        machine = self.server.machine
        with machine.lock:
            machine.requests.append((self.command, self.path, body or None))
            fault = machine.faults.get(self.path)
            status, answer = (200, None) if fault not in (None, "lies") else machine.answer(self.path, body)
        raw = b"" if answer is None else json.dumps(answer).encode()
        match fault:
            case "500":
                status, raw = 500, b'{"error": "a secret of the prompt"}'
            case "html":
                raw = b"<html>a secret of the prompt</html>"
            case "wrong":
                raw = b'{"models": "a secret of the prompt", "loaded_models": 7, "queue_running": "many", "success": false}'
            case "drops":
                self.close_connection = True
                return
            case "slow":
                self.server.stop.wait(30)
                return
        self.send_response(status)
        self.send_header("Content-Length", str(10**6 if fault == "drip" else len(raw)))
        self.end_headers()
        self.wfile.write(raw)
        while fault == "drip" and not self.server.stop.wait(0.05):
            self.wfile.write(b" ")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, machine: Machine) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.machine = machine
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.stop = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no error of ours."""


@contextmanager
def serving(machine: Machine) -> Iterator[str]:
    """All services at one address: their paths do not meet."""
    server = Server(machine)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.url
    finally:
        server.stop.set()
        server.shutdown()
        server.server_close()
