from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.settings import get_settings
from tests.conftest import free_port, wait_until

ROOT = Path(__file__).parents[2]
HEALTH = ROOT / "docker" / "health.py"


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, HEALTH, *arguments], capture_output=True, text=True, cwd=ROOT)


def test_a_server_that_answers_is_healthy(port: int):
    assert check("http", str(port), "/readyz").returncode == 0


def test_a_server_that_is_not_ready_is_not_healthy(port: int):
    done = check("http", str(port), "/other")
    assert done.returncode == 1
    assert "unhealthy: HTTP Error 503" in done.stderr


def test_nobody_listening_is_not_healthy():
    assert check("http", str(free_port()), "/readyz").returncode == 1


@pytest.fixture
def worker(
    database_url: str, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[psutil.Process]:
    """A real io worker; the health check sees no other process, as in a container."""
    monkeypatch.setenv("GOLDSMITH_DATABASE_URL", database_url)
    monkeypatch.setenv("GOLDSMITH_BROKER_URL", valkey.url)
    monkeypatch.setenv("GOLDSMITH_STATE_DIR", str(tmp_path / "state"))
    get_settings.cache_clear()
    log = (tmp_path / "log").open("wb")
    process = psutil.Popen([sys.executable, "-m", "worker", "io"], stdout=log, stderr=log, cwd=ROOT, env=os.environ.copy())
    every = psutil.process_iter
    monkeypatch.setattr(psutil, "process_iter", lambda wanted: (one for one in every(wanted) if one.pid == process.pid))
    wait_until(lambda: b" ready." in (tmp_path / "log").read_bytes(), "the start of the worker")
    yield process
    if process.is_running():
        process.kill()
        process.wait(120)
    log.close()
    get_settings.cache_clear()


def test_a_worker_that_answers_over_the_broker_is_healthy_and_a_stopped_one_is_not(worker: psutil.Process):
    health = runpy.run_path(str(HEALTH))
    health["worker"]()
    worker.suspend()
    with pytest.raises(RuntimeError, match="does not answer over the broker"):
        health["worker"]()
    worker.kill()
    worker.wait(120)
    with pytest.raises(RuntimeError, match="no worker runs"):
        health["worker"]()
