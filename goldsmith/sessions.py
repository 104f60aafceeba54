"""Sessions: what somebody asked, what the model answered, and what was said about that answer afterwards. Types and SQL.

They come from imported runs, from chat logs and from feedback rows. A quarantined session is kept and listed, and no run reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import BaseModel

from goldsmith import jobs

if TYPE_CHECKING:
    import psycopg

Source = Literal["run", "chat", "feedback"]
Signal = Literal["turns", "correction", "score", "user_edit", "favorite", "export", "regeneration", "none"]
Status = Literal["active", "quarantined"]


@dataclass(frozen=True)
class Session:
    ordinal: int
    """Position in its job, from 0."""
    session_id: str
    """Unique in its job; of an imported run its run id."""
    source: Source
    query: str
    """What the user wrote, without the system prompt."""
    answer: str
    """The first answer: the one that the feedback is about."""
    feedback: str | None
    """`Feedback 1: …` and so on, a line each; None: nobody said anything in words."""
    signal: Signal
    """The strongest thing that happened to the answer."""
    system: str | None = None
    run_id: str | None = None
    device_id: str | None = None
    config_id: str | None = None
    language: str | None = None
    weight: float = 1.0
    """How much its signal is worth beside others: 1 is one user's word or edit."""
    private: bool = True
    """Somebody typed it: only teachers that the privacy gate lets pass may see it (`recorded=` of `Teacher.ask`)."""
    status: Status = "active"
    reason: str | None = None
    """Why it is quarantined, or was before an admin released it."""

    @property
    def query_text(self) -> str:
        """What clustering and routing embed: the system prompt, a blank line, the query."""
        return f"{self.system}\n\n{self.query}" if self.system else self.query


_COLUMNS = [field.name for field in fields(Session)]


def save_sessions(conn: psycopg.Connection[dict[str, Any]], job_id: UUID, attempt: int, sessions: Sequence[Session]) -> None:
    """Replace all sessions of the job, so that a second attempt leaves no doubles; what an admin released stays released."""
    with conn.transaction():
        released = conn.execute(
            "DELETE FROM sessions WHERE job_id = %s RETURNING session_id, status, reason", (job_id,)
        ).fetchall()
        free = {row["session_id"]: row["reason"] for row in released if row["status"] == "active" and row["reason"]}
        with conn.cursor() as cursor, cursor.copy(f"COPY sessions (job_id, {', '.join(_COLUMNS)}) FROM STDIN") as copy:
            for session in sessions:
                row = asdict(session)
                if session.session_id in free:
                    row |= {"status": "active", "reason": free[session.session_id]}
                copy.write_row((job_id, *row.values()))
        jobs.fence(conn, job_id, attempt)


def sessions_of(conn: psycopg.Connection[dict[str, Any]], job_id: UUID) -> Iterator[Session]:
    """The sessions that the job saved and that may be used, in their order; nothing when it saved none."""
    for row in conn.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM sessions WHERE job_id = %s AND status = 'active' ORDER BY ordinal", (job_id,)
    ):
        yield Session(**row)


class Saved(BaseModel):
    """A session as it is listed."""

    id: UUID
    ordinal: int
    session_id: str
    source: Source
    query: str
    answer: str
    feedback: str | None
    signal: Signal
    system: str | None
    run_id: str | None
    config_id: str | None
    language: str | None
    weight: float
    private: bool
    status: Status
    reason: str | None


def page(
    conn: psycopg.Connection[dict[str, Any]],
    job_id: UUID,
    *,
    status: Status | None = None,
    after: int | None = None,
    limit: int,
) -> list[Saved]:
    """The sessions of a job after the one with this ordinal, in their order, those in quarantine with them."""
    rows = conn.execute(
        f"SELECT {', '.join(Saved.model_fields)} FROM sessions WHERE job_id = %(job)s"
        " AND (%(status)s::text IS NULL OR status = %(status)s) AND (%(after)s::int IS NULL OR ordinal > %(after)s)"
        " ORDER BY ordinal LIMIT %(limit)s",
        {"job": job_id, "status": status, "after": after, "limit": limit},
    )
    return [Saved(**row) for row in rows]


def sessions_ref(rules_ref: str, config: Mapping[str, Any]) -> str:
    """Where the sessions of a rules job lie, from its config: with the job that it read, or, made from runs, with itself."""
    return config.get("sessions") or rules_ref
