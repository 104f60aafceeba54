"""`python -m bench.uno --only route`: what routing adds to the encoder's call, over real HTTP and in the SDK's process.

One text at a time, the ways in turn, so that what else the machine does falls on all alike. Over HTTP the API asks the model
server for the vector as the plain call does, decides, and keeps the decision in Postgres. Nothing passes or fails by time: the
aim stands beside the number.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import httpx
import numpy
from rich.console import Console
from rich.table import Table

from bench.servers import ROOT, Servers, free_ports
from goldsmith import artifacts
from goldsmith.db import connect
from goldsmith.router import Router
from goldsmith.storage import Storage
from goldsmith.student import load_encoder
from goldsmith.uno.centroids import FORMAT_VERSION, Centroids, read_centroids
from goldsmith.uno.route import RoutingTable

CLUSTERS, ROUNDS = 1000, 200
TEXTS = ("What is this painting made of?", "Wie alt ist das Haus neben der Kirche, und wer hat es gebaut?", "a fox in the snow")
JOB = """
INSERT INTO jobs (kind, config, status, queue, attempt, timeout, worker, heartbeat_at, started_at)
VALUES ('router', '{}', 'running', 'cpu', 1, 900, 'bench', now(), now()) RETURNING id
"""


def router_files(router: str) -> dict[str, bytes]:
    """Random directions: every text is near to some and far from others."""
    random = numpy.random.default_rng(0)
    rows = random.normal(size=(CLUSTERS, load_encoder("minilm").encode(["a"]).shape[1]))
    ids = [f"c{number}" for number in range(CLUSTERS)]
    centroids = Centroids((0.7 * rows / numpy.linalg.norm(rows, axis=1, keepdims=True)).astype(numpy.float32), ids, "minilm")
    leg = {"size": 40, "path": "base", "why": "no adapter", "expert": None, "critic": None}
    clusters = [leg | {"label": number, "cluster_id": one} for number, one in enumerate(ids)]
    document = {"format_version": FORMAT_VERSION, "router": router, "outlier_distance": 1.2, "clusters": clusters}
    return {"router.json": json.dumps(document).encode(), "centroids.npz": centroids.to_bytes()}


def leave_router(url: str, folder: Path) -> str:
    with connect(url) as conn:
        row = conn.execute(JOB).fetchone()
        assert row is not None
        job_id: UUID = row["id"]
        for name, content in router_files(f"job:{job_id}").items():
            artifacts.save(conn, Storage(folder), job_id, 1, name, content, "application/octet-stream")
        conn.execute("UPDATE jobs SET status = 'completed', completed_at = now(), result = '{}' WHERE id = %s", (job_id,))
    return f"job:{job_id}"


def in_turn(ways: dict[str, Callable[[str], Any]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each way, all of a round beside each other."""
    for call in ways.values():
        for text in TEXTS:
            call(text)
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, call in ways.items():
            began = time.perf_counter()
            call(TEXTS[number % len(TEXTS)])
            took[name].append(1000 * (time.perf_counter() - began))
    return took


def over_http(rounds: int) -> dict[str, list[float]]:
    servers = Servers([])
    processes: list[subprocess.Popen[bytes]] = []
    try:
        servers.start(finished=0)
        api_port, serve_port = free_ports(2)
        folder = servers.folder / "state"
        env = {key: value for key, value in os.environ.items() if not key.startswith("GOLDSMITH_")}
        env |= {"GOLDSMITH_STATE_DIR": str(folder), "GOLDSMITH_DATABASE_URL": servers.postgres.url()}
        env |= {"GOLDSMITH_BROKER_URL": servers.valkey.url, "GOLDSMITH_LOG_LEVEL": "warning"}
        env |= {"GOLDSMITH_PORT": str(api_port), "GOLDSMITH_SERVE_PORT": str(serve_port)}
        for module in (["api"], ["api.serve", "--lazy"]):
            processes.append(subprocess.Popen([sys.executable, "-m", *module], cwd=ROOT, env=env, stdout=subprocess.DEVNULL))
        api, serve = f"http://127.0.0.1:{api_port}", f"http://127.0.0.1:{serve_port}"
        for url in (f"{api}/healthz", f"{serve}/healthz"):
            wait(url)
        router = leave_router(servers.postgres.url(), folder)
        vector = load_encoder("minilm").encode(TEXTS[:1])[0].tolist()
        with httpx.Client(timeout=60, trust_env=False) as client:

            def post(url: str, **body: Any) -> None:
                client.post(url, json=body).raise_for_status()

            return in_turn(
                {
                    "encoder": lambda text: post(f"{serve}/v1/embeddings", model="minilm", input=text),
                    "route": lambda text: post(f"{api}/v1/route", router=router, query=text),
                    "vector": lambda text: post(f"{api}/v1/route", router=router, vector=vector),
                },
                rounds,
            )
    finally:
        for process in processes:
            process.terminate()
            process.wait(20)
        servers.stop()


def wait(url: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            httpx.get(url, timeout=2).raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def in_process(rounds: int) -> dict[str, list[float]]:
    encoder = load_encoder("minilm")
    files = router_files("job:bench")
    table = RoutingTable.read(json.loads(files["router.json"]), read_centroids(files["centroids.npz"]))
    router = Router(table, encode=lambda name, text: encoder.encode([text])[0])
    vector = encoder.encode(TEXTS[:1])[0]
    ways: dict[str, Callable[[str], Any]] = {"encoder": lambda text: encoder.encode([text]), "route": router.route}
    return in_turn(ways | {"vector": lambda text: router.route(vector=vector)}, rounds)


def show(rounds: int) -> None:
    table = Table("where", "one encoder call, ms", "route, ms", "added, ms (aim ≤ 1)", "vector given, ms", box=None)
    for where, took in (("SDK, in this process", in_process(rounds)), ("server, over HTTP", over_http(rounds))):
        added = median(route - encoder for route, encoder in zip(took["route"], took["encoder"], strict=True))
        numbers = (median(took["encoder"]), median(took["route"]), added, median(took["vector"]))
        table.add_row(where, *(f"{number:.2f}" for number in numbers))
    Console(width=120).print(f"{CLUSTERS:,} clusters of MiniLM's 384 numbers, medians of {rounds} rounds", table)
