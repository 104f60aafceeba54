"""What is measured, as real processes on free loopback ports in a temporary folder; all of it is gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg

from goldsmith.embedded.postgres import EmbeddedPostgres
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.migrate import upgrade

ROOT = Path(__file__).parent.parent
CONCURRENCY = 8  # jobs at once in either worker; Goldsmith's default for an io worker


class Servers:
    """Postgres and Valkey, shared; the three HTTP servers; workers when asked for."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="goldsmith-bench-"))
        self.folder.chmod(0o711)  # where root's Postgres runs as `nobody`, it must get through to its own folder
        ports = free_ports(5)
        self.postgres = EmbeddedPostgres(self.folder / "postgres", ports[0])
        self.valkey = EmbeddedValkey(self.folder / "valkey", ports[1])
        self.ports = dict(zip(("goldsmith", "plain", "bare"), ports[2:], strict=True))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Returns when everything answers."""
        self.postgres.initialise()
        self._launch("postgres", self.postgres.command(), cwd="/", user=self.postgres.user)
        self._wait("postgres", self.postgres.is_up)
        self.postgres.create_database()
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as conn:
            conn.execute("CREATE DATABASE plain")
        upgrade(self.postgres.url())
        self.valkey.initialise()
        self._launch("valkey", self.valkey.command())
        self._wait("valkey", self.valkey.is_up)
        self._launch("goldsmith", [sys.executable, "-m", "api"])
        for name in ("plain", "bare"):
            self._launch(
                name,
                [sys.executable, "-m", "uvicorn", f"bench.{name}_app:app", f"--port={self.ports[name]}", "--no-access-log"],
            )
        for name, path in {"goldsmith": "/readyz", "plain": "/docs", "bare": "/docs"}.items():
            self._wait(name, lambda name=name, path=path: _answers(f"http://127.0.0.1:{self.ports[name]}{path}"))  # type: ignore[misc]

    @contextmanager
    def worker(self, name: str) -> Iterator[None]:
        """The worker of "goldsmith" or "plain", started now and ended with the block."""
        plain = [
            "celery",
            "--app=bench.plain_app:celery",
            "worker",
            "--pool=threads",
            f"--concurrency={CONCURRENCY}",
            "--loglevel=info",
        ]
        command = {"goldsmith": ["worker", "io"], "plain": plain}[name]
        self._launch(f"{name} worker", [sys.executable, "-m", *command])
        yield
        self._end(f"{name} worker")

    def database(self, name: str) -> str:
        return self.postgres.url(name)

    def broker(self, name: str) -> str:
        return self.valkey.url if name == "goldsmith" else f"{self.valkey.url.removesuffix('/0')}/1"

    def check(self) -> None:
        """Raises when one of the processes has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with exit code {process.returncode}: {self._last_words(name)}")

    def cpu_s(self, name: str) -> float:
        """CPU seconds that the process and its children, ended ones too, have used."""
        found = 0.0
        process = psutil.Process(self.processes[name].pid)
        for one in (process, *process.children(recursive=True)):
            try:
                times = one.cpu_times()
            except psutil.NoSuchProcess:
                continue
            found += times.user + times.system + times.children_user + times.children_system
        return found

    def stop(self) -> None:
        """End every process, the databases last, and remove the folder. The log of a failure is in its message."""
        for name in [name for name in self.processes if name not in ("postgres", "valkey")]:
            self._end(name)
        for name in ("valkey", "postgres"):
            if name in self.processes:
                self._end(name)
        shutil.rmtree(self.folder)

    def _launch(self, name: str, command: list[str], *, cwd: str | Path = ROOT, user: int | None = None) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=cwd,
                user=user,
                group=user,
                env=self._env(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then ends them in order
            )

    def _env(self) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("GOLDSMITH_")}
        env |= {"GOLDSMITH_STATE_DIR": str(self.folder / "state"), "GOLDSMITH_EXTRA_KINDS": "bench.noop.schema"}
        env |= {"GOLDSMITH_DATABASE_URL": self.database("goldsmith"), "GOLDSMITH_PORT": str(self.ports["goldsmith"])}
        env |= {"GOLDSMITH_IO_CONCURRENCY": str(CONCURRENCY)}
        env |= {"BENCH_DATABASE_URL": self.database("plain").replace("postgresql:", "postgresql+psycopg:")}
        if (self.folder / "valkey" / "password").exists():
            env |= {"GOLDSMITH_BROKER_URL": self.broker("goldsmith"), "BENCH_BROKER_URL": self.broker("plain")}
        return env

    def _wait(self, name: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > end:
                raise RuntimeError(f"{name} did not answer within {seconds:.0f} s: {self._last_words(name)}")
            time.sleep(0.1)

    def _last_words(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]

    def _end(self, name: str) -> None:
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return found


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
