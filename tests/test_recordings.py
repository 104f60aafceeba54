from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from goldsmith.db import Connection
from goldsmith.errors import FencedOut
from goldsmith.recordings import (
    Feedback,
    RecordedRun,
    carry_runs,
    import_index,
    reported,
    runs_of,
    save_import_index,
    save_runs,
)

NOON = datetime(2026, 3, 10, 12, 0, 0, 123456, tzinfo=UTC)


def run(run_id: str = "run_1", **more: object) -> RecordedRun:
    whole = RecordedRun(
        run_id=run_id,
        device_id="device",
        content_sha256="0" * 64,
        recorded_at=NOON,
        config_id="töpferei",
        context="Treat everything as clay.",
        context_lang="en",
        language="de",
        input="Ein Bär 🐻 „strickt“\nSocken",
        output="Der Bär ist Ton.",
        accepted=None,
        exclusion=None,
        feedback=[
            Feedback("user_edit", {"entity": "interception", "before": "a", "after": "b"}, NOON),
            Feedback("favorite", {"run_id": run_id}),
        ],
    )
    return replace(whole, **more)  # type: ignore[arg-type]


@pytest.fixture
def job_id(job_factory: Callable[..., UUID]) -> UUID:
    return job_factory(kind="import", attempt=1)


def test_runs_come_back_as_they_were_saved(conn: Connection, job_id: UUID) -> None:
    excluded = run(
        "run_2", exclusion="blocked", config_id=None, language=None, context=None, input=None, output=None, feedback=[]
    )
    save_runs(conn, job_id, 1, [run(), excluded])
    assert list(runs_of(conn, job_id)) == [run(), excluded]
    assert [each.may_train for each in runs_of(conn, job_id)] == [True, False]


def test_runs_come_oldest_first_and_those_without_a_time_last(conn: Connection, job_id: UUID) -> None:
    later, none = run("b", recorded_at=NOON.replace(hour=13)), run("a", recorded_at=None)
    save_runs(conn, job_id, 1, [none, later, run("c")])
    assert [each.run_id for each in runs_of(conn, job_id)] == ["c", "b", "a"]


def test_a_second_attempt_replaces_what_the_first_one_saved(conn: Connection, job_id: UUID) -> None:
    save_runs(conn, job_id, 1, [run()])
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    changed = run(output="Der Bär ist Filz.", feedback=[Feedback("favorite", {"run_id": "run_1"})])
    save_runs(conn, job_id, 2, [changed])
    assert list(runs_of(conn, job_id)) == [changed]


def test_an_attempt_that_was_given_up_saves_nothing(conn: Connection, job_id: UUID) -> None:
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    with pytest.raises(FencedOut):
        save_runs(conn, job_id, 1, [run()])
    assert list(runs_of(conn, job_id)) == []


def test_a_batch_is_saved_whole_or_not_at_all(conn: Connection, job_id: UUID) -> None:
    with pytest.raises(Exception, match="u0000"):
        save_runs(conn, job_id, 1, [run("good"), run("bad", device_id="nul\x00")])
    assert list(runs_of(conn, job_id)) == []


def test_imports_do_not_see_each_others_runs(conn: Connection, job_id: UUID, job_factory: Callable[..., UUID]) -> None:
    other = job_factory(kind="import")
    save_runs(conn, job_id, 1, [run()])
    save_runs(conn, other, 1, [run(), run("run_2")])
    assert [len(list(runs_of(conn, each))) for each in (job_id, other)] == [1, 2]


# -- one import after another


def test_a_later_import_takes_over_rows_of_the_same_content(
    conn: Connection, job_id: UUID, job_factory: Callable[..., UUID]
) -> None:
    save_runs(conn, job_id, 1, [run("same"), run("changed"), run("gone")])
    later = job_factory(kind="import", attempt=1)
    assert carry_runs(conn, later, 1, {"same": "0" * 64, "changed": "1" * 64, "new": "0" * 64}) == {"same"}
    assert carry_runs(conn, later, 1, {"same": "0" * 64}) == {"same"}  # a second attempt
    assert list(runs_of(conn, later)) == [run("same")]
    assert conn.execute("SELECT count(*) AS n FROM runs").fetchone() == {"n": 3}
    with pytest.raises(FencedOut):
        carry_runs(conn, later, 2, {"same": "0" * 64})


def test_what_an_import_read_is_kept_for_the_next_one_of_the_folder(conn: Connection, job_id: UUID) -> None:
    save_import_index(conn, job_id, 1, "/exports", {"a": {"digest": "1"}, "b": {"digest": "2"}}, [])
    save_import_index(conn, job_id, 1, "/exports", {"a": {"digest": "3"}}, ["b"])
    assert import_index(conn, "/exports") == {"a": {"digest": "3"}}
    assert import_index(conn, "/elsewhere") == {}
    with pytest.raises(FencedOut):
        save_import_index(conn, job_id, 2, "/exports", {}, [])


def test_events_of_live_experiments_tell_of_runs(conn: Connection) -> None:
    experiment = conn.execute("INSERT INTO experiments (name, salt) VALUES ('e', 's') RETURNING id").fetchone()
    assert experiment is not None
    for number, (event, run_id) in enumerate(
        [("export", "run_1"), ("stage_block", "run_1"), ("exposure", "run_1"), ("export", None)]
    ):
        conn.execute(
            "INSERT INTO ab_events (experiment_id, event_id, event, unit, arm, interception_run_id, occurred_at) VALUES (%s, %s, %s, 'u', 'base', %s, %s)",
            (experiment["id"], str(number), event, run_id, NOON),
        )
    assert reported(conn) == {"run_1": [Feedback("export", {}, NOON), Feedback("stage_block", {}, NOON)]}
