"""A real Postgres and a real Valkey for every test run, the schema built by the migrations."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
from psycopg.types.json import Jsonb

if sys.dont_write_bytecode:
    # As images often want it. But without, every process that tests start compiles Goldsmith anew, 0.4 s of a core each,
    # and every process of xdist rewrites the asserts of all tests anew, 12 s.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Nothing here speaks TLS to the world; reading the usual 150 authorities takes every new client of httpx 30 ms of a core.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "data" / "no_authority.pem")
if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each of them: torch's threads would wait for each other, spinning
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["GOLDSMITH_EXTRA_KINDS"] = "tests.probe.isolated.schema,tests.probe.inline.schema"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script: what tests start would ignore it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)

from goldsmith.db import Connection, Database, connect
from goldsmith.embedded.postgres import EmbeddedPostgres
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.migrate import upgrade
from tests.databases import Databases

LONGEST = (  # files that take half a minute or more: begun last, they would leave the other processes without work
    "tests/cli/test_cli_e2e.py",
    "tests/chaos/test_promises.py",
    "tests/chaos/test_chaos.py",
    "tests/api/test_openapi_fuzz.py",
    "tests/kinds/export/test_export.py",
    "tests/kinds/train/test_smollm2.py",
    "tests/kinds/gold/test_gold_batches.py",
    "tests/kinds/train/test_survival.py",
    "tests/kinds/train/test_epochs.py",
    "tests/kinds/train/test_objectives.py",
    "tests/kinds/deploy/test_deploy.py",
    "tests/worker/test_supervisor.py",
    "tests/worker/test_kill_gold.py",
    "tests/test_estimates.py",
    "tests/api/test_serve.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


def pytest_collection_finish() -> None:
    gc.freeze()  # the million objects of what was imported stay: a full collection no longer walks them, 1 s each


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """As long as a busy machine may need: it costs nothing where all goes well. What promises a time measures it itself."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.05)


def ends_with_us(number: signal.Signals) -> Callable[[], None] | None:
    """For `preexec_fn`: the child gets the signal when this process dies, however it dies. Linux alone can do this."""
    if sys.platform != "linux":
        return None
    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_parent_death_signal, number)


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A test that sets up a process's log would leave it to the next one, with a stream that is closed by then."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    lines = structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**lines)
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="goldsmith-pg-"))
    server = EmbeddedPostgres(folder, free_port())
    server.initialise()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            # a client that goes away in its handshake would hold up DROP DATABASE for the default minute
            [*server.command(), "-c", "fsync=off", "-c", "authentication_timeout=5s"],
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            preexec_fn=ends_with_us(signal.SIGINT),
            user=server.user,
            group=server.user,
        )
    try:
        wait_until(server.is_up, "the start of Postgres")
        server.create_database()
        upgrade(server.url())
        yield server
    finally:
        process.send_signal(2)
        process.wait(120)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedPostgres) -> Databases:
    return Databases(postgres)


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    folder = Path(tempfile.mkdtemp(prefix="goldsmith-vk-"))
    server = EmbeddedValkey(folder, free_port())
    server.initialise()
    process = subprocess.Popen(
        server.command(), stdout=subprocess.DEVNULL, start_new_session=True, preexec_fn=ends_with_us(signal.SIGTERM)
    )
    try:
        wait_until(server.is_up, "the start of Valkey")
        yield server
    finally:
        process.terminate()
        process.wait(120)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        yield url


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection]:
    with connect(database_url) as connection:
        yield connection


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url).open()
    yield database
    database.close()


@pytest.fixture
def job_factory(conn: Connection) -> Callable[..., UUID]:
    """Write a job's row directly: `job_factory(kind="train", status="running", attempt=2)`."""

    def make(
        kind: str = "noop", config: dict[str, Any] | None = None, status: str = "running", attempt: int = 1, **more: Any
    ) -> UUID:
        row: dict[str, Any] = {"kind": kind, "config": Jsonb(config or {"kind": kind}), "status": status, "attempt": attempt}
        row |= {"queue": "io", "timeout": 3600}
        if status == "running":
            row |= {"worker": "test", "heartbeat_at": "now", "started_at": "now"}
        if status in ("completed", "failed", "cancelled"):
            row |= {"completed_at": "now"}
        if status == "failed":
            row |= {"error": Jsonb({"title": "Failed", "detail": "on purpose"})}
        row |= more
        columns, marks = ", ".join(row), ", ".join(f"%({name})s" for name in row)
        made = conn.execute(f"INSERT INTO jobs ({columns}) VALUES ({marks}) RETURNING id", row).fetchone()
        assert made is not None
        return UUID(str(made["id"]))

    return make
