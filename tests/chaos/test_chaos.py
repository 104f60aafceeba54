"""The short chaos, and what it would say if a promise were broken. The long one: `make chaos`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from goldsmith.db import connect
from tests.chaos import effects, faults, load
from tests.chaos.run import chaos, check
from tests.chaos.stack import LEASE_S, WORKERS

pytestmark = pytest.mark.chaos


def test_nothing_is_lost_or_doubled_under_faults(tmp_path: Path) -> None:
    code, said = chaos(tmp_path, seed=7, seconds=20, jobs=400, isolated=20, number=len(faults.FAULTS))

    assert code == 0, said
    assert len(effects.read(tmp_path / "accepted.jsonl")) == 400
    assert len(effects.read(tmp_path / "faults.jsonl")) == len(faults.FAULTS)


def test_the_same_seed_gives_the_same_jobs_and_faults() -> None:
    assert load.jobs(3, 200, 20) == load.jobs(3, 200, 20) != load.jobs(4, 200, 20)
    first, again = (faults.schedule(3, 60, 40, LEASE_S, WORKERS) for _ in range(2))
    assert first == again
    assert {fault.name for fault in first} == set(faults.FAULTS)


class TestChecker:
    """Each broken promise turns it red. One calm job is the world in which they are broken."""

    @pytest.fixture
    def folder(self, tmp_path: Path, database_url: str) -> Iterator[Path]:
        job = "01a1fd35-0549-7654-afdf-156be424dbf7"
        with connect(database_url) as conn:
            conn.execute(
                "INSERT INTO jobs (id, kind, queue, timeout, status, attempt, seq, progress, result, completed_at)"
                " VALUES (%s, 'chaos_io', 'io', 60, 'completed', 1, 3, 100, '{\"attempt\": 1, \"steps\": 1}', now())",
                (job,),
            )
            for seq, attempt, event in ((1, 0, "submitted"), (2, 1, "started"), (3, 1, "completed")):
                conn.execute(
                    "INSERT INTO job_events (job_id, seq, attempt, event, data) VALUES (%s, %s, %s, %s, '{}')",
                    (job, seq, attempt, event),
                )
        _write(tmp_path / "accepted.jsonl", {"id": job, "kind": "chaos_io", "poison": False})
        _write(tmp_path / "effects.jsonl", {"job": job, "attempt": 1, "effect": "step 0", "pid": 1, "time": 0})
        (tmp_path / "looks").write_text("1")
        yield tmp_path
        shutil.rmtree(tmp_path)

    def test_a_calm_world_is_green(self, folder: Path, database_url: str) -> None:
        code, said = check(folder, database_url)
        assert code == 0, said
        assert "all promises held" in said

    def test_one_doubled_effect_is_red(self, folder: Path, database_url: str) -> None:
        _write(folder / "effects.jsonl", effects.read(folder / "effects.jsonl")[0])
        code, said = check(folder, database_url)
        assert code == 1
        assert "BROKEN: no effect twice for one attempt: 1" in said

    def test_a_lost_job_is_red(self, folder: Path, database_url: str) -> None:
        _write(folder / "accepted.jsonl", {"id": "01a1fd35-0000-7000-8000-000000000000", "kind": "chaos_io", "poison": False})
        code, said = check(folder, database_url)
        assert code == 1
        assert "BROKEN: an accepted job is lost: 1" in said

    def test_two_processes_on_the_device_are_red(self, folder: Path, database_url: str) -> None:
        _write(folder / "watched.jsonl", {"time": 0, "pids": [1, 2]})
        code, said = check(folder, database_url)
        assert code == 1
        assert "BROKEN: one process on a device: 1" in said

    @pytest.mark.parametrize(
        ("statement", "promise"),
        [
            ("UPDATE jobs SET status = 'queued', completed_at = NULL", "every job ends"),
            ("UPDATE jobs SET attempt = 2", "the result is the last attempt's"),
            ("UPDATE job_events SET attempt = 2 WHERE seq = 2", "no event of an attempt that was given up"),
            ("UPDATE job_events SET event = 'completed' WHERE seq = 2", "exactly one end for each submission or retry"),
            ("UPDATE jobs SET seq = 2", "events are numbered in their order"),
            (
                "INSERT INTO artifacts (job_id, name, attempt, uri, sha256, bytes, media_type)"
                " SELECT id, 'late', 0, 'x', 'x', 1, 'text/plain' FROM jobs",
                "artifacts are the last attempt's",
            ),
        ],
    )
    def test_a_broken_row_is_red(self, folder: Path, database_url: str, statement: str, promise: str) -> None:
        with connect(database_url) as conn:
            conn.execute(statement)
        code, said = check(folder, database_url)
        assert code == 1
        assert f"BROKEN: {promise}" in said


def _write(path: Path, line: dict[str, object]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
