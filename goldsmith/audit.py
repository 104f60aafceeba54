"""Who did what that matters: keys, force, bulk verbs, promotions, rollbacks, erasures. Entries are only ever added."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

from goldsmith.db import Connection


class Entry(BaseModel):
    id: UUID
    actor: str = Field(description="A key's name, `admin`, `local`, `cli:<user>`, or `job:<id>`.")
    action: str = Field(description="What was done: `key.create`, `adapter.promote`, …")
    subject: str = Field(description="What it was done to.")
    data: dict[str, Any]
    created_at: datetime


def record(conn: Connection, actor: str, action: str, subject: str, data: Mapping[str, Any] | None = None) -> None:
    """Call it inside the transaction of the act: then there is neither an act without its entry nor the reverse."""
    conn.execute(
        "INSERT INTO audit_log (actor, action, subject, data) VALUES (%s, %s, %s, %s)",
        (actor, action, subject, Jsonb(dict(data or {}))),
    )


def entries(conn: Connection, *, before: UUID | None = None, limit: int = 100) -> list[Entry]:
    """Newest first; `before` is the last id of the page before (ids sort by age)."""
    rows = conn.execute(
        "SELECT id, actor, action, subject, data, created_at FROM audit_log"
        " WHERE %(before)s::uuid IS NULL OR id < %(before)s ORDER BY id DESC LIMIT %(limit)s",
        {"before": before, "limit": limit},
    )
    return [Entry(**row) for row in rows]
