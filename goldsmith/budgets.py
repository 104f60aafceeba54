"""Budgets and the ledger: a call is reserved at its worst case before it is made and settled at its price after.

Reserving is one conditional UPDATE, so the cap holds however many threads and machines ask at once. Everything is locked
in the order job, budget, call. A settled answer is kept and given again for the identical request: nothing is paid twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg.types.json import Jsonb

from goldsmith import jobs
from goldsmith.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[dict[str, Any]]

_MICRO = Decimal("0.000001")


@dataclass(frozen=True)
class Call:
    """What is asked, for the ledger."""

    item: str
    """The row that the question is about; for people."""
    request_sha256: str
    provider: str
    model: str
    rehearsal: bool = False


@dataclass(frozen=True)
class PaidAnswer:
    answer: dict[str, Any]
    cost_usd: Decimal
    job_id: UUID | None
    """None: the job that paid is no longer there."""


def micro_usd(usd: float | Decimal) -> Decimal:
    """Whole millionths of a dollar, rounded up: what the ledger can write."""
    return Decimal(str(usd)).quantize(_MICRO, ROUND_UP)


def request_sha256(request: Mapping[str, Any]) -> str:
    """One name for identical requests: provider, model, parameters, system, prompt and schema."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def open(conn: Connection, scope: str, cap_usd: float) -> UUID:
    """The budget of a scope (`job:<id>`), made or given a new cap. A cap under what is already gone buys nothing more."""
    if not 0 <= cap_usd < 1e8:
        raise InvalidInput(f"budget {cap_usd!r}: a number of dollars from 0 to 99,999,999")
    row = conn.execute(
        """
        INSERT INTO budgets (scope, cap_usd) VALUES (%s, %s)
        ON CONFLICT (scope) DO UPDATE SET cap_usd = greatest(excluded.cap_usd, budgets.spent_usd + budgets.reserved_usd)
        RETURNING id
        """,
        (scope, micro_usd(cap_usd)),
    ).fetchone()
    assert row is not None
    return UUID(str(row["id"]))


def spent(conn: Connection, budget_id: UUID) -> Decimal:
    """What the budget has paid, lost calls included; reservations are not in it."""
    row = conn.execute("SELECT spent_usd FROM budgets WHERE id = %s", (budget_id,)).fetchone()
    if row is None:
        raise NotFound(f"the budget {budget_id} does not exist")
    return Decimal(row["spent_usd"])


def paid_answer(conn: Connection, request_sha256: str) -> PaidAnswer | None:
    """The newest answer that was paid for the identical request, by whichever job."""
    row = conn.execute(
        """
        SELECT answer, cost_usd, job_id FROM teacher_calls
        WHERE request_sha256 = %s AND status = 'settled' AND answer IS NOT NULL ORDER BY settled_at DESC, id DESC LIMIT 1
        """,
        (request_sha256,),
    ).fetchone()
    return None if row is None else PaidAnswer(row["answer"], row["cost_usd"], row["job_id"])


def reserve(conn: Connection, budget_id: UUID, job_id: UUID, attempt: int, call: Call, usd: Decimal) -> UUID | None:
    """Set the call's worst case aside and write it into the ledger; None when it does not fit under the cap.

    Raises `FencedOut` when the attempt was given up for dead.
    """
    with conn.transaction():
        jobs.fence(conn, job_id, attempt)
        fits = conn.execute(
            """
            UPDATE budgets SET reserved_usd = reserved_usd + %(usd)s
            WHERE id = %(budget)s AND spent_usd + reserved_usd + %(usd)s <= cap_usd RETURNING id
            """,
            {"usd": usd, "budget": budget_id},
        ).fetchone()
        if fits is None:
            return None
        row = conn.execute(
            """
            INSERT INTO teacher_calls
                (job_id, attempt, budget_id, item, request_sha256, provider, model, reserved_usd, rehearsal)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
            """,
            (job_id, attempt, budget_id, call.item, call.request_sha256, call.provider, call.model, usd, call.rehearsal),
        ).fetchone()
        assert row is not None
        return UUID(str(row["id"]))


def settle(
    conn: Connection,
    call_id: UUID,
    *,
    cost_usd: Decimal,
    input_tokens: int,
    output_tokens: int,
    request_id: str | None,
    answer: Mapping[str, Any],
) -> None:
    """Pay what the call cost and keep its answer. Not fenced: the money is gone, whoever brings the bill.

    A second settling changes nothing. Of a call that was charged as lost the difference comes back.
    """
    with conn.transaction():
        if _take_back(conn, call_id):
            _pay(conn, call_id, cost_usd)
            conn.execute(
                """
                UPDATE teacher_calls SET status = 'settled', cost_usd = %s, input_tokens = %s, output_tokens = %s,
                    request_id = %s, answer = %s, settled_at = now() WHERE id = %s
                """,
                (cost_usd, input_tokens, output_tokens, request_id, Jsonb(dict(answer)), call_id),
            )


def release(conn: Connection, call_id: UUID) -> None:
    """Nothing was billed: the reservation is free again."""
    with conn.transaction():
        if _take_back(conn, call_id):
            conn.execute(
                "UPDATE teacher_calls SET status = 'released', cost_usd = NULL, settled_at = now() WHERE id = %s", (call_id,)
            )


def charge(conn: Connection, call_id: UUID, request_id: str | None = None) -> None:
    """Nobody can say whether the call was billed: pay its worst case. If its answer still comes, `settle` corrects it."""
    with conn.transaction():
        if _take_back(conn, call_id):
            row = conn.execute("SELECT reserved_usd FROM teacher_calls WHERE id = %s", (call_id,)).fetchone()
            assert row is not None
            _pay(conn, call_id, row["reserved_usd"])
            conn.execute(
                """
                UPDATE teacher_calls SET status = 'settled', cost_usd = reserved_usd, request_id = %s, settled_at = now()
                WHERE id = %s
                """,
                (request_id, call_id),
            )


def charge_lost(conn: Connection, job_id: UUID, attempt: int) -> int:
    """Charge the calls that earlier attempts of the job left in flight; returns how many. Fenced."""
    with conn.transaction():
        jobs.fence(conn, job_id, attempt)
        lost = conn.execute(
            "SELECT id FROM teacher_calls WHERE job_id = %s AND attempt < %s AND status = 'reserved' ORDER BY id",
            (job_id, attempt),
        ).fetchall()
        for row in lost:
            charge(conn, row["id"])
        return len(lost)


def _take_back(conn: Connection, call_id: UUID) -> bool:
    """Undo what the call holds: its reservation, or the worst case that it was charged. False: answered or released."""
    conn.execute("SELECT 1 FROM jobs WHERE id = (SELECT job_id FROM teacher_calls WHERE id = %s) FOR NO KEY UPDATE", (call_id,))
    conn.execute(
        "SELECT 1 FROM budgets WHERE id = (SELECT budget_id FROM teacher_calls WHERE id = %s) FOR NO KEY UPDATE", (call_id,)
    )
    call = conn.execute(
        "SELECT status, reserved_usd, cost_usd, budget_id, answer FROM teacher_calls WHERE id = %s FOR UPDATE", (call_id,)
    ).fetchone()
    if call is None:
        raise NotFound(f"the teacher call {call_id} does not exist")
    if call["status"] == "reserved":
        conn.execute(
            "UPDATE budgets SET reserved_usd = reserved_usd - %s WHERE id = %s", (call["reserved_usd"], call["budget_id"])
        )
        return True
    if call["status"] == "settled" and call["answer"] is None:
        _pay(conn, call_id, -call["cost_usd"])
        return True
    return False


def _pay(conn: Connection, call_id: UUID, usd: Decimal) -> None:
    # greatest(): a bill above its worst case is written down as it is; the budget is then exhausted, not broken
    row = conn.execute(
        """
        UPDATE budgets SET spent_usd = spent_usd + %(usd)s, cap_usd = greatest(cap_usd, spent_usd + %(usd)s + reserved_usd)
        WHERE id = (SELECT budget_id FROM teacher_calls WHERE id = %(call)s) RETURNING id
        """,
        {"usd": usd, "call": call_id},
    ).fetchone()
    assert row is not None
    conn.execute(
        "UPDATE jobs SET cost_usd = cost_usd + %s WHERE id = (SELECT job_id FROM teacher_calls WHERE id = %s)", (usd, call_id)
    )
