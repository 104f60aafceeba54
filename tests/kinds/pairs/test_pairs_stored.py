"""Gap and pairs on a real store: what they read, what they leave, and what an erasure takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from goldsmith import datasets, erasure, lineage, recordings, rules, sessions
from goldsmith.db import Connection, Database
from goldsmith.kinds.gap.run import run as measure
from goldsmith.kinds.gap.schema import GapConfig, GapResult
from goldsmith.kinds.pairs.run import run as buy
from goldsmith.kinds.pairs.schema import PairsConfig, PairsResult
from goldsmith.recordings import RecordedRun
from goldsmith.rules import Cluster, Rule
from goldsmith.sessions import Session
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from goldsmith.teacher.rehearsal import RehearsalServer
from tests.rerankers import make_yes_no
from worker.context import RunContext

DEVICE, OTHER = "device-3f9c1c2e77a0", "device-of-somebody-else"


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with RehearsalServer() as server:
        yield Settings(
            _env_file=None, state_dir=tmp_path / "state", rehearsal_url=server.url, model_roots=[tmp_path / "models"]
        )


class Log:
    """Twelve recorded runs of two devices, their sessions, rules and one cluster."""

    def __init__(
        self, conn: Connection, database: Database, settings: Settings, job: Callable[..., UUID], scratch: Path
    ) -> None:
        self.conn, self.database, self.settings, self.job, self.scratch = conn, database, settings, job, scratch
        self.names = [f"run-{number:02}" for number in range(12)]
        self.import_id = job("import")
        self.rules_id = job("rules", config={"kind": "rules", "runs": f"job:{self.import_id}"})
        self.cluster_id = job("cluster", config={"kind": "cluster", "rules": f"job:{self.rules_id}", "space": "unit"})
        recordings.save_runs(conn, self.import_id, 1, [self._run(name) for name in self.names])
        sessions.save_sessions(conn, self.rules_id, 1, [self._session(name) for name in self.names])
        rules.save_rules(conn, self.rules_id, 1, [one for name in self.names for one in self._rules(name)])
        rules.save_clusters(conn, self.cluster_id, 1, [Cluster(0, 12, "active", self.names, cluster_id="c1f")])
        for job_id in (self.import_id, self.rules_id, self.cluster_id):
            self.end(job_id)

    def _device(self, name: str) -> str:
        return DEVICE if name < "run-02" else OTHER

    def _thing(self, name: str) -> str:
        return f"treehouse of {self._device(name)[7:19]} nr {name[4:]}"

    def _run(self, name: str) -> RecordedRun:
        return RecordedRun(
            run_id=name, device_id=self._device(name), content_sha256=name.zfill(64), recorded_at=None, config_id="oil",
            context=None, context_lang=None, language="en", input=f"a {self._thing(name)}", output=f"A {self._thing(name)}.",
            accepted=None, exclusion=None,
        )  # fmt: skip

    def _session(self, name: str) -> Session:
        return Session(
            self.names.index(name), name, "run", f"a {self._thing(name)}", f"A {self._thing(name)}.", "Feedback 1: more wood",
            "user_edit", run_id=name, device_id=self._device(name), config_id="oil", language="en",
        )  # fmt: skip

    def _rules(self, name: str) -> Iterator[Rule]:
        number = 2 * self.names.index(name)
        yield Rule(number, name, "oil", "en", "feedback", f"Name the wood of the {self._thing(name)}.")
        yield Rule(number + 1, name, "oil", "en", "model", "Name the treehouse.")

    def context(self, kind: str, config: dict[str, Any]) -> RunContext:
        job_id = self.job(kind, config=config)
        return RunContext(self.database, self.settings, job_id=job_id, kind=kind, attempt=1, scratch=self.scratch)

    def end(self, job_id: UUID) -> None:
        self.conn.execute(
            "UPDATE jobs SET status = 'completed', completed_at = now(), progress = 100, result = %s WHERE id = %s",
            (Jsonb({}), job_id),
        )

    def gap(self, **more: Any) -> tuple[UUID, GapResult]:
        config = GapConfig.model_validate({"clusters": f"job:{self.cluster_id}", **more})
        context = self.context("gap", config.model_dump(mode="json"))
        result = measure(config, context)
        self.end(context.job_id)
        return context.job_id, result

    def pairs(self, gap: UUID | None) -> tuple[UUID, PairsResult]:
        asked = {"clusters": f"job:{self.cluster_id}", "gap": gap and f"job:{gap}", "name": "wood"}
        config = PairsConfig.model_validate({**asked, "teacher": "rehearsal", "budget_usd": 5.0, "samples": 1})
        context = self.context("pairs", config.model_dump(mode="json"))
        result = asyncio.run(buy(config, context))
        self.end(context.job_id)
        return context.job_id, result


@pytest.fixture
def log(conn: Connection, database: Database, settings: Settings, job_factory: Callable[..., UUID], tmp_path: Path) -> Log:
    return Log(conn, database, settings, job_factory, tmp_path)


def test_a_reranker_below_a_root_measures_what_is_stored(log: Log, tmp_path: Path) -> None:
    folder = make_yes_no(tmp_path / "models" / "tiny")
    job_id, result = log.gap(reranker=str(folder))
    [cluster] = result.clusters
    assert (cluster.scored, cluster.cluster_id, result.model) == (12, "c1f", str(folder))
    assert 0 < (cluster.mu or 0) < 1
    told = json.loads(log.context("pairs", {}).artifact(f"job:{job_id}/gap.json").read_text())
    assert told["clusters"] == [cluster.model_dump()]


def test_a_judge_measures_and_pairs_follow_the_gap(log: Log) -> None:
    gap_id, gap = log.gap(method="judge", teacher="rehearsal", budget_usd=1.0, tau=1.0)
    assert [(one.decision, one.scored) for one in gap.clusters] == [("primary", 12)]
    assert gap.spent_usd > 0
    _, pairs = log.pairs(gap_id)
    [cluster] = pairs.clusters
    assert (cluster.decision, cluster.pairs_train, cluster.pairs_heldout, cluster.critic_rows) == ("primary", 9, 3, 12)
    assert pairs.gap_method == "judge"
    version = datasets.get(log.conn, *datasets.parse_ref(cluster.pairs or ""))
    assert version.rehearsal
    assert version.manifest["licence"] == datasets.LICENCE
    told = lineage.of(log.conn, cluster.pairs or "")
    assert told.runs == 12
    assert told.calls > 12
    assert {node.ref for node in told.root.made_from} == {
        f"job:{one}" for one in (gap_id, log.cluster_id, log.rules_id, log.import_id)
    }


def test_an_erasure_takes_a_devices_pairs_and_what_teachers_said_of_them(log: Log) -> None:
    gap_id, _ = log.gap(method="judge", teacher="rehearsal", budget_usd=1.0, tau=1.0)
    _, pairs = log.pairs(gap_id)
    [cluster] = pairs.clusters
    storage = Storage(log.settings.state_dir)
    erased = erasure.erase(log.conn, storage, DEVICE, actor="ada", dry_run=False)
    assert erased.rows == 4  # two pairs, two critics' rows
    assert erased.teacher_answers > 0
    for ref in (cluster.pairs, cluster.critic):
        assert {row.source for row in datasets.examples_of(log.conn, ref or "")} == set(log.names[2:])
    tables = [row["t"] for row in log.conn.execute("SELECT tablename AS t FROM pg_tables WHERE schemaname = 'public'")]
    left = "\n".join(row["r"] for one in tables for row in log.conn.execute(f"SELECT {one}::text AS r FROM {one}").fetchall())
    left += "\n".join(path.read_text(errors="replace") for path in storage.root.rglob("*") if path.is_file())
    for gone in ("run-00", "run-01", DEVICE, "treehouse of 3f9c1c2e77a0"):
        assert gone not in left, gone
    assert "treehouse of of-somebody" in left
