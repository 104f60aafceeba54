"""Paused kinds: what runs goes on, nothing new of the kind starts until it is resumed. Submitting stays possible."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from goldsmith import audit, jobs, jobs_sql
from goldsmith.db import Connection
from goldsmith.errors import NotFound
from goldsmith.jobs import Told
from goldsmith.kinds.registry import kinds

TELL_AT_ONCE = 100  # the rest is told by rescue, within seconds


def paused(conn: Connection) -> dict[str, datetime]:
    """Which kinds are paused, and since when."""
    return {row["kind"]: row["paused_at"] for row in conn.execute("SELECT kind, paused_at FROM paused_kinds").fetchall()}


def pause(conn: Connection, kind: str, actor: str) -> list[UUID]:
    """No job of this kind starts from now on; those that are queued show `blocked_by`. Twice is a no-op. Returns what changed."""
    _check(kind)
    with conn.transaction():
        conn.execute("INSERT INTO paused_kinds (kind) VALUES (%s) ON CONFLICT DO NOTHING", (kind,))
        audit.record(conn, actor, "kind.pause", kind)
        blocked = conn.execute(
            "UPDATE jobs SET blocked_by = 'paused:' || kind, seq = seq + 1"
            " WHERE kind = %s AND status = 'queued' AND completed_at IS NULL RETURNING id",
            (kind,),
        )
        return [row["id"] for row in blocked.fetchall()]


def resume(conn: Connection, kind: str, actor: str) -> tuple[list[UUID], list[Told]]:
    """Let the kind's jobs go; returns what changed, and the first of them for the broker. Twice is a no-op."""
    _check(kind)
    with conn.transaction():
        conn.execute("DELETE FROM paused_kinds WHERE kind = %s", (kind,))
        audit.record(conn, actor, "kind.resume", kind)
        released = [row["id"] for row in conn.execute(jobs_sql.UNPAUSE).fetchall()]
    return released, jobs.tell(conn, kinds()[kind].config.queue, TELL_AT_ONCE) if released else []


def _check(kind: str) -> None:
    if kind not in kinds():
        raise NotFound(f"there is no kind {kind!r}; there are: {', '.join(kinds())}")
