"""Artifacts: the files that a job leaves, and its checkpoints. Written temp → fsync → rename → row."""

from __future__ import annotations

import errno
import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

from goldsmith import jobs
from goldsmith.db import Connection
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.storage import Storage

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
REF = re.compile(rf"job:([0-9a-f-]{{36}})/({NAME.pattern})")


@dataclass(frozen=True)
class Artifact:
    job_id: UUID
    name: str
    uri: str
    sha256: str
    bytes: int
    media_type: str
    created_at: datetime

    @property
    def ref(self) -> str:
        return f"job:{self.job_id}/{self.name}"


_COLUMNS = "job_id, name, uri, sha256, bytes, media_type, created_at"


def save(
    conn: Connection, storage: Storage, job_id: UUID, attempt: int, name: str, content: bytes | Path, media_type: str
) -> str:
    """Store a file for this attempt; returns its reference. Raises `FencedOut` when the attempt was given up."""
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no artifact name: letters, digits, dot, dash, underscore; at most 128")
    # A path of its own for every save: what an attempt that was given up still writes is nobody's file.
    stored = storage.put(f"artifacts/{job_id}/{attempt}/{uuid4().hex[:12]}-{name}", content)
    with conn.transaction():
        former = conn.execute("SELECT uri FROM artifacts WHERE job_id = %s AND name = %s", (job_id, name)).fetchone()
        conn.execute(
            "INSERT INTO artifacts (job_id, name, attempt, uri, sha256, bytes, media_type) VALUES (%s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (job_id, name) DO UPDATE SET attempt = excluded.attempt, uri = excluded.uri, sha256 = excluded.sha256,"
            " bytes = excluded.bytes, media_type = excluded.media_type, created_at = now()",
            (job_id, name, attempt, stored.uri, stored.sha256, stored.bytes, media_type),
        )
        jobs.fence(conn, job_id, attempt)
    if former is not None:
        storage.path(former["uri"]).unlink(missing_ok=True)
    return f"job:{job_id}/{name}"


def of_job(conn: Connection, job_id: UUID) -> list[Artifact]:
    rows = conn.execute(f"SELECT {_COLUMNS} FROM artifacts WHERE job_id = %s ORDER BY name", (job_id,)).fetchall()
    return [Artifact(**row) for row in rows]


def get(conn: Connection, job_id: UUID, name: str) -> Artifact:
    row = conn.execute(f"SELECT {_COLUMNS} FROM artifacts WHERE job_id = %s AND name = %s", (job_id, name)).fetchone()
    if row is None:
        there = ", ".join(artifact.name for artifact in of_job(conn, job_id)) or "none"
        raise NotFound(f"job {job_id} has no artifact {name!r}; it has: {there}")
    return Artifact(**row)


def get_by_ref(conn: Connection, ref: str) -> Artifact:
    match = REF.fullmatch(ref)
    if match is None:
        raise InvalidInput(f"{ref!r} is no artifact reference; write job:<id>/<name>")
    return get(conn, UUID(match[1]), match[2])


def _order(checkpoint: Path) -> tuple[int, int]:
    attempt, _, number = checkpoint.name.partition("-")
    return int(attempt), int(number)


def _checkpoints(storage: Storage, job_id: UUID) -> list[Path]:
    """Oldest first."""
    return sorted(storage.path(f"checkpoints/{job_id}").glob("[0-9]*-[0-9]*"), key=_order)


def keep_checkpoint(conn: Connection, storage: Storage, job_id: UUID, attempt: int, folder: Path) -> None:
    """Copy `folder` as the job's newest checkpoint and drop the older ones. Raises `FencedOut` when the attempt was given up, and
    an `OSError` of a full disk before anything is written when there is no room."""
    needed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if (free := storage.free_bytes("checkpoints")) < needed:
        words = f"{needed / 1e6:.1f} MB are needed where checkpoints are kept, {free / 1e6:.1f} MB are free"
        raise OSError(errno.ENOSPC, words)
    new = f"checkpoints/{job_id}/.new-{attempt}-{uuid4().hex[:12]}"
    try:
        storage.put_folder(new, folder)
    except OSError:  # a full disk: half a checkpoint would keep it full
        shutil.rmtree(storage.path(new), ignore_errors=True)
        raise
    with conn.transaction():
        jobs.fence(conn, job_id, attempt)
        kept = _checkpoints(storage, job_id)
        storage.path(new).rename(storage.path(f"checkpoints/{job_id}/{attempt}-{_order(kept[-1])[1] + 1 if kept else 1}"))
    half_made = [
        path for path in storage.path(f"checkpoints/{job_id}").glob(".new-*") if int(path.name.split("-")[1]) < attempt
    ]
    for older in (*kept, *half_made):
        shutil.rmtree(older, ignore_errors=True)  # an attempt that was given up may still be writing there


def drop_checkpoints(storage: Storage, job_id: UUID) -> None:
    """Of a job that is completed: nobody goes on from there."""
    shutil.rmtree(storage.path(f"checkpoints/{job_id}"), ignore_errors=True)


def newest_checkpoint(storage: Storage, job_id: UUID) -> Path | None:
    kept = _checkpoints(storage, job_id)
    return kept[-1] if kept else None
