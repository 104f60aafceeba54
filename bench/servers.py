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
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
import redis

from bench.apps import APPS, CONCURRENCY
from goldsmith.embedded.postgres import EmbeddedPostgres
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.migrate import upgrade

ROOT = Path(__file__).parent.parent

# As Goldsmith leaves them, half a second apart, all of today and more than an hour old.
FINISHED_JOBS = """
WITH new AS (
    INSERT INTO jobs (id, kind, config, status, queue, progress, message, result, attempt, seq, timeout, worker,
                      created_at, published_at, heartbeat_at, started_at, completed_at)
    SELECT uuidv7(at - now()), 'noop', '{"kind": "noop"}', 'completed', 'io', 100, 'Completed', '{}', 1, 3, 3600, 'io@bench:1',
           at, NULL, at + interval '10 ms', at + interval '10 ms', at + interval '20 ms'
    FROM generate_series(%(count)s, 1, -1) AS n, LATERAL (SELECT now() - interval '2 hours' - n * interval '0.5 s' AS at)
    RETURNING *
)
INSERT INTO job_events (job_id, seq, attempt, event, data, created_at)
SELECT id, seq_of, attempt_of, event, data, at FROM new, LATERAL (VALUES
    (1, 0, 'submitted', jsonb_build_object('status', 'queued'), created_at),
    (2, 1, 'started', jsonb_build_object('worker', worker, 'gpu_id', gpu_id), started_at),
    (3, 1, 'completed', jsonb_build_object('message', message, 'failures', 0, 'run_at', run_at, 'seconds', 0.01), completed_at)
) AS event (seq_of, attempt_of, event, data, at)
"""


class Servers:
    """Postgres and Valkey, shared; an HTTP server for each app; workers when asked for."""

    def __init__(self, apps: Sequence[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="goldsmith-bench-"))
        self.folder.chmod(0o711)  # where root's Postgres runs as `nobody`, it must get through to its own folder
        ports = free_ports(2 + len(apps))
        self.postgres = EmbeddedPostgres(self.folder / "postgres", ports[0])
        self.valkey = EmbeddedValkey(self.folder / "valkey", ports[1])
        self.ports = dict(zip(apps, ports[2:], strict=True))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *, finished: int) -> None:
        """Returns when everything answers; the full table holds so many finished jobs."""
        self.postgres.initialise()
        self._launch("postgres", self.postgres.command(), cwd="/", user=self.postgres.user)
        self.valkey.initialise()
        self._launch("valkey", self.valkey.command())
        self._wait("postgres", self.postgres.is_up)
        self._wait("valkey", self.valkey.is_up)
        self.postgres.create_database()
        upgrade(self.postgres.url())
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as conn:
            for database in {APPS[name].database for name in self.ports} - {"goldsmith"}:
                migrated = "TEMPLATE goldsmith" if database in ("filled", "raw") else ""
                conn.execute(f"CREATE DATABASE {database} {migrated}")
        if "full" in self.ports:
            with psycopg.connect(self.database("full"), autocommit=True) as conn:
                conn.execute(FINISHED_JOBS, {"count": finished})
                conn.execute("VACUUM (ANALYZE)")
                conn.execute("CHECKPOINT")
        for name in self.ports:
            self._launch_api(name)
        for name in self.ports:
            self._wait_for_api(name)

    def kill(self, name: str) -> None:
        """Nobody answers there until `restart`."""
        self._kill(name)

    def restart(self, name: str) -> None:
        """A fresh HTTP server, which has grown to nothing yet."""
        if name in self.processes:
            self._kill(name)
        self._launch_api(name)
        self._wait_for_api(name)

    @contextmanager
    def worker(self, name: str) -> Iterator[None]:
        """An app's worker, started now and killed with the block: by then its jobs have ended, and nothing of it is used again."""
        self._launch(f"{name} worker", [sys.executable, *APPS[name].worker], env=self._env(name))
        yield
        self._kill(f"{name} worker")

    def database(self, name: str) -> str:
        return self.postgres.url(APPS[name].database)

    def empty(self, name: str) -> None:
        """Forget the jobs of earlier rounds, in the table and in the broker."""
        with psycopg.connect(self.database(name), autocommit=True) as conn:
            conn.execute(APPS[name].empty)
        with closing(redis.Redis.from_url(self._broker(name))) as broker:
            broker.flushdb()

    def check(self) -> None:
        """Raises when one of the processes has ended."""
        for name, process in list(self.processes.items()):
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

    def rss_mb(self, name: str) -> float:
        return float(psutil.Process(self.processes[name].pid).memory_info().rss) / 1e6

    def stop(self) -> None:
        """End every process, Postgres last, and remove the folder. The log of a failure is in its message."""
        for name in sorted(self.processes, key=lambda name: name == "postgres"):
            self._kill(name)
        shutil.rmtree(self.folder)

    def _launch(
        self,
        name: str,
        command: list[str],
        *,
        cwd: str | Path = ROOT,
        user: int | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=cwd,
                user=user,
                group=user,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then ends them in order
            )

    def _launch_api(self, name: str) -> None:
        command = [part.format(port=self.ports[name]) for part in APPS[name].api]
        self._launch(name, [sys.executable, *command], env=self._env(name))

    def _wait_for_api(self, name: str) -> None:
        self._wait(name, lambda: _answers(f"http://127.0.0.1:{self.ports[name]}{APPS[name].ready}"))

    def _broker(self, name: str) -> str:
        return f"{self.valkey.url.removesuffix('/0')}/{APPS[name].broker}"

    def _env(self, name: str) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("GOLDSMITH_")}
        env |= {"GOLDSMITH_STATE_DIR": str(self.folder / f"state-{name}"), "GOLDSMITH_EXTRA_KINDS": "bench.noop.schema"}
        env |= {"GOLDSMITH_DATABASE_URL": self.database(name), "GOLDSMITH_BROKER_URL": self._broker(name)}
        env |= {"GOLDSMITH_PORT": str(self.ports[name]), "GOLDSMITH_IO_CONCURRENCY": str(CONCURRENCY)}
        env |= {"GOLDSMITH_LEASE_S": "600"}  # rows that a line claims by hand have no heartbeat, and a busy machine is slow
        return env | {"BENCH_DATABASE_URL": self.database(name), "BENCH_BROKER_URL": self._broker(name)}

    def _wait(self, name: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > end:
                raise RuntimeError(f"{name} did not answer within {seconds:.0f} s: {self._last_words(name)}")
            time.sleep(0.1)

    def _last_words(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]

    def _kill(self, name: str) -> None:
        """At once: nothing that it holds is read again. Postgres ends its own processes, and no others lead a session."""
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT) if name == "postgres" else os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


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
