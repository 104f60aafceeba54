"""What Prometheus is told: the queue's numbers from Postgres, and this process's own requests."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from goldsmith import metrics
from goldsmith.db import Database
from goldsmith.job import FINAL
from goldsmith.kinds.registry import kinds

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # what else is sent must not become a label
PROCESS = f"{socket.gethostname()}:{os.getpid()}"
"""Every process counts its own requests: behind one address the label keeps them apart."""
CACHE_S = 5.0

REQUESTS_OF_THIS_PROCESS = CollectorRegistry()
HTTP = ["process", "method", "route"]
REQUESTS = Counter("goldsmith_http_requests", "HTTP requests", [*HTTP, "status"], registry=REQUESTS_OF_THIS_PROCESS)
SECONDS = Histogram("goldsmith_http_request_seconds", "Time to answer", HTTP, registry=REQUESTS_OF_THIS_PROCESS)

LIMITED = Counter(
    "goldsmith_rate_limited", "Requests over a rate limit", ["process", "limit"], registry=REQUESTS_OF_THIS_PROCESS
)
LET_THROUGH = Counter(
    "goldsmith_rate_limit_let_through", "Writes not counted: Valkey was away", ["process"], registry=REQUESTS_OF_THIS_PROCESS
)
DATABASE_UP = Gauge(
    "goldsmith_database_up",
    "1: Postgres told the queue's numbers; 0: they are missing",
    ["process"],
    registry=REQUESTS_OF_THIS_PROCESS,
)


class QueueNumbers(Collector):
    """Read from Postgres, at most every five seconds, so that every process says the same."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._read: tuple[float, metrics.Numbers] | None = None

    def _numbers(self) -> metrics.Numbers:
        with self._lock:
            if self._read is None or time.monotonic() - self._read[0] > CACHE_S:
                with self._database.connection() as conn:
                    self._read = (time.monotonic(), metrics.read(conn))
            return self._read[1]

    def collect(self) -> Iterable[Metric]:
        numbers = self._numbers()
        # every kind is there from the start, with 0: an alert on what is missing cannot be told from one on nothing
        places: set[metrics.Place] = {(kind.config.queue, name) for name, kind in kinds().items()}
        places |= {(queue, kind) for queue, kind, _ in (*numbers.unfinished, *numbers.happened)}
        yield from _waiting(numbers, sorted(places))
        yield from _happened(numbers, sorted(places))
        spent = CounterMetricFamily(
            "goldsmith_spent_usd", "Paid to teachers, in dollars", labels=["provider", "model", "rehearsal"]
        )
        for (provider, model, rehearsal), usd in sorted(numbers.spent_usd.items()):
            spent.add_metric([provider, model, str(rehearsal).lower()], usd)
        yield spent
        attempts = CounterMetricFamily(
            "goldsmith_failed_attempts", "Attempts that counted as a failure", labels=["queue", "kind", "cause"]
        )
        for labels, count in sorted(numbers.failed_attempts.items()):
            attempts.add_metric(labels, count)
        yield attempts
        tries = CounterMetricFamily("goldsmith_webhook_tries", "Webhook deliveries that were tried", labels=["outcome"])
        for outcome in ("delivered", "put_off", "given_up"):
            tries.add_metric([outcome], numbers.webhook_tries.get(outcome, 0))
        yield tries
        alone = CounterMetricFamily(
            "goldsmith_limiter_unavailable", "Teachers asked without the shared limit: Valkey was away", labels=["provider"]
        )
        for provider, count in sorted(numbers.limiter_unavailable.items()):
            alone.add_metric([provider], count)
        yield alone


def _waiting(numbers: metrics.Numbers, places: Sequence[metrics.Place]) -> Iterable[Metric]:
    place = ["queue", "kind"]
    depth = GaugeMetricFamily("goldsmith_queue_depth", "Jobs that are queued", labels=place)
    oldest = GaugeMetricFamily("goldsmith_queue_oldest_seconds", "How long the oldest queued job has waited", labels=place)
    unfinished = GaugeMetricFamily("goldsmith_jobs_unfinished", "Jobs that have not ended", labels=[*place, "status"])
    for queue, kind in places:
        depth.add_metric([queue, kind], numbers.unfinished.get((queue, kind, "queued"), 0))
        oldest.add_metric([queue, kind], numbers.oldest_s.get((queue, kind), 0))
        for status in ("waiting", "scheduled", "queued", "running"):
            unfinished.add_metric([queue, kind, status], numbers.unfinished.get((queue, kind, status), 0))
    return depth, oldest, unfinished


def _happened(numbers: metrics.Numbers, places: Sequence[metrics.Place]) -> Iterable[Metric]:
    place = ["queue", "kind"]
    counters = {
        "started": CounterMetricFamily("goldsmith_job_claims", "Attempts that a worker began", labels=place),
        "rescued": CounterMetricFamily("goldsmith_job_rescues", "Attempts whose worker was lost, put back", labels=place),
        "failed": CounterMetricFamily("goldsmith_job_failures", "Jobs that ended failed", labels=place),
    }
    ended = CounterMetricFamily("goldsmith_jobs_ended", "Jobs that ended", labels=[*place, "status"])
    seconds = HistogramMetricFamily("goldsmith_job_run_seconds", "Run time of the attempts that ended jobs", labels=place)
    for queue, kind in places:
        run = metrics.Happened()
        for event, counter in counters.items():
            counter.add_metric([queue, kind], numbers.happened.get((queue, kind, event), metrics.Happened()).count)
        for status in FINAL:
            end = numbers.happened.get((queue, kind, status), metrics.Happened())
            ended.add_metric([queue, kind, status], end.count)
            run.add(vars(end))
        bounds = [*map(str, map(float, metrics.BUCKETS_S)), "+Inf"]
        seconds.add_metric([queue, kind], list(zip(bounds, run.buckets, strict=True)), run.run_seconds)
    return *counters.values(), ended, seconds


def observe(method: str, route: str, status: int, started: float) -> None:
    """Count a request; `route` is the template, never the path with its ids."""
    count, seconds = _of(method if method in METHODS else "other", route, status)
    count.inc()
    seconds.observe(time.perf_counter() - started)


@cache  # few: methods, templates and states; looking a pair up by its labels takes 10 µs
def _of(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(PROCESS, method, route, str(status)), SECONDS.labels(PROCESS, method, route)
