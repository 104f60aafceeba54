"""The real API on a port of its own, and someone who does its jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
import uvicorn

from api.app import create_app
from api.state import State
from goldsmith import jobs
from goldsmith.db import Connection, connect
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.jobs import Claimed, Outcome
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from tests.conftest import free_port, wait_until

Work = Callable[[Connection, Claimed], Outcome]


@dataclass
class Api:
    url: str
    database_url: str
    storage: Storage
    state: State

    @contextmanager
    def worker(self, work: Work) -> Iterator[None]:
        """Takes every queued job as a worker does, by the same statements, and ends it as `work` says."""
        stopping = threading.Event()
        broke: list[BaseException] = []

        def loop() -> None:
            with connect(self.database_url) as conn:
                while not stopping.wait(0.02):
                    for job in jobs.list_jobs(conn, status="queued"):
                        claimed = jobs.claim(conn, job.id, worker="test", gpu_id=None)
                        if claimed is not None:
                            jobs.finish(conn, claimed.id, claimed.attempt, work(conn, claimed))

        def run() -> None:
            try:
                loop()
            except BaseException as error:
                broke.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join(120)
        assert not broke, broke[0]


@pytest.fixture
def api(database_url: str, valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The API, which GOLDSMITH_URL names."""
    for name in ("GOLDSMITH_API_KEY", "GOLDSMITH_URL"):
        monkeypatch.delenv(name, raising=False)
    with running_api(database_url, valkey, tmp_path / "state") as found:
        monkeypatch.setenv("GOLDSMITH_URL", found.url)
        yield found


@contextmanager
def running_api(database_url: str, valkey: EmbeddedValkey, state_dir: Path, **more: object) -> Iterator[Api]:
    port = free_port()
    values = {"state_dir": state_dir, "database_url": database_url, "broker_url": valkey.url, "port": port, **more}
    settings = Settings(_env_file=None, **values)  # type: ignore[call-arg,arg-type]
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), "the start of the API")
        assert server.started
        yield Api(f"http://127.0.0.1:{port}", database_url, Storage(settings.state_dir), app.state.goldsmith)
    finally:
        app.state.goldsmith.wakeups.release()
        server.should_exit = True
        thread.join(120)


def completes(result: dict[str, object] | None = None) -> Work:
    """A work that goes halfway, says so, and completes."""

    def work(conn: Connection, claimed: Claimed) -> Outcome:
        jobs.progress(conn, claimed.id, claimed.attempt, 50, "halfway", [])
        return Outcome("completed", result={"attempt": claimed.attempt} if result is None else result)

    return work


def fails(conn: Connection, claimed: Claimed) -> Outcome:
    return Outcome("failed", error={"title": "Broken", "detail": "the clay was too dry"}, message="the clay was too dry")


def start_by_hand(database_url: str, job_id: UUID) -> Claimed:
    """Claim a job and leave it running."""
    with connect(database_url) as conn:
        claimed = jobs.claim(conn, job_id, worker="test", gpu_id=None)
    assert claimed is not None
    return claimed


__all__ = ["Api", "api", "completes", "fails", "running_api", "start_by_hand"]
