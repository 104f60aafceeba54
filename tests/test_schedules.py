"""Recurring jobs: one job for each time, whoever fires, on the right side of daylight saving."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from goldsmith import jobs, schedules
from goldsmith.db import Connection, Database, connect
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.errors import Conflict, InvalidInput, NotFound, ReferenceNotUsable
from goldsmith.queue import Queue
from goldsmith.rescue import RescueThread
from goldsmith.schedules import NewSchedule, ScheduleChange
from goldsmith.settings import Settings
from tests.conftest import wait_until

SETTINGS = Settings(_env_file=None)


def new(**more: Any) -> NewSchedule:
    return NewSchedule(**({"name": "nightly", "cron": "0 3 * * *", "config": {"kind": "noop"}} | more))


def make_due(conn: Connection, ago: str = "1 second") -> None:
    conn.execute("UPDATE schedules SET next_at = now() - %s::interval", (ago,))


def local(times: list[datetime]) -> list[str]:
    return [f"{time:%m-%d %H:%M %Z}" for time in times]


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # spring: 02:00 CET becomes 03:00 CEST
        ("30 2 * * *", "2027-03-27T12:00Z", ["03-28 03:00 CEST", "03-29 02:30 CEST"]),
        ("0 4 * * *", "2027-03-27T12:00Z", ["03-28 04:00 CEST", "03-29 04:00 CEST"]),
        ("*/30 * * * *", "2027-03-28T00:15Z", ["03-28 01:30 CET", "03-28 03:00 CEST"]),
        # autumn: 03:00 CEST becomes 02:00 CET
        ("30 2 * * *", "2027-10-30T12:00Z", ["10-31 02:30 CEST", "11-01 02:30 CET"]),
        ("0 4 * * *", "2027-10-30T12:00Z", ["10-31 04:00 CET", "11-01 04:00 CET"]),
        ("30 * * * *", "2027-10-31T00:15Z", ["10-31 02:30 CEST", "10-31 02:30 CET"]),
    ],
)
def test_daylight_saving(cron: str, after: str, expected: list[str]) -> None:
    assert local(schedules.times(cron, "Europe/Berlin", datetime.fromisoformat(after), 2)) == expected


def test_a_due_schedule_submits_its_job_and_moves_on(conn: Connection) -> None:
    schedules.create(conn, new(options={"priority": 7}))
    assert schedules.fire(conn, SETTINGS) == []
    make_due(conn)
    (told,) = schedules.fire(conn, SETTINGS)
    job, after = jobs.get(conn, told.id), schedules.get(conn, "nightly")
    assert (job.kind, job.priority, job.created_by, job.status) == ("noop", 7, "schedule:nightly", "queued")
    assert after.last_job_id == job.id
    assert after.next_at > datetime.now(UTC)
    assert after.next_at.astimezone(UTC).hour == 3
    assert schedules.fire(conn, SETTINGS) == []


def test_twenty_that_fire_at_once_make_one_job_for_each_schedule(conn: Connection, database_url: str) -> None:
    for number in range(3):
        schedules.create(conn, new(name=f"s{number}"))
    make_due(conn)
    gate = threading.Barrier(20)

    def fire(_: int) -> int:
        with connect(database_url) as own:
            gate.wait()
            return len(schedules.fire(own, SETTINGS))

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(fire, range(20))) == 3
    assert sorted(job.created_by for job in jobs.list_jobs(conn)) == ["schedule:s0", "schedule:s1", "schedule:s2"]


def test_times_that_passed_while_nobody_fired_make_one_job(conn: Connection) -> None:
    schedules.create(conn, new(cron="* * * * *"))
    make_due(conn, "3 days")
    assert len(schedules.fire(conn, SETTINGS)) == 1
    assert schedules.fire(conn, SETTINGS) == []


def test_the_job_and_the_next_time_are_one_transaction(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    schedules.create(conn, new())
    make_due(conn)
    before = schedules.get(conn, "nightly")
    monkeypatch.setattr(schedules, "times", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        schedules.fire(conn, SETTINGS)
    assert jobs.list_jobs(conn) == []
    assert schedules.get(conn, "nightly") == before


def test_a_job_that_cannot_be_submitted_is_named_and_holds_nobody_up(
    conn: Connection, job_factory: Callable[..., UUID]
) -> None:
    runs = job_factory(kind="import", status="completed")
    schedules.create(conn, new(config={"kind": "rules", "runs": f"job:{runs}", "budget_usd": 1, "teacher": "rehearsal"}))
    schedules.create(conn, new(name="other"))
    conn.execute("UPDATE jobs SET status = 'failed', error = '{}'")
    make_due(conn)
    assert len(schedules.fire(conn, SETTINGS)) == 1
    broken = schedules.get(conn, "nightly")
    assert broken.last_error is not None
    assert str(runs) in broken.last_error["detail"]
    assert broken.next_at > datetime.now(UTC)


def test_a_schedule_that_breaks_ends_neither_the_others_nor_rescue(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    schedules.create(conn, new())
    schedules.create(conn, new(name="other"))
    make_due(conn)
    submit_it = schedules._submit

    def breaks(conn: Connection, schedule: schedules.Schedule, settings: Settings) -> object:
        if schedule.name == "nightly":
            conn.execute("SELECT 1 / 0")
        return submit_it(conn, schedule, settings)

    monkeypatch.setattr(schedules, "_submit", breaks)
    assert len(schedules.fire(conn, SETTINGS)) == 1
    broken = schedules.get(conn, "nightly")
    assert (broken.last_error or {})["detail"] == "DivisionByZero"
    assert broken.next_at > datetime.now(UTC)


def test_a_disabled_schedule_does_not_fire_nor_catch_up(conn: Connection) -> None:
    schedules.create(conn, new(enabled=False))
    make_due(conn)
    assert schedules.fire(conn, SETTINGS) == []
    schedules.change(conn, "nightly", ScheduleChange(enabled=True))
    assert schedules.fire(conn, SETTINGS) == []


def test_a_unique_key_skips_a_time_whose_predecessor_still_runs(conn: Connection) -> None:
    schedules.create(conn, new(options={"unique_key": "nightly"}))
    make_due(conn)
    (first,) = schedules.fire(conn, SETTINGS)
    jobs.claim(conn, first.id, worker="w", gpu_id=None)
    make_due(conn)
    assert schedules.fire(conn, SETTINGS) == []
    assert schedules.get(conn, "nightly").last_job_id == first.id


def test_create_change_preview_remove(conn: Connection) -> None:
    schedules.create(conn, new(time_zone="Europe/Berlin"))
    with pytest.raises(Conflict):
        schedules.create(conn, new())
    schedules.change(conn, "nightly", ScheduleChange(cron="15 5 * * 1", time_zone="Asia/Tokyo"))
    times = schedules.preview(conn, "nightly")
    assert len(times) == 5
    assert {(time.weekday(), f"{time:%H:%M %Z}") for time in times} == {(0, "05:15 JST")}
    schedules.remove(conn, "nightly")
    with pytest.raises(NotFound):
        schedules.remove(conn, "nightly")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"cron": "61 * * * *"}, "bad minute"),
        ({"cron": "0 0 31 2 *"}, "bad day-of-month"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"time_zone": "Mars/Olympus"}, "no time zone"),
        ({"name": "No Name"}, "pattern"),
    ],
)
def test_what_is_wrong_is_said(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        new(**more)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"config": {"kind": "nonsense"}}, "config.kind"),
        ({"config": {"kind": "noop", "wait": 1}}, "config.wait"),
        ({"options": {"priority": 10}}, "options.priority"),
        ({"options": {"run_at": "2030-01-01T00:00:00Z"}}, "options.run_at"),
    ],
)
def test_a_job_that_could_never_be_submitted_is_refused(conn: Connection, more: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        schedules.create(conn, new(**more))
    assert caught.value.errors[0]["field"] == field


def test_a_reference_to_nothing_is_refused(conn: Connection) -> None:
    with pytest.raises(ReferenceNotUsable):
        schedules.create(
            conn,
            new(config={"kind": "gold", "dataset": "dataset:none@1", "name": "g", "budget_usd": 1, "teacher": "rehearsal"}),
        )


def rules_of(runs: UUID, model: str, teacher: str = "anthropic") -> dict[str, Any]:
    return {"kind": "rules", "runs": f"job:{runs}", "teacher": teacher, "model": model, "budget_usd": 1}


def test_a_model_without_a_price_is_refused_when_the_schedule_is_made_or_changed(
    conn: Connection, job_factory: Callable[..., UUID]
) -> None:
    runs = job_factory(kind="import", status="completed")
    with pytest.raises(InvalidInput, match="'gpt-9' has no price") as caught:
        schedules.create(conn, new(config=rules_of(runs, "gpt-9")), settings=SETTINGS)
    assert caught.value.errors[0]["field"] == "config.model"
    schedules.create(conn, new(config=rules_of(runs, "claude-sonnet-5-5")), settings=SETTINGS)
    change = ScheduleChange(config=rules_of(runs, "claude-sonnet-5-5", teacher="bedrock"))
    with pytest.raises(InvalidInput, match="not one of teacher 'bedrock'"):
        schedules.change(conn, "nightly", change, settings=SETTINGS)


def test_a_model_that_lost_its_price_makes_no_job_and_says_so(
    conn: Connection, tmp_path: Path, job_factory: Callable[..., UUID]
) -> None:
    runs = job_factory(kind="import", status="completed")
    own = tmp_path / "prices.yaml"
    own.write_text("models:\n  ours-1: {provider: anthropic, input: 1, output: 2}\n")
    schedules.create(conn, new(config=rules_of(runs, "ours-1")), settings=Settings(_env_file=None, prices=own))
    make_due(conn)
    assert schedules.fire(conn, SETTINGS) == []
    error = schedules.get(conn, "nightly").last_error
    assert error is not None
    assert "model 'ours-1' has no price" in error["detail"]


def test_rescue_fires_where_there_is_no_beat(conn: Connection, database: Database, valkey: EmbeddedValkey) -> None:
    schedules.create(conn, new())
    make_due(conn)
    settings = Settings(_env_file=None, rescue_every_s=0.2)
    thread = RescueThread(database, Queue(valkey.url), settings)
    thread.start()
    try:
        wait_until(lambda: len(jobs.list_jobs(conn)) == 1, "the schedule's job")
    finally:
        thread.stop()
        thread.join(120)
    assert jobs.list_jobs(conn)[0].created_by == "schedule:nightly"
