"""Events of an experiment per second, over HTTP: `python -m bench.ab.ingest [--events 100000] [--connections 4]`.

The API as `goldsmith up` runs it, with the watch over guardrails, before an embedded Postgres; children of a workshop in batches of 500.
Beside it, in the same run, PostgreSQL's COPY of the same rows into the same table with the same indexes, and nothing else.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from bench.servers import FINISHED_JOBS, Servers
from goldsmith import experiments
from goldsmith.ab import Experiment, NewExperiment
from goldsmith.client.sketch import sketch
from goldsmith.db import Connection, connect

BATCH = 500
ADAPTER = """
    WITH made AS (INSERT INTO adapters (name) VALUES ('bench') RETURNING id)
    INSERT INTO adapter_versions
        (adapter_id, version, job_id, base_model, base_sha256, tokenizer_sha256, template_sha256, dataset, uri)
    SELECT made.id, 1, jobs.id, '', '', '', '', '', '' FROM made, jobs
"""
COLUMNS = "experiment_id, event_id, event, unit, arm, interception_run_id, data, occurred_at, received_at, step"


def stories(experiment: Experiment, devices: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """What a workshop sends, without an end: a child at some device has an answer, generates, and likes it or is blocked."""
    chance, number, run = random.Random(seed), 0, 0
    words = [f"wort{n}" for n in range(2000)]
    sketches = [sketch(" ".join(chance.choices(words, k=120)), b"k" * 32) for _ in range(200)]
    began = datetime.now(UTC) - timedelta(hours=1)

    def event(name: str, unit: str, run_id: str, **data: Any) -> dict[str, Any]:
        nonlocal number
        number += 1
        at = (began + timedelta(milliseconds=number)).isoformat()
        made = {"event_id": f"{number:014x}{chance.getrandbits(64):016x}", "event": name, "unit": unit, "occurred_at": at}
        return made | {"interception_run_id": run_id} | ({"data": data} if data else {})

    while True:
        run += 1
        unit, run_id = f"tablet-{chance.randrange(devices)}_2026-03-10", f"run_{run}"
        arm = experiment.arm_of(unit)
        yield event("exposure", unit, run_id, assigned=arm, step=0)
        facts = {"model_used": {"base": "small", "lora": "small-lora"}[arm], "latency_ms": chance.randint(300, 9000)}
        facts |= {"chars": chance.randint(200, 900), "context_sha256": "a" * 64, "config_id": "clay_workshop"}
        yield event("interception_completed", unit, run_id, **facts, step=0, sketch=chance.choice(sketches))
        yield event("generation_started", unit, run_id, safety_level="kids")
        if chance.random() < 0.02:
            yield event("stage_block", unit, run_id, stage=3, method="llm_safety_check")
        else:
            yield event("generation_completed", unit, run_id)
        yield event("dwell_ms", unit, run_id, dwell_ms=chance.randint(1000, 60_000))
        if chance.random() < 0.1:
            yield event("favorite_added", unit, run_id)


def running(conn: Connection) -> Experiment:
    """An experiment with every guardrail, on an adapter that exists in name only."""
    conn.execute(FINISHED_JOBS, {"count": 1})
    conn.execute(ADAPTER)
    arms = [
        {"name": "base", "weight": 0.9, "model": "small"},
        {"name": "lora", "weight": 0.1, "model": "small-lora", "adapter": "adapter:bench@1"},
    ]
    plan = NewExperiment.model_validate({"name": "bench", "salt": "bench-of-ingest", "arms": arms})
    return experiments.start(conn, experiments.create(conn, plan).id)


def bodies(events: Iterator[dict[str, Any]], count: int) -> list[bytes]:
    return [json.dumps({"events": list(islice(events, BATCH))}).encode() for _ in range(count // BATCH)]


def send(port: int, experiment: UUID, batches: list[bytes], connections: int) -> tuple[float, list[float]]:
    """Seconds in all, and of each batch."""
    waiting, took, broke = iter(batches), [], []
    lock = threading.Lock()

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while True:
            with lock:
                body = next(waiting, None)
            if body is None or broke:
                return
            began = time.perf_counter()
            connection.request("POST", f"/v1/experiments/{experiment}/events", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200 or b'"rejected":[]' not in said:
                broke.append(f"{answer.status} {said[:500]!r}")
            took.append(time.perf_counter() - began)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broke:
        raise RuntimeError(broke[0])
    return time.perf_counter() - began, took


def copy(conn: Connection, rows: list[tuple[Any, ...]], batch: int) -> float:
    """Seconds for the same rows into a copy of the table, its indexes and its foreign key, with a commit for each batch."""
    conn.execute("DROP TABLE IF EXISTS copied")
    conn.execute("CREATE TABLE copied (LIKE ab_events INCLUDING ALL)")
    conn.execute("ALTER TABLE copied ADD FOREIGN KEY (experiment_id) REFERENCES experiments (id)")
    began = time.perf_counter()
    for first in range(0, len(rows), batch):
        with conn.cursor() as cursor, cursor.copy(f"COPY copied ({COLUMNS}) FROM STDIN") as copying:
            for row in rows[first : first + batch]:
                copying.write_row(row)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--devices", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    servers = Servers(["goldsmith"])
    try:
        servers.start(finished=0)
        with connect(servers.database("goldsmith")) as conn:
            experiment = running(conn)
            events = stories(experiment, options.devices)
            port = servers.ports["goldsmith"]
            send(port, experiment.id, bodies(events, 10 * BATCH), options.connections)  # warm
            batches = bodies(events, options.events)
            before = {name: servers.cpu_s(name) for name in ("postgres", "goldsmith")}
            seconds, took = send(port, experiment.id, batches, options.connections)
            looked = conn.execute("SELECT events, looked_events FROM ab_state").fetchone()
            assert looked is not None
            cpu = {name: servers.cpu_s(name) - before[name] for name in before}
            count = len(batches) * BATCH
            rows = [
                (*row[:6], Jsonb(row[6]), *row[7:])
                for row in (tuple(found.values()) for found in conn.execute(f"SELECT {COLUMNS} FROM ab_events LIMIT {count}"))
            ]
            copied = {batch: copy(conn, rows, batch) for batch in (BATCH, len(rows))}
            units = conn.execute("SELECT count(*) AS n, sum(interceptions) AS runs FROM ab_units").fetchone()
            assert units is not None
    finally:
        servers.stop()
    result = {
        "events": count,
        "events_per_s": round(count / seconds),
        "batch_ms_p50": round(statistics.median(took) * 1000, 1),
        "batch_ms_p95": round(statistics.quantiles(took, n=20)[-1] * 1000, 1),
        "cpu_share": {name: round(used / seconds, 2) for name, used in cpu.items()},
        "units": units["n"],
        "behind": looked["events"] - (looked["looked_events"] or 0),
        "copy_per_s": {f"batches of {batch}": round(count / took_s) for batch, took_s in copied.items()},
        "ratio_to_copy": {f"batches of {batch}": round(took_s / seconds, 3) for batch, took_s in copied.items()},
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
