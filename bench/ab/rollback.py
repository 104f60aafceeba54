"""How long from the events that prove a regression until it is pulled back everywhere? `python -m bench.ab.rollback [--runs 20]`

Real Postgres and Valkey, the API as a process of its own, the SDK's `LiveExperiments`, the sender of webhooks and a stand-in for
the model server and Ollama in this one. The clock starts when the deciding batch is sent.

`--others 20`: so many other experiments of 100,000 events run, and each gets one more all the time. `--apis 2`: events go to the first,
the SDK asks the last. `--hanging ollama` (or webhook): it takes what it is sent and never answers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from psycopg.types.json import Jsonb

from bench.servers import free_ports
from goldsmith import adapters, experiments, webhooks
from goldsmith.ab import NewExperiment
from goldsmith.client.live import LiveExperiments
from goldsmith.db import Connection, Database, connect
from goldsmith.embedded.postgres import EmbeddedPostgres
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.migrate import upgrade
from goldsmith.storage import Storage
from goldsmith.webhooks import NewWebhook, SenderThread
from tests.experimenting import register
from tests.receiver import LOOPBACK, receiving
from tests.serving import Serving, serving

DEVICES = 400
UNTIL_S = 30.0
OTHER_UNITS, EVENTS_OF_UNIT = 25_000, 4
MARKS = ("decided", "assignments", "SDK", "alias", "Ollama tag", "probe", "webhook")


@contextmanager
def running(command: list[str], ready: Callable[[], bool], **how: Any) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how)
    try:
        _wait(ready, command[0])
        yield
    finally:
        process.send_signal(signal.SIGINT)  # at a SIGTERM Postgres waits for its clients
        process.wait(20)


def _wait(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + UNTIL_S
    while not ready():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {UNTIL_S:g} s")
        time.sleep(0.02)


def events(device: str, *, blocked: bool) -> list[dict[str, Any]]:
    facts = {"unit": device, "interception_run_id": f"run-{device}", "occurred_at": datetime.now(UTC).isoformat()}
    found: list[dict[str, Any]] = [{"event": "exposure"}, {"event": "generation_started", "data": {"safety_level": "kids"}}]
    if blocked:
        found.append({"event": "stage_block", "data": {"stage": 3, "method": "86a_filter"}})
    return [{"event_id": f"{device}-{number}", **facts, **event} for number, event in enumerate(found)]


def one_run(
    conn: Connection, client: httpx.Client, live: LiveExperiments, server: Serving, got: list[Any], without: set[str]
) -> dict[str, float]:
    """Seconds until each of the marks, from the sending of the batch that proves it."""
    adapters.set_alias(conn, "workshop", "challenger", 2, actor="bench")
    server.tags |= {"workshop:latest": "sha256:two", "workshop:former": "sha256:one"}
    told = len(got)
    plan = {
        "name": f"run-{uuid.uuid4().hex[:12]}",
        "arms": [{"name": "base", "weight": 0.5}, {"name": "lora", "weight": 0.5, "adapter": "adapter:workshop@challenger"}],
        "cooldown_minutes": 0,
        "configs": ["c"],
    }
    path = f"/v1/experiments/{client.post('/v1/experiments', json=plan).raise_for_status().json()['id']}"
    client.post(f"{path}/start").raise_for_status()
    devices = [f"d{number}" for number in range(DEVICES)]
    given = (
        client.post(f"{path}/assignments", json={"units": devices, "config_id": "c"}).raise_for_status().json()["assignments"]
    )
    lora = {one["unit"] for one in given if one["arm"] == "lora"}
    device = min(lora)
    _wait(lambda: live.assign(unit=device, run_id="r", config_id="c").arm == "lora", "the snapshot")
    sent = [event for number, one in enumerate(devices) for event in events(one, blocked=one in lora and number % 2 == 0)]
    client.post(f"{path}/events", json={"events": sent[:300]}).raise_for_status()  # not enough for anything

    def decision() -> dict[str, Any]:
        row = conn.execute(
            "SELECT probe FROM ab_decisions WHERE experiment_id = %s AND decision = 'rollback'", (path.rpartition("/")[2],)
        ).fetchone()
        return dict(row) if row else {}

    checks: dict[str, Callable[[], bool]] = {
        "decided": lambda: bool(decision()),
        "assignments": lambda: (
            client.post(f"{path}/assignments", json={"units": [device], "config_id": "c"}).json()["assignments"][0]["arm"]
            != "lora"
        ),
        "SDK": lambda: live.assign(unit=device, run_id="r", config_id="c").arm != "lora",
        "alias": lambda: adapters.resolve(conn, "adapter:workshop@challenger") == "adapter:workshop@1",
        "Ollama tag": lambda: server.tags["workshop:latest"] == "sha256:one",
        "probe": lambda: (decision().get("probe") or {}).get("state") == "passed",
        "webhook": lambda: len(got) > told,
    }
    checks = {name: check for name, check in checks.items() if name not in without}
    began, marks = time.monotonic(), dict[str, float]()
    client.post(f"{path}/events", json={"events": sent[300:]}).raise_for_status()
    while len(marks) < len(checks):
        for name, done in checks.items():
            if name not in marks and done():
                marks[name] = time.monotonic() - began
        if time.monotonic() - began > UNTIL_S:
            raise SystemExit(f"not within {UNTIL_S:g} s: {', '.join(checks.keys() - marks.keys())}")
        time.sleep(0.01)
    return marks


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.ab.rollback", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--others", type=int, default=0)
    parser.add_argument("--apis", type=int, default=1)
    parser.add_argument("--hanging", choices=["ollama", "webhook"])
    asked = parser.parse_args()
    runs = asked.runs
    folder = Path(tempfile.mkdtemp(prefix="goldsmith-rollback-"))
    folder.chmod(0o711)
    ports = free_ports(2 + asked.apis)
    postgres, valkey = EmbeddedPostgres(folder / "postgres", ports[0]), EmbeddedValkey(folder / "valkey", ports[1])
    try:
        with ExitStack() as stack:
            postgres.initialise()
            how = {"cwd": "/", "user": postgres.user, "group": postgres.user}
            stack.enter_context(running(postgres.command(), postgres.is_up, **how))
            valkey.initialise()
            stack.enter_context(running(valkey.command(), valkey.is_up))
            postgres.create_database()
            upgrade(postgres.url())
            conn = stack.enter_context(connect(postgres.url()))

            def resolve(ref: str) -> str:
                with connect(postgres.url()) as own:
                    return adapters.resolve(own, ref)

            server = stack.enter_context(serving(resolve))
            hangs = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            never = f"http://127.0.0.1:{hangs.getsockname()[1]}"
            settings = {
                "GOLDSMITH_STATE_DIR": str(folder / "state"),
                "GOLDSMITH_DATABASE_URL": postgres.url(),
                "GOLDSMITH_BROKER_URL": valkey.url,
                "GOLDSMITH_SERVE_URL": server.url,
                "OLLAMA_HOST": never if asked.hanging == "ollama" else server.url,
            }
            _prepare(conn, folder)
            for number in range(asked.others):
                _other(conn, number)
            clients = [stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)) for port in ports[2:]]
            for client, port in zip(clients, ports[2:], strict=True):
                own = os.environ | settings | {"GOLDSMITH_PORT": str(port)}
                stack.enter_context(running([sys.executable, "-m", "api"], partial(_answers, client), env=own))
            if asked.others:
                stack.enter_context(_news(postgres.url()))
            receiver = stack.enter_context(receiving())
            for hook in [receiver.url, *([never] if asked.hanging == "webhook" else [])]:
                webhooks.add(conn, NewWebhook(url=hook, events=["experiment.rolled_back"]))
            sender = SenderThread(Database(postgres.url()).open(), allowed=LOOPBACK, dead_after_days=5)
            sender.start()
            stack.callback(sender.stop)
            live = stack.enter_context(LiveExperiments(str(clients[-1].base_url)))
            without = {"Ollama tag", "probe"} if asked.hanging == "ollama" else set()
            found = [one_run(conn, clients[0], live, server, receiver.got, without) for _ in range(runs)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{runs} runs, {DEVICES} devices; seconds after the deciding batch was sent")
    for name in (name for name in MARKS if name in found[0]):
        times = sorted(one[name] for one in found)
        print(f"{name:12} p50 {statistics.median(times):5.2f}  max {times[-1]:5.2f}")
    whole = sorted(max(one.values()) for one in found)
    print(f"{'everything':12} p50 {statistics.median(whole):5.2f}  max {whole[-1]:5.2f}")


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _other(conn: Connection, number: int) -> None:
    """A running experiment in which nothing happens that decides."""
    lora = {"name": "lora", "weight": 0.5, "adapter": "adapter:workshop@challenger"}
    plan = {"name": f"other-{number}", "arms": [{"name": "base", "weight": 0.5}, lora], "configs": [f"other-{number}"]}
    made = experiments.start(conn, experiments.create(conn, NewExperiment.model_validate(plan)).id).id
    conn.execute(
        """
        INSERT INTO ab_units (experiment_id, unit, step, arm, exposed, interceptions, attempts, blocks, favorites, latency_ms)
        SELECT %s, 'u' || n, 0, CASE WHEN random() < 0.5 THEN 'base' ELSE 'lora' END, true, 1, 1, (random() < 0.02)::int,
            (random() < 0.1)::int, 800 FROM generate_series(1, %s) n
        """,
        (made, OTHER_UNITS),
    )
    conn.execute(
        """
        INSERT INTO ab_events (experiment_id, event_id, event, unit, arm, occurred_at, data)
        SELECT %s, 'e' || n, CASE WHEN n %% 4 = 0 THEN 'interception_completed' ELSE 'exposure' END, 'u' || n / %s, 'base', now(),
            '{"latency_ms": 800}' FROM generate_series(1, %s) n
        """,
        (made, EVENTS_OF_UNIT, OTHER_UNITS * EVENTS_OF_UNIT),
    )


@contextmanager
def _news(url: str) -> Iterator[None]:
    """One more event for every other experiment, five times a second."""
    done = threading.Event()

    def go_on() -> None:
        with connect(url) as conn:
            while not done.wait(0.2):
                conn.execute(
                    "INSERT INTO ab_events (experiment_id, event_id, event, unit, arm, occurred_at)"
                    " SELECT id, gen_random_uuid(), 'exposure', 'u1', 'base', now() FROM experiments WHERE name LIKE 'other-%'"
                )

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(10)


def _prepare(conn: Connection, folder: Path) -> None:
    """Two versions, the first champion, and the deployment of the second."""
    for number in (1, 2):
        job = conn.execute(
            "INSERT INTO jobs (kind, config, status, queue, attempt, timeout, worker, heartbeat_at, started_at)"
            " VALUES ('train', '{}', 'running', 'cpu', 1, 60, 'bench', now(), now()) RETURNING id"
        ).fetchone()
        assert job is not None
        alias = "champion" if number == 1 else "challenger"
        register(conn, Storage(folder / "state"), job["id"], folder / f"trained-{number}", alias=alias)
    result = {
        "adapter": "adapter:workshop@2",
        "model": "workshop",
        "digest": "sha256:two",
        "former_digest": "sha256:one",
        "alias": None,
    }
    conn.execute(
        "INSERT INTO jobs (kind, config, status, queue, timeout, result, completed_at) VALUES ('deploy', '{}', 'completed', 'cpu', 60, %s, now())",
        (Jsonb(result),),
    )


if __name__ == "__main__":
    main()
