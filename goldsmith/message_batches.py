"""Batches of requests at a provider: an intent is written before one is created, and ends when its results are settled.

    intended ──► sent ──► settled
        └──► void  (the provider never got it, or refused it: its calls are free again)

An intent whose answer was lost in a crash stays `intended`, its calls reserved, until the provider's list of batches says
what became of it. Only the intent is fenced: what a batch cost is written down whoever finds it, and however late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from goldsmith import budgets
from goldsmith.budgets import Account, Bill, Call, NoRoom

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True)
class Batch:
    """A batch whose results are not settled yet."""

    id: UUID
    job_id: UUID | None
    provider: str
    model: str
    requests: int
    provider_id: str | None
    """None: nobody knows yet whether the provider has it."""
    created_at: datetime
    age_s: float
    """Since it was sent, or else intended."""
    job_status: str | None


@dataclass(frozen=True)
class Intent:
    """What is to be sent: the calls that were reserved, by the index of the request."""

    batch_id: UUID
    calls: dict[int, UUID]


_OPEN = """
SELECT b.id, b.job_id, b.provider, b.model, b.requests, b.provider_id, b.created_at, j.status AS job_status,
    extract(epoch FROM now() - coalesce(b.sent_at, b.created_at))::float AS age_s
FROM teacher_batches b LEFT JOIN jobs j ON j.id = b.job_id WHERE b.ended_at IS NULL
"""


def intend(conn: Connection, account: Account, calls: Sequence[Call]) -> Intent | NoRoom | None:
    """Reserve as many of the calls as the budgets hold, and write down that they are to be sent in a batch.

    One transaction, fenced by the attempt. `NoRoom`: not one of them fits; None: somebody else asks, or has paid, all of them.
    Send what comes back, then call `sent`, or `void` when the provider refused it.
    """
    with conn.transaction():
        row = conn.execute(
            "INSERT INTO teacher_batches (job_id, provider, model, requests) VALUES (%s, %s, %s, 0) RETURNING id",
            (account.job_id, calls[0].provider, calls[0].model),
        ).fetchone()
        assert row is not None
        places = budgets.reserve(conn, account, calls, batch_id=row["id"])
        reserved = {index: place for index, place in enumerate(places) if isinstance(place, UUID)}
        if not reserved:
            conn.execute("DELETE FROM teacher_batches WHERE id = %s", (row["id"],))
            return next((place for place in places if isinstance(place, NoRoom)), None)
        conn.execute("UPDATE teacher_batches SET requests = %s WHERE id = %s", (len(reserved), row["id"]))
    return Intent(row["id"], reserved)


def sent(conn: Connection, batch_id: UUID, provider_id: str) -> None:
    """The provider has it, under this name; also when it was given up as void meanwhile: it will be billed."""
    conn.execute(
        "UPDATE teacher_batches SET status = 'sent', provider_id = %s, sent_at = now(), ended_at = NULL"
        " WHERE id = %s AND status IN ('intended', 'void')",
        (provider_id, batch_id),
    )


def void(conn: Connection, batch_id: UUID, why: str) -> None:
    """The provider does not have it: nothing of it was billed."""
    with conn.transaction():
        budgets.settle(conn, [Bill(call_id, "free") for call_id in reserved(conn, batch_id)])
        conn.execute(
            "UPDATE teacher_batches SET status = 'void', error = %s, ended_at = now() WHERE id = %s AND status = 'intended'",
            (why, batch_id),
        )


def settled(conn: Connection, batch_id: UUID, error: str | None = None) -> None:
    """All of its calls have ended."""
    conn.execute(
        "UPDATE teacher_batches SET status = 'settled', error = %s, ended_at = now() WHERE id = %s AND status = 'sent'",
        (error, batch_id),
    )


def reserved(conn: Connection, batch_id: UUID) -> list[UUID]:
    """Its calls that have no result yet."""
    rows = conn.execute("SELECT id FROM teacher_calls WHERE batch_id = %s AND status = 'reserved' ORDER BY id", (batch_id,))
    return [row["id"] for row in rows]


def calls_of(conn: Connection, batch_id: UUID) -> dict[UUID, int | None]:
    """Its calls, each with the longest answer that was asked for."""
    rows = conn.execute("SELECT id, max_tokens FROM teacher_calls WHERE batch_id = %s", (batch_id,))
    return {row["id"]: row["max_tokens"] for row in rows}


def open_of(conn: Connection, job_id: UUID) -> list[Batch]:
    """A job's batches that are not settled, oldest first."""
    return [Batch(**row) for row in conn.execute(f"{_OPEN} AND b.job_id = %s ORDER BY b.id", (job_id,))]


def open_by_id(conn: Connection, batch_ids: Sequence[UUID]) -> list[Batch]:
    """Those of these that are not settled."""
    return [Batch(**row) for row in conn.execute(f"{_OPEN} AND b.id = ANY(%s) ORDER BY b.id", (list(batch_ids),))]


def orphans(conn: Connection) -> list[Batch]:
    """Open batches whose job has ended, or is no longer there: nobody else will ask for their results."""
    return [
        Batch(**row)
        for row in conn.execute(f"{_OPEN} AND coalesce(j.status IN ('completed', 'failed', 'cancelled'), true) ORDER BY b.id")
    ]


def provider_ids(conn: Connection, provider: str) -> set[str]:
    """The provider's batches that are known to be somebody's."""
    rows = conn.execute("SELECT provider_id FROM teacher_batches WHERE provider = %s AND provider_id IS NOT NULL", (provider,))
    return {row["provider_id"] for row in rows}
