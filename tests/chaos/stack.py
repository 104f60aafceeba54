"""The real processes of a stack, which the chaos kills, stops and starts again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from goldsmith.embedded.postgres import EmbeddedPostgres
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.migrate import upgrade
from tests.chaos.effects import LOG
from tests.conftest import free_port, wait_until

LEASE_S, GRACE_S = 4.0, 2.0
WORKERS = {"io-1": "io", "io-2": "io", "cpu-1": "cpu", "gpu-1": "gpu", "gpu-2": "gpu"}
EXTRA_KINDS = "tests.chaos.kinds.inline.schema,tests.chaos.kinds.isolated.schema,tests.chaos.kinds.device.schema"
DEVICE = "the-one-device"


@dataclass
class Member:
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    user: int | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Stack:
    """Postgres, Valkey, API, two io, one cpu and two gpu workers on one pretended device, beat; all in `folder`."""

    def __init__(self, folder: Path, *, workers: dict[str, str] = WORKERS, lease_s: float = LEASE_S) -> None:
        self.folder = folder
        self.lease_s = lease_s
        self.postgres = EmbeddedPostgres(folder / "postgres", free_port())
        self.valkey = EmbeddedValkey(folder / "valkey", free_port())
        self.api_port = free_port()
        self.effects = folder / "effects.jsonl"
        self.members: dict[str, Member] = {}
        self.workers = workers
        (folder / "logs").mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "GOLDSMITH_STATE_DIR": str(self.folder),
            "GOLDSMITH_DATABASE_URL": self.postgres.url(),
            "GOLDSMITH_BROKER_URL": self.valkey.url,
            "GOLDSMITH_PORT": str(self.api_port),
            "GOLDSMITH_LEASE_S": str(self.lease_s),
            "GOLDSMITH_RESCUE_EVERY_S": "0.5",
            "GOLDSMITH_GRACE_S": str(GRACE_S),
            "GOLDSMITH_GPU_ID": DEVICE,
            "GOLDSMITH_EXTRA_KINDS": EXTRA_KINDS,
            "GOLDSMITH_MAX_WAITING": "1000000",
            LOG: str(self.effects),
        }

    def start(self) -> None:
        self.postgres.initialise()
        self.valkey.initialise()
        # fsync guards against a power cut, which no fault here is; without it the disk is not what is measured.
        self.members["postgres"] = Member([*self.postgres.command(), "-c", "fsync=off"], user=self.postgres.user)
        self.members["valkey"] = Member(self.valkey.command())
        self.launch("postgres")
        self.launch("valkey")
        wait_until(self.postgres.is_up, "the start of Postgres")
        self.postgres.create_database()
        upgrade(self.postgres.url())
        self.members["api"] = Member([sys.executable, "-m", "api"])
        self.members["beat"] = Member([sys.executable, "-m", "worker", "beat"])
        for name, queue in self.workers.items():
            self.members[name] = Member([sys.executable, "-m", "worker", queue])
        for name in ("api", "beat", *self.workers):
            self.launch(name)
        wait_until(self.ready, "the start of the API")

    def launch(self, name: str) -> None:
        member = self.members[name]
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            member.process = subprocess.Popen(
                member.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self.environment() | member.env,
                cwd="/" if name == "postgres" else None,
                user=member.user,
                group=member.user,
            )

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self, name: str) -> int:
        """SIGKILL; returns the pid that was killed."""
        member = self.members[name]
        pid = member.pid
        os.kill(pid, signal.SIGKILL)
        assert member.process is not None
        member.process.wait()
        return pid

    def restart_postgres(self) -> None:
        """After a kill -9 the old backends need a moment to notice; until then a new server refuses to start."""

        def started() -> bool:
            if not self.members["postgres"].alive:
                self.launch("postgres")
            time.sleep(0.2)
            return self.postgres.is_up()

        wait_until(started, "the restart of Postgres")

    def runs(self, name: str) -> list[psutil.Process]:
        """The processes that do a run's work below this worker: children of its wardens."""
        try:
            wardens = psutil.Process(self.members[name].pid).children()
            return [run for warden in wardens for run in warden.children()]
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        for name in reversed(self.members):
            member = self.members[name]
            if member.process is None:
                continue
            if member.alive:
                os.kill(member.pid, signal.SIGCONT)
                member.process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
            try:
                member.process.wait(15)
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()


@contextmanager
def running(folder: Path, **more: object) -> Iterator[Stack]:
    stack = Stack(folder, **more)  # type: ignore[arg-type]
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
