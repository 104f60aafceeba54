"""Budgets and the ledger: a call is reserved at its worst case before it is sent and settled at its price after.

Every reservation stands in five budgets at once: the job's, its caller's, its caller's of this UTC day, the day's, and that of
all. They are taken in one conditional UPDATE, or none is, so that no cap is exceeded however many workers ask; and because
everybody locks the last one, nobody can reserve what another has in flight or has just paid. A call counts on the day on which
it was reserved. Locks are taken in the order job, budgets (by id), calls.

A paid answer is never changed (a trigger sees to it) and is found by its request: by the jobs of whoever paid and of admins,
and by everybody where the prompt holds nothing that was recorded.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from goldsmith import jobs
from goldsmith.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[dict[str, Any]]

_MICRO = Decimal("0.000001")
UNLIMITED = Decimal("99999999")
ALL = "all"
EVERYONE = ""
"""The owner of an answer whose prompt holds nothing that was recorded."""


@dataclass(frozen=True)
class Account:
    """Who pays: one attempt of a job."""

    job_id: UUID
    attempt: int
    caller: str
    """The key that the job was submitted with, `local` or `admin`; a schedule's jobs are those of whoever made it."""
    reads_all: bool
    """An admin's: answers to anybody's recorded prompts may be used again."""
    caller_day_usd: Decimal = UNLIMITED
    day_usd: Decimal = UNLIMITED

    @property
    def rights(self) -> dict[str, Any]:
        return {"caller": self.caller, "reads_all": self.reads_all}


@dataclass(frozen=True)
class Call:
    """A request, for the ledger."""

    item: str
    """The row that it is about; for people."""
    request_sha256: str
    provider: str
    model: str
    worst_usd: Decimal
    rehearsal: bool = False
    recorded: bool = True
    """Its prompt comes from a recorded run."""
    max_tokens: int | None = None
    """The longest answer that is asked for."""


@dataclass(frozen=True)
class Paid:
    """An answer that is there."""

    answer: dict[str, Any]
    cost_usd: Decimal
    job_id: UUID | None
    """None: the job that paid is no longer there."""


@dataclass(frozen=True)
class InFlight:
    """Somebody has reserved it and waits for the answer."""

    batch_id: UUID | None


@dataclass(frozen=True)
class Refused:
    """Calls of this very job that came back without an answer."""

    times: int
    """That were not billed."""
    error: str
    """Of the last one."""
    lost: int = 0
    """That were, as far as anybody knows: broken answers, and broken connections."""
    too_long: bool = False
    """One of them had more tokens than were asked for; another try would cost as much."""


Known = Paid | InFlight | Refused


@dataclass(frozen=True)
class NoRoom:
    """It was not reserved."""

    scope: str
    """The budget that has the least room."""


@dataclass(frozen=True)
class Bill:
    """What became of a call."""

    call_id: UUID
    end: Literal["answered", "free", "unknown"]
    """`free`: nothing was billed. `unknown`: nobody can say, so the worst case is paid; a later bill corrects it."""
    cost_usd: Decimal = Decimal(0)
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    request_id: str | None = None
    answer: Mapping[str, Any] | None = None
    error: str | None = None


def micro_usd(usd: float | Decimal) -> Decimal:
    """Whole millionths of a dollar, rounded up: what the ledger can write."""
    return Decimal(str(usd)).quantize(_MICRO, ROUND_UP)


def request_sha256(request: Mapping[str, Any]) -> str:
    """One name for identical requests: provider, model, parameters, system, prompt, schema and ordinal."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


# -- opening

_CALLER = """
SELECT coalesce(s.created_by, j.created_by) AS caller, k.budget_usd, k.budget_usd_per_day,
    coalesce(s.created_by, j.created_by) IN ('local', 'admin') OR coalesce('admin' = ANY(k.scopes) AND k.revoked_at IS NULL, false)
        AS reads_all
FROM jobs j LEFT JOIN schedules s ON j.created_by = 'schedule:' || s.name
LEFT JOIN api_keys k ON k.name = coalesce(s.created_by, j.created_by)
WHERE j.id = %s
"""

_DAY = "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')"

# A cap below what is already gone buys nothing more, also when less is reserved later.
_NEW_CAP = """
cap_usd = excluded.cap_usd, overrun_usd = greatest(0, budgets.spent_usd + budgets.reserved_usd - excluded.cap_usd)
"""
_OPEN = f"""
INSERT INTO budgets (scope, cap_usd) SELECT * FROM unnest(%(scopes)s::text[], %(caps)s::numeric[]) ORDER BY 1
ON CONFLICT (scope) DO UPDATE SET {_NEW_CAP}
"""

_OPEN_DAY = f"""
INSERT INTO budgets (scope, cap_usd) VALUES ('day:' || {_DAY}, %(day)s), ('key:' || %(caller)s || ':' || {_DAY}, %(caller_day)s)
ON CONFLICT (scope) DO UPDATE SET {_NEW_CAP}
"""


def open_account(conn: Connection, job_id: UUID, attempt: int, *, budget_usd: float, day_usd: float | None = None) -> Account:
    """The account of an attempt, with its budgets made or given the caps of now.

    `budget_usd` caps the job, whatever its attempts; `day_usd` all jobs of a UTC day. The caller's caps are its key's.
    """
    if not 0 <= budget_usd < UNLIMITED:
        raise InvalidInput(f"budget {budget_usd!r}: a number of dollars from 0 to 99,999,999")
    row = conn.execute(_CALLER, (job_id,)).fetchone()
    if row is None:
        raise NotFound(f"the job {job_id} does not exist")
    account = Account(
        job_id,
        attempt,
        row["caller"],
        row["reads_all"],
        caller_day_usd=_or_unlimited(row["budget_usd_per_day"]),
        day_usd=_or_unlimited(day_usd),
    )
    caps = {f"job:{job_id}": micro_usd(budget_usd), f"key:{account.caller}": _or_unlimited(row["budget_usd"]), ALL: UNLIMITED}
    with conn.transaction():
        conn.execute(_OPEN, {"scopes": list(caps), "caps": list(caps.values())})
        _open_day(conn, account)
    return account


def _or_unlimited(usd: float | Decimal | None) -> Decimal:
    return UNLIMITED if usd is None else micro_usd(usd)


def _open_day(conn: Connection, account: Account) -> None:
    values = {"caller": account.caller, "day": account.day_usd, "caller_day": account.caller_day_usd}
    conn.execute(_OPEN_DAY, values)


def set_caps_of_key(conn: Connection, key: str, usd: float | None, usd_per_day: float | None) -> None:
    """Its new limits, also for jobs that run; the next account that is opened makes what is not there yet."""
    conn.execute(
        "UPDATE budgets b SET cap_usd = x.cap, overrun_usd = greatest(0, b.spent_usd + b.reserved_usd - x.cap)"
        f" FROM (VALUES ('key:' || %(key)s, %(all)s), ('key:' || %(key)s || ':' || {_DAY}, %(day)s)) AS x (scope, cap)"
        " WHERE b.scope = x.scope",
        {"key": key, "all": _or_unlimited(usd), "day": _or_unlimited(usd_per_day)},
    )


def spent(conn: Connection, scope: str) -> Decimal:
    """What a budget (`job:<id>`) has paid, lost calls included; reservations are not in it."""
    row = conn.execute("SELECT spent_usd FROM budgets WHERE scope = %s", (scope,)).fetchone()
    if row is None:
        raise NotFound(f"the budget {scope} does not exist")
    return Decimal(row["spent_usd"])


# -- what is known of a request

_MAY_READ = "(owner IN ('', %(caller)s) OR %(reads_all)s)"

# An answer wins over whatever else became of the request. What is lost counts only where asking was of no use: a call that was
# cut off by a cancel or a crash may well have an answer the next time.
_KNOWN = f"""
SELECT DISTINCT ON (request_sha256) request_sha256, status, answer, cost_usd, job_id, batch_id, error,
    count(*) FILTER (WHERE status = 'released') OVER same AS refused,
    count(*) FILTER (WHERE status = 'settled' AND answer IS NULL) OVER same AS lost,
    coalesce(bool_or(error LIKE 'too_long:%%') OVER same, false) AS too_long
FROM teacher_calls
WHERE request_sha256 = ANY(%(requests)s) AND (
    (status = 'settled' AND answer IS NOT NULL AND {_MAY_READ}) OR (status = 'reserved' AND {_MAY_READ})
    OR (status = 'released' AND error IS NOT NULL AND job_id = %(job)s)
    OR (status = 'settled' AND answer IS NULL AND error ~ '^(broken|unreachable|too_long):' AND job_id = %(job)s)
)
WINDOW same AS (PARTITION BY request_sha256)
ORDER BY request_sha256, answer IS NULL, status <> 'reserved', id DESC
"""


def known(conn: Connection, account: Account, requests: Sequence[str]) -> dict[str, Known]:
    """What this account may know of these requests: answers that are paid, calls in flight, its own that were refused."""
    rows = conn.execute(_KNOWN, {"requests": list(requests), "job": account.job_id, **account.rights}).fetchall()
    return {row["request_sha256"]: _as_known(row) for row in rows}


def _as_known(row: Mapping[str, Any]) -> Known:
    if row["answer"] is not None:
        return Paid(row["answer"], row["cost_usd"], row["job_id"])
    if row["status"] == "reserved":
        return InFlight(row["batch_id"])
    return Refused(row["refused"], row["error"], row["lost"], row["too_long"])


# -- reserving

_SCOPES = f"scope IN (%(job)s, %(key)s, %(key)s || ':' || {_DAY}, 'day:' || {_DAY}, 'all')"

# A statement of its own, so that the next one sees what those have written that this one waited for.
_LOCK = f"SELECT scope, cap_usd - spent_usd - reserved_usd AS room FROM budgets WHERE {_SCOPES} ORDER BY id FOR NO KEY UPDATE"

_RESERVE = f"""
UPDATE budgets SET reserved_usd = reserved_usd + %(usd)s
WHERE {_SCOPES} AND (
    SELECT count(*) = 5 AND (%(usd)s = 0 OR min(cap_usd - spent_usd - reserved_usd) >= %(usd)s) FROM budgets WHERE {_SCOPES}
)
RETURNING id
"""

_WRITE = f"""
INSERT INTO teacher_calls (job_id, attempt, budget_id, budget_ids, batch_id, item, request_sha256, provider, model, rehearsal,
                           reserved_usd, owner, max_tokens)
SELECT %(job_id)s, %(attempt)s, (SELECT id FROM budgets WHERE scope = %(job)s), %(budgets)s, %(batch)s, c.*
FROM jsonb_to_recordset(%(calls)s) AS c
    (item text, request_sha256 text, provider text, model text, rehearsal bool, worst_usd numeric, owner text, max_tokens int)
WHERE NOT EXISTS (
    SELECT 1 FROM teacher_calls WHERE request_sha256 = c.request_sha256 AND {_MAY_READ}
    AND (status = 'reserved' OR (status = 'settled' AND answer IS NOT NULL))
)
RETURNING id, request_sha256
"""

_REFUND = "UPDATE budgets SET reserved_usd = reserved_usd - %s WHERE id = ANY(%s)"


def reserve(
    conn: Connection, account: Account, calls: Sequence[Call], *, batch_id: UUID | None = None
) -> list[UUID | NoRoom | None]:
    """Set the worst cases aside and write the calls into the ledger: as many of them, from the first on, as all budgets hold.

    In the order of the calls: the call's id; `NoRoom`; or None for what somebody else has reserved or paid meanwhile, and for
    the second of two identical requests. Raises `FencedOut` when the attempt was given up for dead.
    """
    once = {call.request_sha256: call for call in reversed(calls)}
    wanted = [call for call in calls if once[call.request_sha256] is call]
    with conn.transaction():
        jobs.fence(conn, account.job_id, account.attempt)
        taken, fitting, scope = _take(conn, account, wanted)
        ids: dict[str, UUID] = {}
        if fitting:
            values = {"job_id": account.job_id, "attempt": account.attempt, "job": f"job:{account.job_id}", "batch": batch_id}
            rows = [_row(call, account) for call in fitting]
            written = conn.execute(_WRITE, values | {"budgets": taken, "calls": Jsonb(rows), **account.rights})
            ids = {row["request_sha256"]: row["id"] for row in written}
            if left := sum((call.worst_usd for call in fitting if call.request_sha256 not in ids), Decimal(0)):
                conn.execute(_REFUND, (left, taken))
    no_room: dict[str, NoRoom] = {call.request_sha256: NoRoom(scope) for call in wanted[len(fitting) :]}
    return [(no_room | ids).get(call.request_sha256) if once[call.request_sha256] is call else None for call in calls]


def _take(conn: Connection, account: Account, calls: list[Call]) -> tuple[list[UUID], list[Call], str]:
    """The budgets that were taken from, the calls that fit, and the budget with the least room."""
    names = {"job": f"job:{account.job_id}", "key": f"key:{account.caller}"}
    locked = conn.execute(_LOCK, names).fetchall()
    if len(locked) < 5:  # the first call of a UTC day
        _open_day(conn, account)
        locked = conn.execute(_LOCK, names).fetchall()
    least = min(locked, key=lambda row: row["room"])
    fitting: list[Call] = []
    total = Decimal(0)
    for call in calls:
        if call.worst_usd and total + call.worst_usd > least["room"]:  # what costs nothing is never stopped
            break
        fitting.append(call)
        total += call.worst_usd
    taken = [row["id"] for row in conn.execute(_RESERVE, {"usd": total, **names})] if fitting else []
    return taken, fitting if taken else [], least["scope"]


def _row(call: Call, account: Account) -> dict[str, Any]:
    return {
        "item": call.item,
        "request_sha256": call.request_sha256,
        "provider": call.provider,
        "model": call.model,
        "rehearsal": call.rehearsal,
        "worst_usd": str(call.worst_usd),
        "owner": account.caller if call.recorded else EVERYONE,
        "max_tokens": call.max_tokens,
    }


# -- settling

_LOCK_JOBS = """
SELECT 1 FROM jobs WHERE id IN (SELECT job_id FROM teacher_calls WHERE id = ANY(%(ids)s)) ORDER BY id FOR NO KEY UPDATE
"""
_LOCK_BUDGETS = """
SELECT 1 FROM budgets WHERE id IN (SELECT unnest(budget_id || budget_ids) FROM teacher_calls WHERE id = ANY(%(ids)s))
ORDER BY id FOR NO KEY UPDATE
"""
_LOCK_CALLS = """
SELECT id, job_id, status, reserved_usd, cost_usd, answer IS NOT NULL AS answered,
    (SELECT array_agg(DISTINCT b) FROM unnest(budget_id || budget_ids) b) AS budgets
FROM teacher_calls WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE
"""
# A bill above its worst case is written down as it is. The cap stays: what others have reserved and do not use is not given
# out again before the overrun is made up for.
_PAY = """
UPDATE budgets b SET reserved_usd = b.reserved_usd - x.freed, spent_usd = b.spent_usd + x.paid,
    overrun_usd = greatest(0, b.spent_usd + x.paid + b.reserved_usd - x.freed - b.cap_usd)
FROM jsonb_to_recordset(%s) AS x (id uuid, freed numeric, paid numeric) WHERE b.id = x.id
"""
_PAY_JOBS = """
UPDATE jobs j SET cost_usd = j.cost_usd + x.paid FROM jsonb_to_recordset(%s) AS x (id uuid, paid numeric) WHERE j.id = x.id
"""
_END = """
UPDATE teacher_calls c SET status = x.status, cost_usd = x.cost_usd, input_tokens = x.input_tokens,
    output_tokens = x.output_tokens, cache_read_tokens = x.cache_read_tokens, cache_write_tokens = x.cache_write_tokens,
    request_id = x.request_id, answer = x.answer, error = x.error, settled_at = now()
FROM jsonb_to_recordset(%s) AS x (id uuid, status text, cost_usd numeric, input_tokens int, output_tokens int,
    cache_read_tokens int, cache_write_tokens int, request_id text, answer jsonb, error text)
WHERE c.id = x.id
"""


def settle(conn: Connection, bills: Sequence[Bill]) -> Decimal:
    """Pay what the calls cost, keep their answers, free what was reserved for them; returns what was paid by this.

    Not fenced: the money is gone, whoever brings the bill, and however late. A call that has its answer stays as it is; of one
    that was paid at its worst case the difference comes back; one that was thought free is paid when it has an answer after all.
    """
    by_call = {bill.call_id: bill for bill in bills}
    if not by_call:
        return Decimal(0)
    freed: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    paid: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    by_job: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    ends = []
    with conn.transaction():
        ids = {"ids": list(by_call)}
        conn.execute(_LOCK_JOBS, ids)
        conn.execute(_LOCK_BUDGETS, ids)
        calls = conn.execute(_LOCK_CALLS, ids).fetchall()
        if len(calls) < len(by_call):
            missing = set(by_call) - {call["id"] for call in calls}
            raise NotFound(f"the teacher calls {', '.join(map(str, sorted(missing)))} do not exist")
        for call in calls:
            bill = by_call[call["id"]]
            if call["answered"] or (call["status"] == "released" and bill.end != "answered"):
                continue
            cost = {"answered": bill.cost_usd, "free": Decimal(0), "unknown": call["reserved_usd"]}[bill.end]
            more = cost - (call["cost_usd"] or 0)
            for budget in call["budgets"]:
                freed[budget] += call["reserved_usd"] if call["status"] == "reserved" else 0
                paid[budget] += more
            if call["job_id"] is not None:
                by_job[call["job_id"]] += more
            ends.append(_end(bill, cost))
        if ends:
            conn.execute(_PAY, (Jsonb([{"id": str(b), "freed": str(freed[b]), "paid": str(paid[b])} for b in paid]),))
            conn.execute(_PAY_JOBS, (Jsonb([{"id": str(job), "paid": str(usd)} for job, usd in by_job.items()]),))
            conn.execute(_END, (Jsonb(ends),))
    return sum(by_job.values(), Decimal(0))


def _end(bill: Bill, cost: Decimal) -> dict[str, Any]:
    return {
        "id": str(bill.call_id),
        "status": "released" if bill.end == "free" else "settled",
        "cost_usd": None if bill.end == "free" else str(cost),
        "input_tokens": bill.input_tokens,
        "output_tokens": bill.output_tokens,
        "cache_read_tokens": bill.cache_read_tokens,
        "cache_write_tokens": bill.cache_write_tokens,
        "request_id": bill.request_id,
        "answer": None if bill.answer is None else dict(bill.answer),
        "error": bill.error,
    }


@dataclass(frozen=True)
class Statement:
    """What became of a job's calls."""

    input_tokens: int
    cache_read_tokens: int
    """Of them; so is the next."""
    cache_write_tokens: int
    lost: int
    """Calls without an answer that are paid all the same, mostly at their worst case."""
    lost_usd: Decimal
    overbilled: int
    """Calls that the provider billed above their worst case."""
    overbilled_usd: Decimal
    """By so much."""


_STATEMENT = """
SELECT coalesce(sum(input_tokens), 0)::bigint AS input_tokens, coalesce(sum(cache_read_tokens), 0)::bigint AS cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0)::bigint AS cache_write_tokens,
    count(*) FILTER (WHERE status = 'settled' AND answer IS NULL) AS lost,
    coalesce(sum(cost_usd) FILTER (WHERE answer IS NULL), 0) AS lost_usd,
    count(*) FILTER (WHERE cost_usd > reserved_usd) AS overbilled,
    coalesce(sum(cost_usd - reserved_usd) FILTER (WHERE cost_usd > reserved_usd), 0) AS overbilled_usd
FROM teacher_calls WHERE job_id = %s
"""


def statement(conn: Connection, job_id: UUID) -> Statement:
    row = conn.execute(_STATEMENT, (job_id,)).fetchone()
    assert row is not None
    return Statement(**row)


def charge_lost(conn: Connection, account: Account) -> int:
    """Charge the direct calls that earlier attempts of the job left in flight; returns how many. Fenced.

    What was sent in a batch stays reserved: its results will come.
    """
    with conn.transaction():
        jobs.fence(conn, account.job_id, account.attempt)
        lost = conn.execute(
            "SELECT id FROM teacher_calls"
            " WHERE job_id = %s AND attempt < %s AND status = 'reserved' AND batch_id IS NULL ORDER BY id",
            (account.job_id, account.attempt),
        ).fetchall()
        settle(conn, [Bill(row["id"], "unknown") for row in lost])
    return len(lost)


def charge_abandoned(conn: Connection) -> int:
    """The same for jobs that no worker runs any more, so that a budget does not wait for an attempt that may never come."""
    lost = conn.execute(
        "SELECT c.id FROM teacher_calls c LEFT JOIN jobs j ON j.id = c.job_id AND j.attempt = c.attempt AND j.status = 'running'"
        " WHERE c.status = 'reserved' AND c.batch_id IS NULL AND j.id IS NULL ORDER BY c.id"
    ).fetchall()
    settle(conn, [Bill(row["id"], "unknown") for row in lost])
    return len(lost)
