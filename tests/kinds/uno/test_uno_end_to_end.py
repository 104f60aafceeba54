"""All of UNO with its real kinds: a planted log, the rehearsal teacher, MiniLM, and a tiny Qwen3 that learns."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from goldsmith import children, jobs, submit, uploads
from goldsmith.cli import uno_log
from goldsmith.cli.uno_demo import found_again
from goldsmith.db import Connection, Database
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.errors import Requeue
from goldsmith.job import Job
from goldsmith.jobs import Outcome
from goldsmith.kinds.ablation.schema import VARIANTS
from goldsmith.kinds.registry import kinds, load_run, parse_config
from goldsmith.rules import clusters_of
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from goldsmith.teacher.rehearsal import RehearsalServer
from tests.tiny import make_model
from worker.context import RunContext

SESSIONS = 120
PER_TOPIC = 36  # and 12 of noise


class Workshop:
    """A worker without processes: takes what is queued, the oldest first, until nothing is."""

    def __init__(self, conn: Connection, database: Database, settings: Settings, tmp_path: Path) -> None:
        self.conn, self.database, self.settings, self.tmp_path = conn, database, settings, tmp_path

    def work(self, watched: UUID) -> Job:
        """Until the watched job has ended, or waits for a person."""
        while True:
            jobs.rescue(self.conn, lease_s=3600)
            row = self.conn.execute("SELECT id, queue FROM jobs WHERE status = 'queued' ORDER BY id DESC LIMIT 1").fetchone()
            if row is None:
                job = jobs.get(self.conn, watched)
                if job.status != "scheduled" or "approval" in job.message:
                    return job
                self.conn.execute("UPDATE jobs SET run_at = now() WHERE status = 'scheduled'")
                continue
            self._run(row["id"], "gpu-1" if row["queue"] == "gpu" else None)

    def _run(self, job_id: UUID, gpu_id: str | None) -> None:
        claimed = jobs.claim(self.conn, job_id, worker="w", gpu_id=gpu_id)
        assert claimed is not None
        scratch = self.tmp_path / "scratch" / f"{job_id}-{claimed.attempt}"
        scratch.mkdir(parents=True)
        context = RunContext(
            self.database, self.settings, job_id=job_id, kind=claimed.kind, attempt=claimed.attempt, scratch=scratch
        )
        config, run = parse_config(claimed.config), load_run(claimed.kind)
        try:
            isolated = kinds()[claimed.kind].config.isolated
            result = run(config, context) if isolated else asyncio.run(run(config, context))
        except Requeue as put_back:
            end = Outcome("requeue", message=put_back.reason, after_s=put_back.after_s)
        else:
            context.flush()
            end = Outcome("completed", result=result.model_dump(mode="json"))
        jobs.finish(self.conn, job_id, claimed.attempt, end)


@pytest.fixture
def workshop(conn: Connection, database: Database, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Workshop]:
    with RehearsalServer() as server:
        settings = Settings(
            state_dir=tmp_path / "state",
            database_url=database.url,
            broker_url=valkey.url,
            rehearsal_url=server.url,
            model_roots=[tmp_path],
        )
        yield Workshop(conn, database, settings, tmp_path)


def uno(workshop: Workshop, **more: Any) -> Job:
    log = b"".join(
        json.dumps(json.loads(line) | {"config_id": "loom" if number % 2 else "The Kiln"}).encode() + b"\n"
        for number, line in enumerate(uno_log.lines(uno_log.make(5, SESSIONS, ("en",))).splitlines())
    )
    path = workshop.tmp_path / "log.jsonl"
    path.write_bytes(log)
    sha256 = hashlib.sha256(log).hexdigest()
    upload, _ = uploads.save(
        workshop.conn,
        Storage(workshop.settings.state_dir),
        path,
        form="jsonl",
        name=path.name,
        origin="synthetic",
        sha256=sha256,
        created_by=None,
        kind="sessions",
    )
    body = {
        "kind": "uno",
        "name": "planted",
        "upload": upload.ref,
        "teacher": "rehearsal",
        "budget_usd": 50.0,
        "base_model": str(make_model(workshop.tmp_path / "tiny")),
        "clustering": {"delta_sse_max": 4.5, "min_cluster_size": 10},  # of so few: topics fall apart below 2.9, merge above 7.7
        "gap": {"method": "embedding"},
        "pairs": {"samples": 1},
        "train": {"num_train_epochs": 2, "lora_r": 8, "lora_alpha": 16, "learning_rate": 1e-2, "max_length": 512},
        "verify": {"max_new_tokens": 16, "judge_samples": 1, "min_heldout": 4},
        "experts_at_most": 1,
        **more,
    }
    return submit.submit(workshop.conn, *submit.parse(body), body=body)[0]


def test_a_planted_log_becomes_a_router(workshop: Workshop) -> None:
    conn = workshop.conn
    job = uno(workshop, ablation={"limit": 6, "max_new_tokens": 16, "judge_samples": 1})
    waiting = workshop.work(job.id)
    assert "waits for approval" in waiting.message, (waiting.status, waiting.message, waiting.error)
    children.approve(conn, job.id, "museum")
    done = workshop.work(job.id)
    assert done.status == "completed", done.error
    result = done.result
    assert result is not None

    members = {one.cluster_id or "": one.members for one in clusters_of(conn, UUID(result["cluster"].removeprefix("job:")))}
    found = found_again(members)
    assert found["ari_within_language"]["en"] >= 0.95
    assert sorted(len(one) for one in members.values()) == [SESSIONS // 10] + [PER_TOPIC] * 3

    by_id = {one["cluster_id"]: one for one in result["clusters"]}
    noise = by_id[found["noise"][0]]
    assert noise["decision"] == "reflective"
    assert noise["path"] in ("reflective", "base")
    topics = [one for one in by_id.values() if one is not noise]
    assert {one["decision"] for one in topics} == {"primary"}
    expert = next(one for one in topics if one["expert"])
    assert expert["win_rate_interval"][0] <= expert["win_rate"] <= expert["win_rate_interval"][1]
    assert expert["path"] == ("primary" if expert["passed"] else "reflective")
    assert sum(one["expert"] is not None for one in topics) == 1
    assert result["label"] == "REHEARSAL"
    made = jobs.list_jobs(conn, submitted_by=job.id)
    assert {one.status for one in made} == {"completed"}
    every = {"sessions", "rules", "cluster", "gap", "pairs", "train", "verify", "router", "ablation"}
    assert {one.kind for one in made} == every
    examined = next(one.result for one in made if one.kind == "ablation")
    assert examined is not None
    assert {one["variant"] for one in examined["variants"]} | examined["not_run"].keys() == set(VARIANTS)
    assert {one["sessions"] for one in examined["variants"]} == {6}
    beside = {one["variant"]: one for one in examined["variants"] if one["variant"] in ("unclustered", "by_config")}
    assert {name: one["not_base"] for name, one in beside.items()} == {"unclustered": 6, "by_config": 6}
    paid = {one.config["group_by"]: one.cost_usd for one in made if one.kind == "pairs"}
    assert paid["all"] < paid["cluster"]  # the noise alone is new
    assert paid["config"] == 0
    assert examined["label"] == "REHEARSAL"
    assert json.dumps(result["variant"]).count("unit") == 1
