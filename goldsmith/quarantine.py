"""What the screen keeps out of training: sessions and rules, listed for an admin, who may let each of them through."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from goldsmith import audit
from goldsmith.db import Connection
from goldsmith.errors import Conflict, NotFound

SHOWN = 2_000  # characters of each text


class Quarantined(BaseModel):
    id: UUID
    what: Literal["session", "rule"]
    job: str = Field(description="`job:<id>` that put it there.")
    session_id: str
    reason: str = Field(description="Which text speaks to the machinery, and how.")
    texts: dict[str, str] = Field(
        description="Query, answer and feedback of a session, or the rule and its quote; cut when long."
    )
    created_at: datetime


_EVERY = """
SELECT id, 'session' AS what, job_id, session_id, coalesce(reason, '') AS reason, created_at,
    jsonb_build_object('query', left(query, %(shown)s), 'answer', left(answer, %(shown)s), 'feedback', left(coalesce(feedback, ''), %(shown)s))
        AS texts
FROM sessions WHERE status = 'quarantined'
UNION ALL
SELECT id, 'rule', job_id, session_id, coalesce(reason, ''), created_at,
    jsonb_build_object('rule', left(rule, %(shown)s), 'quote', left(coalesce(evidence->>'quote', ''), %(shown)s))
FROM rules WHERE status = 'quarantined'
"""
_LIST = f"""
SELECT * FROM ({_EVERY}) AS q
WHERE (%(job)s::uuid IS NULL OR job_id = %(job)s) AND (%(after)s::uuid IS NULL OR id < %(after)s)
ORDER BY id DESC LIMIT %(limit)s
"""


def entries(conn: Connection, *, job_id: UUID | None = None, after: UUID | None = None, limit: int = 100) -> list[Quarantined]:
    """Newest first; `after` is the last id of the page before."""
    rows = conn.execute(_LIST, {"job": job_id, "after": after, "limit": limit, "shown": SHOWN})
    return [_entry(row) for row in rows]


def release(conn: Connection, entry_id: UUID, *, actor: str) -> Quarantined:
    """Let one through: later jobs read it. Its reason stays with it, and the audit log says who did it.

    Raises `NotFound`, and `Conflict` for what is in use already.
    """
    with conn.transaction():
        for table in ("sessions", "rules"):
            row = conn.execute(f"SELECT status FROM {table} WHERE id = %s FOR UPDATE", (entry_id,)).fetchone()
            if row is None:
                continue
            if row["status"] != "quarantined":
                raise Conflict(f"{table.removesuffix('s')} {entry_id} is {row['status']}, not in quarantine")
            found = conn.execute(
                f"SELECT * FROM ({_EVERY}) AS q WHERE id = %(id)s", {"id": entry_id, "shown": SHOWN}
            ).fetchone()
            assert found is not None
            conn.execute(f"UPDATE {table} SET status = 'active' WHERE id = %s", (entry_id,))
            entry = _entry(found)
            audit.record(
                conn,
                actor,
                "quarantine.release",
                f"{entry.what}:{entry_id}",
                {"job": entry.job, "session_id": entry.session_id, "reason": entry.reason},
            )
            return entry
    raise NotFound(f"nothing in quarantine has the id {entry_id}")


def _entry(row: dict[str, Any]) -> Quarantined:
    return Quarantined(job=f"job:{row.pop('job_id')}", **row)
