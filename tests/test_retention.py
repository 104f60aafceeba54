"""Old jobs go, with all that they left; nothing goes that is built on; a crash in between is made good by the next sweep."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from goldsmith import artifacts, jobs, recordings, retention, schedules, submit
from goldsmith.db import Connection, Database
from goldsmith.errors import ReferenceNotUsable
from goldsmith.jobs import NewJob, Outcome
from goldsmith.schedules import NewSchedule
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from tests.conftest import wait_until

DAYS = 30
JobFactory = Callable[..., UUID]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, state_dir=tmp_path, keep_jobs_days=DAYS)


@pytest.fixture
def old(conn: Connection, job_factory: JobFactory, settings: Settings) -> JobFactory:
    """A completed job with an artifact, a log, a checkpoint and an event, all 31 days old."""

    def make(**more: Any) -> UUID:
        job = job_factory(**({"status": "running"} | more))
        if more.get("status", "running") == "running":
            artifacts.save(conn, Storage(settings.state_dir), job, 1, "out.json", b"{}", "application/json")
            checkpoint = settings.state_dir / "checkpoints" / str(job) / "1-1" / "state"
            log = settings.logs / "jobs" / f"{job}.1.log"
            for path in (checkpoint, log):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("x")
            jobs.log(conn, job, 1, "said", {})
            jobs.finish(conn, job, 1, Outcome("completed", result={}))
        age(conn, settings.state_dir, job)
        return job

    return make


def age(conn: Connection, folder: Path, job: UUID, days: float = DAYS + 1) -> None:
    conn.execute(
        "UPDATE jobs SET created_at = now() - %s * interval '1 day', completed_at = completed_at - %s * interval '1 day' WHERE id = %s",
        (days, days, job),
    )
    then = time.time() - days * 86_400
    for path in folder.rglob(f"*{job}*"):
        for one in (path, *path.rglob("*")):
            os.utime(one, (then, then))


def left(conn: Connection) -> set[UUID]:
    return {job.id for job in jobs.list_jobs(conn, limit=500)}


def files(folder: Path, job: UUID) -> list[Path]:
    return list(folder.rglob(f"*{job}*"))


def test_an_old_job_goes_with_all_that_it_left(conn: Connection, old: JobFactory, settings: Settings) -> None:
    gone, failed, kept = old(), old(status="failed"), old()
    age(conn, settings.state_dir, kept, -2)
    assert len(files(settings.state_dir, gone)) == 3
    swept = retention.sweep(conn, settings)
    assert (swept.jobs, swept.artifacts, swept.artifact_bytes, swept.orphans) == (2, 1, 2, 3)
    assert left(conn) == {kept}
    assert failed not in left(conn)
    assert files(settings.state_dir, gone) == []
    assert len(files(settings.state_dir, kept)) == 3
    assert conn.execute("SELECT 1 FROM job_events WHERE job_id = %s", (gone,)).fetchone() is None


def test_a_dry_run_says_the_same_and_removes_nothing(conn: Connection, old: JobFactory, settings: Settings) -> None:
    job = old()
    would = retention.sweep(conn, settings, dry_run=True)
    assert left(conn) == {job}
    assert len(files(settings.state_dir, job)) == 3
    did = retention.sweep(conn, settings)
    assert would.model_dump(exclude={"dry_run"}) == did.model_dump(exclude={"dry_run"})
    assert did.jobs == 1


def test_by_default_all_is_kept_for_ever(conn: Connection, old: JobFactory, tmp_path: Path) -> None:
    job = old()
    assert retention.sweep(conn, Settings(_env_file=None, state_dir=tmp_path)).jobs == 0
    assert left(conn) == {job}


def test_what_a_dataset_or_adapter_comes_from_stays_with_all_its_parents(
    conn: Connection, old: JobFactory, settings: Settings
) -> None:
    grandparent = old(kind="import")
    parent = old(kind="rules", config={"kind": "rules", "runs": f"job:{grandparent}"})  # by reference
    for table, name in (("datasets", "gold"), ("adapters", "workshop")):
        conn.execute(f"INSERT INTO {table} (name) VALUES (%s)", (name,))
    gold, train, waited_for = old(), old(), old()
    conn.execute(
        "INSERT INTO job_dependencies (job_id, parent_id) VALUES (%s, %s), (%s, %s)", (gold, parent, train, waited_for)
    )
    conn.execute(
        "INSERT INTO dataset_versions (dataset_id, version, job_id, content_sha256) SELECT id, 1, %s, '' FROM datasets", (gold,)
    )
    conn.execute(
        "INSERT INTO adapter_versions (adapter_id, version, job_id, base_model, base_sha256, tokenizer_sha256, template_sha256,"
        " dataset, uri) SELECT id, 1, %s, '', '', '', '', '', '' FROM adapters",
        (train,),
    )
    named = old()
    conn.execute("UPDATE dataset_versions SET manifest = %s", (Jsonb({"contexts": f"job:{named}/contexts.json"}),))
    free = old()
    assert retention.sweep(conn, settings).jobs == 1
    assert left(conn) == {grandparent, parent, gold, train, waited_for, named}
    assert free not in left(conn)


def test_parents_of_unfinished_jobs_stay(conn: Connection, old: JobFactory, settings: Settings) -> None:
    by_reference, by_dependency, grandparent = old(kind="import"), old(), old()
    conn.execute("INSERT INTO job_dependencies (job_id, parent_id) VALUES (%s, %s)", (by_dependency, grandparent))
    child, _ = jobs.submit(
        conn, NewJob("rules", {"kind": "rules", "runs": f"job:{by_reference}"}, "io", 60, 3, parents=[by_dependency])
    )
    free = old()
    retention.sweep(conn, settings)
    assert left(conn) == {by_reference, by_dependency, grandparent, child.id}
    assert free not in left(conn)
    jobs.cancel(conn, child.id)
    retention.sweep(conn, settings)
    assert left(conn) == {child.id}


def test_what_a_schedule_refers_to_and_the_newest_contexts_stay(conn: Connection, old: JobFactory, settings: Settings) -> None:
    runs, contexts, older = old(kind="import"), old(kind="import"), old(kind="import")
    conn.execute("UPDATE artifacts SET name = 'contexts.json' WHERE job_id = ANY(%s)", ([contexts],))
    config = {"kind": "rules", "runs": f"job:{runs}", "teacher": "rehearsal", "budget_usd": 1}
    schedules.create(conn, NewSchedule(name="nightly", cron="0 3 * * *", config=config))
    retention.sweep(conn, settings)
    assert left(conn) == {runs, contexts}
    assert older not in left(conn)


def test_what_a_teacher_cost_stays_without_the_job(conn: Connection, old: JobFactory, settings: Settings) -> None:
    job = old()
    conn.execute("INSERT INTO budgets (scope, cap_usd) VALUES ('all', 5)")
    conn.execute(
        "INSERT INTO teacher_calls (job_id, attempt, budget_id, item, request_sha256, provider, model, status, reserved_usd, cost_usd,"
        " settled_at) SELECT %s, 1, id, '', '', 'p', 'm', 'settled', 1, 0.5, now() FROM budgets",
        (job,),
    )
    assert retention.sweep(conn, settings).jobs == 1
    row = conn.execute("SELECT job_id, cost_usd FROM teacher_calls").fetchone()
    assert row is not None
    assert (row["job_id"], float(row["cost_usd"])) == (None, 0.5)


def test_a_crash_between_rows_and_files_is_made_good(
    conn: Connection, old: JobFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = old()
    with monkeypatch.context() as crash:
        crash.setattr(shutil, "rmtree", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            retention.sweep(conn, settings)
    assert left(conn) == set()
    assert files(settings.state_dir, job)
    again = retention.sweep(conn, settings)
    assert (again.jobs, again.orphans) == (0, 3)
    assert files(settings.state_dir, job) == []


def test_young_files_of_an_unknown_job_stay(conn: Connection, settings: Settings) -> None:
    stranger = settings.state_dir / "artifacts" / str(uuid4()) / "1" / "out.json"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("{}")
    assert retention.sweep(conn, settings).orphans == 0
    assert stranger.exists()


def test_many_go_in_batches(
    conn: Connection, job_factory: JobFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOCK", retention.LOCK.replace(f"LIMIT {retention.BATCH}", "LIMIT 2"))
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(5):
        age(conn, settings.state_dir, job_factory(status="completed"))
    assert retention.sweep(conn, settings).jobs == 5


def test_who_comes_to_depend_on_a_job_that_is_just_removed_is_told(
    conn: Connection, old: JobFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = old()
    config, options = submit.parse({"kind": "noop", "options": {"depends_on": [str(parent)]}})

    def removed_after_the_check(conn: Connection, new: NewJob) -> object:
        retention.sweep(conn, settings)
        return submit_job(conn, new)

    submit_job = jobs.submit
    monkeypatch.setattr(jobs, "submit", removed_after_the_check)
    with pytest.raises(ReferenceNotUsable):
        submit.submit(conn, config, options, body={})


def test_a_batch_is_forgotten_with_the_last_of_its_jobs(conn: Connection, old: JobFactory, settings: Settings) -> None:
    gone, young = old(), old()
    for key, ids in (("gone", [gone]), ("half", [gone, young])):
        conn.execute(
            "INSERT INTO batches (created_by, idempotency_key, idempotency_sha256, job_ids, created_at)"
            " VALUES ('local', %s, 'x', %s, now() - %s * interval '1 day')",
            (key, ids, DAYS + 1),
        )
    conn.execute("UPDATE jobs SET completed_at = now() WHERE id = %s", (young,))
    retention.sweep(conn, settings)
    assert [row["idempotency_key"] for row in conn.execute("SELECT idempotency_key FROM batches")] == ["half"]


def test_it_sweeps_by_itself(
    conn: Connection, database: Database, old: JobFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old()
    monkeypatch.setattr(retention, "FIRST_AFTER_S", 0.01)
    thread = retention.SweepThread(database, settings)
    thread.start()
    try:
        wait_until(lambda: left(conn) == set(), "the sweep")
    finally:
        thread.stop()
        thread.join(120)
    assert not thread.is_alive()


def test_runs_that_a_later_import_found_unchanged_pass_to_it(
    conn: Connection, settings: Settings, old: JobFactory, job_factory: JobFactory
) -> None:
    first, second = old(kind="import"), job_factory(kind="import", status="running")
    for run_id in ("run_1", "run_2"):
        conn.execute(
            "INSERT INTO runs (job_id, run_id, device_id, content_sha256, may_train) VALUES (%s, %s, 'd', '0', true)",
            (first, run_id),
        )
    recordings.carry_runs(conn, second, 1, {"run_1": "0"})
    assert retention.sweep(conn, settings).jobs == 1
    assert [each.run_id for each in recordings.runs_of(conn, second)] == ["run_1"]
    assert conn.execute("SELECT count(*) AS n FROM runs").fetchone() == {"n": 1}


def test_a_router_that_is_asked_stays_and_its_old_decisions_go(conn: Connection, old: JobFactory, settings: Settings) -> None:
    asked, forgotten = old(kind="router"), old(kind="router")
    for router, days in ((asked, 1), (asked, DAYS + 1), (forgotten, DAYS + 1)):
        conn.execute(
            "INSERT INTO routes (router_job_id, path, distance, outlier, created_at)"
            " VALUES (%s, 'base', 1, false, now() - %s * interval '1 day')",
            (router, days),
        )
    assert retention.sweep(conn, settings).jobs == 1
    assert conn.execute("SELECT router_job_id FROM routes").fetchall() == [{"router_job_id": asked}]
