"""What is measured: Goldsmith, with an empty table and a full one, and its peers. Each has a database of its own in the same Postgres."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

CONCURRENCY = 8  # jobs at once in any worker; Goldsmith's default for an io worker


@dataclass(frozen=True)
class App:
    label: str
    api: Sequence[str]
    """Python's arguments for its HTTP server; "{port}" is filled in."""
    ready: str
    """Path that answers 200 when it is up."""
    database: str
    broker: int
    """Which of Valkey's databases."""
    post: str = "/jobs"
    worker: Sequence[str] = ()
    empty: str = "SET session_replication_role = replica; TRUNCATE jobs CASCADE; RESET session_replication_role"
    """Past the triggers: one of them keeps adapter versions, and with them their jobs, for ever."""
    ran: str = "SELECT id, started_at, completed_at FROM jobs WHERE status = 'completed'"
    """The jobs of this round that ended, with the database's times."""
    package: str | None = None
    """What must be installed for it."""


def _uvicorn(module: str) -> list[str]:
    return ["-m", "uvicorn", f"bench.{module}:app", "--port={port}", "--no-access-log"]


GOLDSMITH = App(
    "Goldsmith", ["-m", "api"], "/readyz", "goldsmith", 0, post="/v1/jobs", worker=["-m", "worker", "io"]
)  # fmt: skip
CELERY = ["-m", "celery", "--app=bench.plain_app:celery", "worker", "--pool=threads", f"--concurrency={CONCURRENCY}"]
PROCRASTINATE = ["-m", "procrastinate", "--app=bench.procrastinate_app.queue", "worker", f"--concurrency={CONCURRENCY}"]
TASKIQ = ["-m", "taskiq", "worker", "bench.taskiq_app:broker", "--workers=1", f"--max-async-tasks={CONCURRENCY}"]
RECENT = "created_at > now() - interval '1 hour'"  # those that `servers.FINISHED_JOBS` writes are older

APPS = {
    "goldsmith": GOLDSMITH,
    "full": App(
        "Goldsmith, full table",
        GOLDSMITH.api,
        GOLDSMITH.ready,
        "filled",
        1,
        post=GOLDSMITH.post,
        worker=GOLDSMITH.worker,
        empty=f"DELETE FROM jobs WHERE {RECENT}",
        ran=f"{GOLDSMITH.ran} AND {RECENT}",
    ),
    "plain": App("plain app", _uvicorn("plain_app"), "/docs", "plain", 2, worker=[*CELERY, "--loglevel=info"]),
    "procrastinate": App(
        "procrastinate",
        _uvicorn("procrastinate_app"),
        "/docs",
        "procrastinate",
        3,
        worker=PROCRASTINATE,
        empty="TRUNCATE procrastinate_jobs CASCADE",
        ran="SELECT s.job_id AS id, s.at AS started_at, e.at AS completed_at FROM procrastinate_events s"
        " JOIN procrastinate_events e ON e.job_id = s.job_id AND e.type = 'succeeded' WHERE s.type = 'started'",
        package="procrastinate",
    ),
    "taskiq": App("taskiq", _uvicorn("taskiq_app"), "/docs", "taskiq", 4, worker=TASKIQ, package="taskiq_redis"),
    "raw": App("raw driver", _uvicorn("bare_app"), "/docs", "raw", 5, post="/raw/jobs"),
    "bare": App("bare route", _uvicorn("bare_app"), "/docs", "raw", 5, post="/constant"),
}


def missing() -> list[str]:
    """Peers that are not installed."""
    return [name for name, app in APPS.items() if app.package and importlib.util.find_spec(app.package) is None]
