"""The same as a real job: claimed by a supervisor, run in a process of its own, with heartbeat, events and checkpoints."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from uuid import uuid4

from bench.servers import Servers
from bench.training_peers.rows import BASE, examples
from goldsmith import datasets, jobs
from goldsmith.db import Database
from goldsmith.kinds.train.schema import TrainConfig
from goldsmith.queue import Queue
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from goldsmith.submit import JobOptions, new_job
from worker.supervisor import Supervisor

RUNNING = """
INSERT INTO jobs (id, kind, config, status, queue, attempt, timeout, worker, heartbeat_at, started_at)
VALUES (%s, 'gold', '{"kind": "gold"}', 'running', 'io', 1, 60, 'bench', now(), now())
"""


def main() -> None:
    order = json.load(sys.stdin)
    servers = Servers([])
    try:
        servers.start(finished=0)
        print(json.dumps(train(servers, order)))
    finally:
        servers.stop()


def train(servers: Servers, order: dict[str, object]) -> dict[str, object]:
    state = servers.folder / "state"
    state.mkdir()
    (state / "models").symlink_to(Path(str(order["cache"])).resolve())
    os.environ |= {  # the run's own process reads them there
        "GOLDSMITH_STATE_DIR": str(state),
        "GOLDSMITH_DATABASE_URL": servers.postgres.url(),
        "GOLDSMITH_BROKER_URL": servers.valkey.url,
    }
    settings = Settings()
    database = Database(settings.database, size=4).open()
    with database.connection() as conn:
        gold = uuid4()
        conn.execute(RUNNING, (gold,))
        rows = examples(int(str(order["train"])), int(str(order["heldout"])))
        version = datasets.save_version(conn, Storage(state), gold, 1, "bench", rows, manifest={}, parents=[], rehearsal=False)
        config = TrainConfig(dataset=version.ref, name="bench", base_model=BASE, **order["config"])  # type: ignore[arg-type]
        job, _ = jobs.submit(conn, new_job(config, JobOptions(), body={}))
        conn.commit()
        status = Supervisor(database, Queue(settings.broker), settings, worker="bench", gpu_id="cpu").run(job.id)
        done = conn.execute("SELECT result, error, message FROM jobs WHERE id = %s", (job.id,)).fetchone()
        events = conn.execute("SELECT count(*) AS n FROM job_events WHERE job_id = %s", (job.id,)).fetchone()
    database.close()
    assert done is not None
    assert events is not None
    if status != "completed":
        raise RuntimeError(f"the job is {status}: {done['error'] or done['message']}")
    result = done["result"]
    tokens = result["tokens_per_s"] * result["seconds"]
    return {
        "tokens": tokens,
        "seconds": result["seconds"],
        "steps": result["steps"],
        "heldout_loss": result["heldout_loss_after"],
        "events": events["n"],
    }


if __name__ == "__main__":
    main()
