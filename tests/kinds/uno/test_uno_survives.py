"""A uno job on a real database, its worker killed after every single call; the ends of its jobs are played here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest

from goldsmith import children, jobs, sessions
from goldsmith.db import Connection, Database
from goldsmith.errors import Requeue
from goldsmith.job import Job
from goldsmith.jobs import Claimed, NewJob, Outcome
from goldsmith.kinds.uno.run import run
from goldsmith.kinds.uno.schema import UnoConfig
from goldsmith.kinds.uno.steps import StepFailed
from goldsmith.sessions import Session
from goldsmith.settings import Settings
from goldsmith.submit import JobOptions
from tests.kinds.uno.test_uno import Prices, cluster, learned
from tests.probe.inline.schema import NoopConfig
from worker.context import RunContext

CONFIG = UnoConfig.model_validate(
    {
        "name": "museum",
        "upload": "upload:0190a6f0-0000-7000-8000-000000000001",
        "teacher": "rehearsal",
        "budget_usd": 10.0,
        "approve": "plan",
    }
)
KEYS = ["sessions", "rules", "cluster", "gap", "pairs", "expert-c0", "verify-c0", "critic-c1", "critic-c0", "router"]
RESULTS: dict[str, dict[str, Any]] = {
    "gap": {"clusters": [cluster(0, "primary"), cluster(1, "reflective")]},
    "pairs": {"clusters": [learned(0), learned(1)]},
    "router": {"clusters": [{"cluster_id": one, "path": "reflective", "why": "as played"} for one in ("c0", "c1")]},
    "verify-c0": {"adapter": "adapter:museum-c0-expert@1", "win_rate": 0.5, "interval": [0.3, 0.7], "passed": False},
}


class Killed(BaseException):
    """What no code sees when its process is killed."""


class Mortal(RunContext):
    """Dies at its `lives`-th call that reaches the database, before it or after it."""

    lives = 10**9
    when: Literal["before", "after"] = "after"

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("submit", "child", "cancel_child", "log", "save_artifact", "artifact", "flush", "approved", "sessions"):
            return found

        def call(*args: Any, **more: Any) -> Any:
            self.lives -= 1
            if self.lives == 0 and self.when == "before":
                raise Killed
            done = found(*args, **more)
            if self.lives == 0:
                raise Killed
            return done

        return call

    def teacher(self, *_: Any, **__: Any) -> Any:
        return Prices()


@pytest.fixture(autouse=True)
def only_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The children never run: they need no configs that hold."""

    def parse(body: Mapping[str, Any]) -> tuple[Any, JobOptions]:
        return NoopConfig(), JobOptions()

    monkeypatch.setattr(children.submit, "parse", parse)


class Stage:
    def __init__(self, conn: Connection, database: Database, tmp_path: Path) -> None:
        self.conn, self.database, self.settings = conn, database, Settings(state_dir=tmp_path)
        new = NewJob("uno", CONFIG.model_dump(mode="json"), "io", timeout=600, max_attempts=10_000)
        self.id = jobs.submit(conn, new)[0].id
        self.tmp_path = tmp_path

    @property
    def job(self) -> Job:
        return jobs.get(self.conn, self.id)

    def by_key(self) -> dict[str, Job]:
        rows = self.conn.execute("SELECT id, idempotency_key FROM jobs WHERE submitted_by = %s ORDER BY id", (self.id,))
        return {row["idempotency_key"].partition("/")[2]: jobs.get(self.conn, row["id"]) for row in rows.fetchall()}

    def look(self, lives: int = 10**9, when: Literal["before", "after"] = "after") -> None:
        """One attempt, as the supervisor makes it; a killed one is found by rescue."""
        self.conn.execute("UPDATE jobs SET run_at = now() WHERE id = %s AND status = 'scheduled'", (self.id,))
        jobs.wake_due(self.conn)
        claimed = jobs.claim(self.conn, self.id, worker="w", gpu_id=None)
        assert isinstance(claimed, Claimed)
        context = Mortal(
            self.database, self.settings, job_id=self.id, kind="uno", attempt=claimed.attempt, scratch=self.tmp_path
        )
        context.lives, context.when = lives, when
        try:
            result = asyncio.run(run(CONFIG, context))
        except Requeue as put_back:
            end = Outcome("requeue", message=put_back.reason, after_s=put_back.after_s)
        except StepFailed as failed:
            end = Outcome("failed", error={"title": failed.title, "detail": failed.detail}, message=failed.detail)
        except Killed:
            assert jobs.rescue(self.conn, lease_s=0) == [self.id]
            return
        else:
            end = Outcome("completed", result=result.model_dump(mode="json"))
        jobs.finish(self.conn, self.id, claimed.attempt, end)

    def end_children(self) -> None:
        for key, job in self.by_key().items():
            if job.status == "queued":
                self.end(key, job.id)

    def end(self, key: str, job_id: UUID, outcome: str = "completed") -> None:
        claimed = jobs.claim(self.conn, job_id, worker="w", gpu_id=None)
        assert claimed is not None
        if key == "sessions":
            sessions.save_sessions(self.conn, job_id, claimed.attempt, [Session(0, "s", "chat", "q", "a", "f", "turns")])
        result = RESULTS.get(key, {"rehearsal": True})
        jobs.finish(self.conn, job_id, claimed.attempt, Outcome(outcome, result=result, message=f"{key} broke"))  # type: ignore[arg-type]

    def plan_is_there(self) -> bool:
        return bool(
            self.conn.execute("SELECT 1 FROM artifacts WHERE job_id = %s AND name = 'plan.json'", (self.id,)).fetchone()
        )


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_call_it_submits_nothing_twice_and_comes_to_its_end(
    conn: Connection, database: Database, tmp_path: Path, when: Literal["before", "after"]
) -> None:
    stage = Stage(conn, database, tmp_path)
    deaths = 0
    for _ in range(40):  # it takes seven looks
        lives = 1
        while True:  # the same look again, dying one call later each time, until it lives to its end
            before = stage.job.failures
            stage.look(lives, when)
            if stage.job.failures == before:
                break
            deaths, lives = deaths + 1, lives + 1
        if stage.job.status == "completed":
            break
        if stage.plan_is_there():
            children.approve(conn, stage.id, "museum")
        stage.end_children()
    assert stage.job.status == "completed"
    assert deaths > 60
    assert sorted(stage.by_key()) == sorted(KEYS)
    rows = conn.execute("SELECT data->>'message' AS message FROM job_events WHERE job_id = %s AND event = 'log'", (stage.id,))
    said = Counter(row["message"].partition(":")[0] for row in rows)
    assert set(said) == {"plan"}
    assert [row["path"] for row in stage.job.result["clusters"]] == ["reflective", "reflective"]  # type: ignore[index]


def test_it_fails_with_its_jobs_reason_and_a_retry_goes_on_there(conn: Connection, database: Database, tmp_path: Path) -> None:
    stage = Stage(conn, database, tmp_path)
    stage.look()
    made = stage.by_key()
    stage.end("sessions", made["sessions"].id)
    stage.end("rules", made["rules"].id, "failed")
    stage.look()
    assert stage.job.status == "failed"
    assert "rules broke" in stage.job.message
    assert stage.by_key()["cluster"].status == "cancelled"  # it was asked to stop with the others

    jobs.retry(conn, stage.id)
    stage.look()
    again = stage.by_key()
    assert {key: job.id for key, job in again.items()} == {key: job.id for key, job in made.items()}
    assert [again[key].status for key in ("sessions", "rules", "cluster", "gap")] == ["completed", "queued", "queued", "queued"]


def test_a_cancel_between_two_looks_takes_its_jobs_along(conn: Connection, database: Database, tmp_path: Path) -> None:
    stage = Stage(conn, database, tmp_path)
    stage.look()
    assert stage.job.status == "scheduled"
    jobs.cancel(conn, stage.id)
    assert {job.status for job in stage.by_key().values()} == {"cancelled"}
