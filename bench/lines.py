"""What is measured, line by line: each is a `Line` with the apps that take turns in its rounds and the aims beside them."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from uuid import UUID

import psycopg

from bench import load, readers
from bench.apps import APPS
from bench.sample import Compared, Sample, of_answer, percentiles, rate
from bench.servers import FINISHED_JOBS, ROOT, Servers
from goldsmith import jobs
from goldsmith.db import Database

NOOP = {"kind": "noop"}
BATCH = 1000
KNOWN_IDS = 500  # rows that the status reads ask for in turn
CONNECTIONS, BATCH_CONNECTIONS = 16, 4
EVENTS_A_SECOND = 50
SEEN = 2  # `submitted` and `started`
LIMIT_S = 120.0


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rounds: int = 5
    seconds: float = 1.5
    """Of an HTTP round."""
    jobs: int = 600
    """Finished in a round."""
    finished: int = 100_000
    """In the full table."""
    pickups: int = 50
    """In a round."""
    readers: int = 500
    event_seconds: float = 3.0


QUICK = Size(rounds=1, seconds=0.2, jobs=20, finished=1000, pickups=3, readers=20, event_seconds=0.5)

Measure = Callable[["Bench", str, bool], Sample]
"""For an app; True: this is the warm-up."""


@dataclass(frozen=True)
class Line:
    what: str
    measure: Measure
    beside: Mapping[str, Sequence[Compared]]
    """By app, Goldsmith first."""
    warm_up: bool = True
    """Whether a round goes before that is not counted."""
    workers: bool = False
    """Whether every app's worker runs all the while."""
    labels: Mapping[str, str] = field(default_factory=dict)


class Bench:
    """What the lines share."""

    def __init__(self, servers: Servers, size: Size) -> None:
        self.servers, self.size = servers, size
        self._database: Database | None = None

    def call(self, name: str, method: str, paths: list[str], *, body: object = None, connections: int = CONNECTIONS,
             seconds: float | None = None, count: int | None = None, jobs: int = 1) -> Sample:  # fmt: skip
        before = self._cpu(name)
        text = json.dumps(body) if body is not None else ""
        order = load.Order(self.servers.ports[name], method, paths, text, connections, seconds, count)
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"], input=json.dumps(asdict(order)), capture_output=True, text=True, cwd=ROOT
        )
        self.servers.check()
        if done.returncode:
            raise RuntimeError(f"{APPS[name].label}: {done.stderr.strip()[-2000:]}")
        self._settle(name)
        after = self._cpu(name)
        return of_answer(load.Answer(**json.loads(done.stdout)), after[0] - before[0], after[1] - before[1], jobs=jobs)

    def _cpu(self, name: str) -> tuple[float, float]:
        return self.servers.cpu_s(name), self.servers.cpu_s("postgres")

    def _settle(self, name: str, limit_s: float = 60) -> None:
        """Wait until the server has done what it put off, so that the next one has the machine to itself."""
        end = time.monotonic() + limit_s
        used = self.servers.cpu_s(name)
        while time.monotonic() < end:
            time.sleep(0.1)
            used, before = self.servers.cpu_s(name), used
            if used - before < 0.02:
                return
        raise RuntimeError(f"{APPS[name].label} was still busy {limit_s:.0f} s after the last request")

    def seconds(self, warm_up: bool) -> float:
        return min(1.0, self.size.seconds) if warm_up else self.size.seconds


# -- POST and GET


def submit(bench: Bench, name: str, warm_up: bool) -> Sample:
    bench.servers.empty(name)
    return bench.call(name, "POST", [APPS[name].post], body=NOOP, seconds=bench.seconds(warm_up))


def batch(bench: Bench, name: str, warm_up: bool) -> Sample:
    if name == "plain":
        return submit(bench, name, warm_up)
    bench.servers.empty(name)
    path = {"goldsmith": "/v1/jobs/batch", "raw": "/raw/batch"}[name]
    body = {"jobs": [NOOP] * BATCH}
    seconds = bench.seconds(warm_up)
    return bench.call(name, "POST", [path], body=body, connections=BATCH_CONNECTIONS, seconds=seconds, jobs=BATCH)


def status(bench: Bench, name: str, warm_up: bool) -> Sample:
    path = {"raw": "/raw/jobs/{}/status", "bare": "/constant"}.get(name, "/api/job/{}/status")
    with psycopg.connect(bench.servers.database(name), autocommit=True) as conn:
        if name in ("goldsmith", "raw"):
            bench.servers.empty(name)
            conn.execute(FINISHED_JOBS, {"count": KNOWN_IDS})
        ids = conn.execute("SELECT id FROM jobs ORDER BY random() LIMIT %s", [KNOWN_IDS]).fetchall()
    paths = sorted({path.format(job_id) for (job_id,) in ids})
    return bench.call(name, "GET", paths, seconds=bench.seconds(warm_up))


# -- from POST to the end


def finish(bench: Bench, name: str, warm_up: bool) -> Sample:
    """Jobs are put in with no worker; then a worker starts and the last nine tenths of its work are timed by the database."""
    count = bench.size.jobs
    bench.servers.empty(name)
    bench.call(name, "POST", [APPS[name].post], body=NOOP, count=count)
    ran = APPS[name].ran
    # (jobs done, CPU of the worker, CPU of Postgres) when its first tenth was over
    start: tuple[int, float, float] | None = None
    with psycopg.connect(bench.servers.database(name), autocommit=True) as conn, bench.servers.worker(name):
        end, done = time.monotonic() + LIMIT_S, 0
        while done < count:
            time.sleep(0.1)
            bench.servers.check()
            if time.monotonic() > end:
                raise RuntimeError(f"{APPS[name].label} finished {done} of {count} jobs in {LIMIT_S:.0f} s")
            ((done,),) = conn.execute(f"SELECT count(*) FROM ({ran}) AS ran").fetchall()
            if start is None and done >= count // 10:
                start = done, bench.servers.cpu_s(f"{name} worker"), bench.servers.cpu_s("postgres")
        assert start is not None
        cpu = bench.servers.cpu_s(f"{name} worker") - start[1], bench.servers.cpu_s("postgres") - start[2]
        rows = conn.execute(
            "SELECT extract(epoch FROM completed_at)::float, extract(epoch FROM completed_at - started_at)::float * 1000 "
            f"FROM ({ran}) AS ran ORDER BY completed_at OFFSET %s",
            [count // 10],
        ).fetchall()
    ended, took_ms = zip(*rows, strict=True)
    counted = max(1, count - start[0])
    return Sample(
        *percentiles(took_ms), (len(ended) - 1) / (ended[-1] - ended[0]), cpu[0] * 1000 / counted, cpu[1] * 1000 / counted
    )


def pickup(bench: Bench, name: str, warm_up: bool) -> Sample:
    """One job after the other, each from the moment before its POST to its row's start by the clock that both share."""
    app, waits_ms = APPS[name], []
    sql = f"SELECT extract(epoch FROM started_at)::float FROM ({app.ran}) AS ran WHERE id = %s"
    server = http.client.HTTPConnection("127.0.0.1", bench.servers.ports[name])
    headers = {"Content-Type": "application/json"}
    with psycopg.connect(bench.servers.database(name), autocommit=True) as conn:
        for _ in range(bench.size.pickups):
            server.close()  # an API closes what was idle for 5 s, and on a busy machine the job before may have taken longer
            server.connect()
            posted = time.time()
            server.request("POST", app.post, json.dumps(NOOP), headers)
            job_id = json.load(server.getresponse())["id"]
            waits_ms.append((_started(bench, conn, sql, job_id) - posted) * 1000)
    server.close()
    return Sample(*percentiles(waits_ms))


def _started(bench: Bench, conn: psycopg.Connection, sql: str, job_id: object) -> float:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        time.sleep(0.02)  # far apart, so that the looking does not count
        if row := conn.execute(sql, [job_id]).fetchone():
            return float(row[0])
        bench.servers.check()
    raise RuntimeError(f"job {job_id} did not end within {LIMIT_S:.0f} s")


# -- readers of events


def stream(bench: Bench, name: str, warm_up: bool) -> Sample:
    """Delays from an event's commit to its reader, on a fresh API process: one reader, or one for each of many jobs."""
    count = 1 if name == "goldsmith" else bench.size.readers
    server = "goldsmith"
    bench.servers.empty(server)
    bench.servers.restart(server)
    body = {"jobs": [NOOP] * BATCH}
    bench.call(server, "POST", ["/v1/jobs/batch"], body=body, connections=1, count=1)
    database = Database(bench.servers.database(server)).open()
    try:
        with database.connection() as conn:
            found = conn.execute("SELECT id FROM jobs ORDER BY id LIMIT %s", [count]).fetchall()
            ids: list[UUID] = [row["id"] for row in found]
            for job_id in ids:
                jobs.claim(conn, job_id, worker="bench", gpu_id=None)
        before = bench.servers.rss_mb(server)
        paths = [f"/v1/jobs/{job_id}/events" for job_id in ids]
        events = int(bench.size.event_seconds * EVENTS_A_SECOND)
        with _reading(readers.Order(bench.servers.ports[server], paths, SEEN, events)) as reading:
            committed = _write_events(database, ids, events)
            added = bench.servers.rss_mb(server) - before
            answer = reading.communicate(timeout=LIMIT_S)[0]
    finally:
        database.close()
    bench.servers.check()
    came = {(number, seq): moment for number, seq, moment in json.loads(answer)}
    return Sample(*percentiles([(came[event] - moment) * 1000 for event, moment in committed.items()]), added_mb=added)


@contextmanager
def _reading(order: readers.Order) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.readers"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(readers.as_line(order))
            process.stdin.flush()
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the readers did not get their first events")
            yield process
        finally:
            process.kill()


def _write_events(database: Database, ids: Sequence[UUID], events: int) -> dict[tuple[int, int], float]:
    """Progress of one job after the other, said as a worker says it; when each was committed, by reader and `seq`."""
    committed: dict[tuple[int, int], float] = {}
    started = time.monotonic()
    with database.connection() as conn:
        for event in range(events):
            time.sleep(max(0.0, started + event / EVENTS_A_SECOND - time.monotonic()))
            number = event % len(ids)
            seq = SEEN + 1 + event // len(ids)
            jobs.progress(conn, ids[number], 1, event % 100, "", [])
            committed[number, seq] = time.time()
            database.changed(ids[number])
    return committed


FULL = (Compared(lambda goldsmith, full: full.rate / goldsmith.rate, "≥ 0.9"),)  # of the same rate with an empty table
P99 = "p99 {:.1f}×"

LINES = {
    "submit": Line(
        "POST one job, durable",
        submit,
        {"goldsmith": (), "plain": (rate("≥ 1.5"),), "raw": (rate("≥ 0.6"),), "bare": (rate(),), "full": FULL},
    ),
    "batch": Line(
        f"POST jobs, {BATCH:,} in a batch",
        batch,
        {"goldsmith": (), "plain": (rate("≥ 15"),), "raw": (rate(),)},
        labels={"plain": "plain app, in a loop", "raw": "raw driver, COPY"},
    ),
    "status": Line(
        "GET a job's status",
        status,
        {
            "goldsmith": (),
            "raw": (rate("≥ 0.9"), Compared(lambda goldsmith, app: goldsmith.p99_ms / app.p99_ms, shown=P99)),
            "bare": (rate(), Compared(lambda goldsmith, app: goldsmith.p99_ms / app.p99_ms, "p99 ≤ 3×", P99)),
            "full": FULL,
        },
    ),
    "finish": Line(
        "finish a job, one worker",
        finish,
        {
            "goldsmith": (),
            "plain": (rate("≥ 1.2"),),
            "procrastinate": (rate("≥ 1.2"),),
            "taskiq": (rate("≥ 1.2"),),
            "full": FULL,
        },
        warm_up=False,  # its first tenth is one
    ),
    "pickup": Line(
        "from POST to running, idle",
        pickup,
        {"goldsmith": (), "procrastinate": (Compared(lambda goldsmith, app: goldsmith.p50_ms / app.p50_ms, "≤ 1"),)},
        workers=True,
    ),
    "readers": Line(
        "an event to its reader",
        stream,
        {
            "goldsmith": (),
            "crowd": (
                Compared(lambda _, crowd: crowd.added_mb, "≤ 150 MB", "+{:.0f} MB"),
                Compared(lambda _, crowd: crowd.p50_ms, "median ≤ 1000 ms", "median {:.0f} ms"),
            ),
        },
        warm_up=False,  # every API process is fresh
        labels={"goldsmith": "Goldsmith, 1 reader", "crowd": "Goldsmith, {readers} readers"},
    ),
}
