"""Is the process up, is what it needs up, and the numbers for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import psycopg
import redis
from anyio import to_thread
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.state import State, StateDep
from goldsmith import jobs, migrate

router = APIRouter(tags=["health"])

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # what else is sent must not become a label

registry = CollectorRegistry()
REQUESTS = Counter("goldsmith_http_requests", "HTTP requests", ["method", "route", "status"], registry=registry)
SECONDS = Histogram("goldsmith_http_request_seconds", "Time to answer", ["method", "route"], registry=registry)


class QueueNumbers(Collector):
    """Read from Postgres when asked, so that every process says the same."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterable[GaugeMetricFamily]:
        depth = GaugeMetricFamily("goldsmith_jobs_unfinished", "Jobs that have not ended", labels=["queue", "status"])
        ended = GaugeMetricFamily("goldsmith_jobs_ended", "Jobs in the table that have ended", labels=["kind", "status"])
        oldest = GaugeMetricFamily("goldsmith_queue_oldest_seconds", "Age of the oldest queued job", labels=["queue"])
        with self._state.database.connection() as conn:
            for queue, states in jobs.unfinished(conn).items():
                for status, count in states.items():
                    depth.add_metric([queue, status], count)
            for row in conn.execute(
                "SELECT queue, extract(epoch FROM now() - min(created_at))::float AS age FROM jobs WHERE status = 'queued' GROUP BY queue"
            ):
                oldest.add_metric([row["queue"]], row["age"])
            for row in conn.execute(
                "SELECT kind, status, count(*) AS n FROM jobs WHERE completed_at IS NOT NULL GROUP BY kind, status"
            ):
                ended.add_metric([row["kind"], row["status"]], row["n"])
        return [depth, oldest, ended]


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Something that it needs is away"}})
def readyz(state: StateDep) -> JSONResponse:
    """Database, broker, and a schema at or ahead of this code's head."""
    checks: dict[str, Any] = {}
    try:
        found, wanted = migrate.current(state.settings.database), migrate.head()
        ahead = found is not None and found != wanted and not migrate.knows(found)
        checks["database"] = "ok"
        checks["schema"] = "ok" if found == wanted or ahead else f"is at {found}, needs {wanted}: run `goldsmith migrate`"
    except psycopg.Error as error:
        checks["database"] = f"does not answer ({type(error).__name__})"
    try:
        state.queue.ping()
        checks["broker"] = "ok"
    except redis.RedisError as error:
        checks["broker"] = f"does not answer ({type(error).__name__})"
    ready = all(value == "ok" for value in checks.values())
    return JSONResponse({"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)


@router.get("/metrics", response_class=Response)
async def metrics(state: StateDep) -> Response:
    """For Prometheus."""
    http = generate_latest(registry)
    numbers = CollectorRegistry()
    numbers.register(_Once(await to_thread.run_sync(lambda: list(QueueNumbers(state).collect()))))
    return Response(http + generate_latest(numbers), media_type=CONTENT_TYPE_LATEST)


class _Once(Collector):
    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


def observe(method: str, route: str, status: int, started: float) -> None:
    """Count a request; `route` is the template, never the path with its ids."""
    method = method if method in METHODS else "other"
    REQUESTS.labels(method, route, str(status)).inc()
    SECONDS.labels(method, route).observe(time.perf_counter() - started)
