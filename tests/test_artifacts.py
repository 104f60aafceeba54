"""Artifacts and checkpoints: what an attempt that was given up still writes is nobody's."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from goldsmith import artifacts
from goldsmith.db import Connection
from goldsmith.errors import FencedOut
from goldsmith.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "state")


@pytest.fixture
def job(job_factory: Callable[..., UUID]) -> UUID:
    return job_factory()


def save(conn: Connection, storage: Storage, job: UUID, attempt: int, content: bytes) -> None:
    artifacts.save(conn, storage, job, attempt, "report.txt", content, "text/plain")


def next_attempt(conn: Connection, job: UUID) -> None:
    conn.execute("UPDATE jobs SET attempt = attempt + 1 WHERE id = %s", (job,))


def test_a_second_save_takes_the_place_of_the_first_and_leaves_no_file(conn: Connection, storage: Storage, job: UUID) -> None:
    save(conn, storage, job, 1, b"first")
    save(conn, storage, job, 1, b"second")
    assert storage.existing(artifacts.get(conn, job, "report.txt").uri).read_bytes() == b"second"
    assert len(list(storage.root.rglob("*report.txt"))) == 1


def test_a_given_up_attempt_does_not_touch_what_it_saved_before(conn: Connection, storage: Storage, job: UUID) -> None:
    save(conn, storage, job, 1, b"in time")
    next_attempt(conn, job)
    with pytest.raises(FencedOut):
        save(conn, storage, job, 1, b"too late")
    assert storage.existing(artifacts.get(conn, job, "report.txt").uri).read_bytes() == b"in time"


def checkpoint(conn: Connection, storage: Storage, job: UUID, attempt: int, folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "state").write_text(text)
    artifacts.keep_checkpoint(conn, storage, job, attempt, folder)


def test_the_newest_checkpoint_is_kept_and_a_given_up_attempt_adds_none(
    conn: Connection, storage: Storage, job: UUID, tmp_path: Path
) -> None:
    checkpoint(conn, storage, job, 1, tmp_path / "run", "one")
    checkpoint(conn, storage, job, 1, tmp_path / "run", "two")
    next_attempt(conn, job)
    checkpoint(conn, storage, job, 2, tmp_path / "run", "three")
    with pytest.raises(FencedOut):
        checkpoint(conn, storage, job, 1, tmp_path / "run", "ghost")
    newest = artifacts.newest_checkpoint(storage, job)
    assert newest is not None
    assert (newest / "state").read_text() == "three"
    checkpoint(conn, storage, job, 2, tmp_path / "run", "four")
    assert [path.name for path in newest.parent.iterdir()] == ["2-4"]  # what the ghost half made is gone, too


def test_without_room_for_it_a_checkpoint_is_not_begun(
    conn: Connection, storage: Storage, job: UUID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(conn, storage, job, 1, tmp_path / "run", "one")
    monkeypatch.setattr(storage, "free_bytes", lambda _: 2)
    with pytest.raises(OSError, match="where checkpoints are kept") as full:
        checkpoint(conn, storage, job, 1, tmp_path / "run", "two")
    assert full.value.errno == errno.ENOSPC
    newest = artifacts.newest_checkpoint(storage, job)
    assert newest is not None
    assert (newest / "state").read_text() == "one"


def test_checkpoints_of_a_job_that_is_done_are_dropped(conn: Connection, storage: Storage, job: UUID, tmp_path: Path) -> None:
    checkpoint(conn, storage, job, 1, tmp_path / "run", "one")
    artifacts.drop_checkpoints(storage, job)
    assert artifacts.newest_checkpoint(storage, job) is None
