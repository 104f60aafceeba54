"""What became of a batch: its results settled, or when to look again."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from goldsmith import budgets, message_batches
from goldsmith.budgets import Bill
from goldsmith.db import Connection, Database
from goldsmith.message_batches import Batch
from goldsmith.teacher.prices import Price
from goldsmith.teacher.provider import Batch as ProviderBatch
from goldsmith.teacher.provider import Batches, Failed, Reply, too_long

FIRST_LOOK_S, LAST_LOOK_S = 2.0, 600.0  # a quarter of its age in between: some thirty looks at a batch of an hour
UNSEEN_S = 60.0
"""An intent that the provider's list does not show after so long was never received: a guess, many times what creating takes."""
FRESH_S = 600.0
"""A batch that the provider does not know is looked for this long; it may be seconds old and not to be seen everywhere."""
UNREADABLE_S = 3600.0
"""Results that cannot be read this long after the end are given up, and paid at the worst case."""
UNREADABLE_LINES_S = 60.0
"""The same where all lines came and some of them are broken: those will hardly mend."""
CLOCKS_APART = timedelta(minutes=5)
SETTLED_AT_ONCE = 500
LOOKED_AT = 100  # results of a batch that may be ours, until we say that it is not


@dataclass(frozen=True)
class NotYet:
    """Look again after so many seconds."""

    after_s: float
    why: str


async def collect(database: Database, batches: Batches, price: Price, batch: Batch) -> NotYet | None:
    """Settle a batch that has ended; None when that is done, by whomever. Raises `GoldsmithError` when nobody can look.

    Every result is matched by its custom_id, which is the call's; one that is not ours, or comes twice, is passed over.
    """
    try:
        found = await _find(database, batches, batch) if batch.provider_id is None else await batches.get(batch.provider_id)
    except Failed as failed:
        return await _not_seen(database, batch, failed)
    if isinstance(found, NotYet) or found is None:
        return found
    if found.state != "ended":
        counts = found.counts
        done = found.requests - counts.get("processing", 0)
        return NotYet(_next_look(batch.age_s), f"batch {found.id}: {done} of {found.requests} processed")
    return await _settle(database, batches, price, batch, found)


def _next_look(age_s: float) -> float:
    return min(LAST_LOOK_S, max(FIRST_LOOK_S, age_s / 4))


async def _not_seen(database: Database, batch: Batch, failed: Failed) -> NotYet | None:
    if failed.why in ("key", "money"):
        raise failed.error
    if failed.why == "not_found" and batch.age_s > FRESH_S:
        why = f"broken: the provider does not know batch {batch.provider_id} any more: paid at the worst case"
        await database.run(_give_up, batch, why)
        return None
    return NotYet(failed.retry_after_s or _next_look(batch.age_s), failed.error.detail)


def _give_up(conn: Connection, batch: Batch, why: str) -> None:
    with conn.transaction():
        rest = message_batches.reserved(conn, batch.id)
        budgets.settle(conn, [Bill(call_id, "unknown", error=why) for call_id in rest])
        message_batches.settled(conn, batch.id, why)


async def _find(database: Database, batches: Batches, batch: Batch) -> ProviderBatch | NotYet | None:
    """Which of the provider's batches is this intent's? Ids are shown with the results only, so it must have ended."""
    others = await database.run(message_batches.provider_ids, batch.provider)
    calls = await database.run(message_batches.calls_of, batch.id)
    async with aclosing(batches.since(batch.created_at - CLOCKS_APART)) as listed:  # type: ignore[type-var]
        async for candidate in listed:
            if candidate.id in others or candidate.requests not in (0, batch.requests):
                continue
            if candidate.state != "ended":
                return NotYet(_next_look(batch.age_s), f"batch {candidate.id} may be the one that was sent before a crash")
            if await _is_ours(batches, candidate.id, calls):
                await database.run(message_batches.sent, batch.id, candidate.id)
                return candidate
    if batch.age_s < UNSEEN_S:
        left = max(FIRST_LOOK_S, UNSEEN_S - batch.age_s)
        return NotYet(min(left, 10.0), "looking for a batch that may have been sent before a crash")
    await database.run(message_batches.void, batch.id, "the provider never got it")
    return None


async def _is_ours(batches: Batches, provider_id: str, calls: Collection[UUID]) -> bool:
    seen = 0
    async with aclosing(batches.results(provider_id)) as results:  # type: ignore[type-var]
        async for custom_id, _ in results:
            if call_of(custom_id) in calls:
                return True
            seen += 1
            if seen == LOOKED_AT:
                break
    return False


async def _settle(database: Database, batches: Batches, price: Price, batch: Batch, found: ProviderBatch) -> NotYet | None:
    ours = await database.run(message_batches.calls_of, batch.id)
    bills: list[Bill] = []
    answered: set[UUID] = set()
    lines = broken = 0
    unreadable: str | None = None
    try:
        async with aclosing(batches.results(found.id)) as results:  # type: ignore[type-var]
            async for custom_id, result in results:
                lines += 1
                broken += not custom_id
                call_id = call_of(custom_id)
                if call_id is None or call_id not in ours or call_id in answered:
                    continue
                if isinstance(result, Reply) or result.billed == "maybe":
                    answered.add(call_id)
                bills.append(bill(call_id, _within(result, ours[call_id]), price, batch=True))
                if len(bills) == SETTLED_AT_ONCE:
                    await _pay(database, bills)
                    bills = []
    except Failed as failed:
        if failed.why in ("key", "money"):
            raise failed.error from failed
        unreadable = failed.error.detail
    await _pay(database, bills)
    succeeded = found.counts.get("succeeded", 0)
    patience_s = UNREADABLE_S
    if unreadable is None and len(answered) < succeeded:
        unreadable = f"batch {found.id} says that {succeeded} requests succeeded, its results hold {len(answered)} of ours"
        if lines >= found.requests:  # all came, under other names or in pieces: reading them again shows the same
            patience_s = UNREADABLE_LINES_S if broken else 0
    if unreadable is not None:
        if found.ended_at is not None and (datetime.now(UTC) - found.ended_at).total_seconds() < patience_s:
            return NotYet(30.0, f"its results cannot be read: {unreadable}")
        await database.run(_give_up, batch, f"broken: {unreadable}: paid at the worst case")
        return None
    await database.run(_close, batch)
    return None


def _within(result: Reply | Failed, max_tokens: int | None) -> Reply | Failed:
    """A reply that keeps to what was asked for, or why it is none."""
    if isinstance(result, Reply) and max_tokens is not None and result.output_tokens > max_tokens:
        return too_long(result.usage, max_tokens, where="a batch", request_id=result.request_id)
    return result


def _close(conn: Connection, batch: Batch) -> None:
    with conn.transaction():
        rest = message_batches.reserved(conn, batch.id)
        budgets.settle(conn, [Bill(call_id, "free", error="the batch has no result for it") for call_id in rest])
        message_batches.settled(conn, batch.id)


def call_of(custom_id: str) -> UUID | None:
    """The call that a custom_id names; None for what we never sent."""
    try:
        return UUID(hex=custom_id)
    except ValueError:
        return None


def bill(call_id: UUID, result: Reply | Failed, price: Price, *, batch: bool = False) -> Bill:
    """What the ledger writes of a reply, or of its failure."""
    if isinstance(result, Reply):
        return Bill(
            call_id,
            "answered",
            cost_usd=price.cost(result.usage, batch=batch),
            input_tokens=result.input_tokens,
            output_tokens=result.output_tokens,
            cache_read_tokens=result.cache_read_tokens,
            cache_write_tokens=result.cache_write_5m_tokens + result.cache_write_1h_tokens,
            request_id=result.request_id,
            answer=vars(result),
        )
    error = f"{result.why}: {result.error.detail}"
    if result.billed == "no":
        return Bill(call_id, "free", request_id=result.request_id, error=error)
    if result.usage is None:
        return Bill(call_id, "unknown", request_id=result.request_id, error=error)
    return Bill(
        call_id,
        "answered",
        cost_usd=price.cost(result.usage, batch=batch),
        input_tokens=result.usage.input_tokens,
        output_tokens=result.usage.output_tokens,
        cache_read_tokens=result.usage.cache_read_tokens,
        cache_write_tokens=result.usage.cache_write_5m_tokens + result.usage.cache_write_1h_tokens,
        request_id=result.request_id,
        error=error,
    )


async def _pay(database: Database, bills: list[Bill]) -> None:
    if bills:
        await database.run(budgets.settle, bills)
