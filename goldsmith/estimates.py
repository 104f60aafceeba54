"""What a gold job would cost and take, before anything is spent: from its rows, the price list and what the ledger has seen.

Input is counted: by the provider on a sample, free of charge, else from bytes. Output and repairs are those of earlier gold
jobs with the same teacher; without any, of the rehearsal's written rules, or an assumption that the answer names.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import structlog
from pydantic import BaseModel, Field

from goldsmith import budgets, datasets, gates
from goldsmith.budgets import Account, Paid
from goldsmith.datasets import Example
from goldsmith.db import Connection
from goldsmith.errors import InvalidInput
from goldsmith.keys import Caller
from goldsmith.kinds.gold.questions import REPAIR, SYSTEM, shared
from goldsmith.kinds.gold.schema import GoldConfig
from goldsmith.settings import Settings
from goldsmith.teacher.prices import Price, Usage, plan_cache
from goldsmith.teacher.provider import Failed, Provider, Request

COUNTED = 8  # rows whose tokens the provider counts
SAMPLED = 300  # rows that the rehearsal's rules are applied to
SEEN = 20  # calls of the ledger from which on it is believed
COUNT_WITHIN_S = 10.0
BYTES_OF_TOKEN = 3.5  # a guess for mixed German and English
TOKENS_OF_WORD = 1.6  # of an answer, likewise
REPAIRED = 0.15  # a guess: one answer in seven is asked for again
SECONDS = 5.0  # a guess for a short answer, asked at once
BATCH_MINUTES = 60.0  # most batches end within the hour; the provider promises a day
DAY_MINUTES = 24 * 60

log = structlog.get_logger()


class Dollars(BaseModel):
    """The same questions, bought in four ways."""

    direct: float
    cached: float = Field(description="Direct, shared prefixes read from the provider's cache.")
    batch: float | None = Field(description="In batches; null: the teacher takes none.")
    batch_cached: float | None = Field(description="In batches, shared prefixes written to the cache before.")


class Minutes(BaseModel):
    direct: float
    batch: float | None
    batch_at_most: float | None = Field(
        description="What the provider promises: a day for each round: answers, repairs, near duplicates anew."
    )


class Estimate(BaseModel):
    kind: Literal["gold"] = "gold"
    teacher: str
    model: str
    rows: int
    questions: int = Field(description="To be bought: rows without an answer yet, each question once, and the repairs.")
    repairs: int
    reused: int = Field(description="Rows whose answer is paid already.")
    input_tokens: int
    output_tokens: int
    usd: Dollars
    minutes: Minutes
    mode: Literal["direct", "cached", "batch", "batch_cached"] = Field(description="How this job would buy.")
    expected_usd: float = Field(description="Of that mode.")
    budget_usd: float
    fits_budget: bool
    cache: str = Field(description="Why the cache is used, or saves nothing.")
    based_on: list[str] = Field(description="What was counted, seen or assumed.")


@dataclass(frozen=True)
class _Seen:
    """What answers are like."""

    output_tokens: float
    repaired: float
    seconds: float
    batch_minutes: float
    why: list[str]


def estimate(conn: Connection, settings: Settings, config: GoldConfig, caller: Caller) -> Estimate:
    """Raises what the job itself would fail with: `NotFound`, `InvalidInput`, `GoldsmithError` that name field or setting."""
    from goldsmith.teacher.providers import open_provider  # the SDK costs a second to import; only who asks pays it

    rows = [row for row in datasets.examples_of(conn, config.dataset) if row.messages[-1].role == "user"]
    if not rows:
        raise InvalidInput(
            f"{config.dataset} is no corpus: it has no row that ends with the user",
            errors=[{"field": "dataset", "value": config.dataset, "message": "must be a dataset that a corpus job made"}],
        )
    provider = open_provider(settings, config.teacher, config.model, recorded=any(row.private for row in rows))
    new, reused = _new(conn, provider, config, rows, caller)
    per_byte, counted = asyncio.run(_tokens_per_byte(provider, config, new or rows))
    seen = _seen(conn, provider, config, new or rows)
    return _priced(provider, config, rows=len(rows), new=new, reused=reused, per_byte=per_byte, seen=seen, counted=counted)


def _request(config: GoldConfig, row: Example) -> Request:
    prompt = row.messages[0].content
    return Request(
        prompt, config.max_tokens, system=SYSTEM, temperature=config.temperature, recorded=row.private, shared=shared(row)
    )


def _new(
    conn: Connection, provider: Provider, config: GoldConfig, rows: Sequence[Example], caller: Caller
) -> tuple[list[Example], int]:
    """Rows whose question is not paid, one a question, and how many rows have their answer."""
    by_request: dict[str, Example] = {}
    times: Counter[str] = Counter()
    for row in rows:
        sha256 = budgets.request_sha256(provider.identity(_request(config, row)))
        by_request.setdefault(sha256, row)
        times[sha256] += 1
    account = Account(UUID(int=0), 0, caller.name, reads_all=caller.may("admin"))
    known = budgets.known(conn, account, list(by_request))
    paid = {sha256 for sha256, found in known.items() if isinstance(found, Paid)}
    return [row for sha256, row in by_request.items() if sha256 not in paid], sum(times[sha256] for sha256 in paid)


async def _tokens_per_byte(provider: Provider, config: GoldConfig, rows: Sequence[Example]) -> tuple[float, str]:
    """Also how that was found out. Closes the provider."""
    sample = [_request(config, row) for row in rows[:: max(1, len(rows) // COUNTED)][:COUNTED]]
    try:
        async with aclosing(provider), asyncio.timeout(COUNT_WITHIN_S):
            counts = [await provider.count_tokens(request) for request in sample]
    except (Failed, TimeoutError) as error:
        log.warning("the teacher does not count tokens", teacher=provider.name, error=str(error))
        counts = [None]
    if any(count is None for count in counts):
        return 1 / BYTES_OF_TOKEN, f"input: assumed, a token for every {BYTES_OF_TOKEN} bytes"
    total = sum(count or 0 for count in counts)
    return total / sum(_bytes(request) for request in sample), f"input: {len(sample)} prompts counted by the provider"


def _bytes(request: Request) -> int:
    return len((request.system or "").encode()) + len(request.prompt.encode())


_HISTORY = """
SELECT count(*) AS calls, count(DISTINCT (c.job_id, c.item)) AS items, avg(c.output_tokens)::float AS output_tokens,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM c.settled_at - c.created_at))
        FILTER (WHERE c.batch_id IS NULL)::float AS seconds
FROM (
    SELECT c.* FROM teacher_calls c JOIN jobs j ON j.id = c.job_id AND j.kind = 'gold'
    WHERE c.provider = %(provider)s AND c.model = %(model)s AND c.answer IS NOT NULL AND c.output_tokens > 0
      AND coalesce((j.config->>'repair')::bool, true) = %(repair)s
      AND (j.config->>'min_words')::int = %(min_words)s AND (j.config->>'max_words')::int = %(max_words)s
    ORDER BY c.settled_at DESC LIMIT 5000
) c
"""
_BATCHES = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - sent_at))::float / 60 AS minutes
FROM teacher_batches WHERE provider = %(provider)s AND status = 'settled'
"""


def _seen(conn: Connection, provider: Provider, config: GoldConfig, rows: Sequence[Example]) -> _Seen:
    values = {**config.model_dump(), "provider": provider.name, "model": provider.model}
    row = conn.execute(_HISTORY, values).fetchone()
    batches = conn.execute(_BATCHES, values).fetchone()
    assert row is not None
    assert batches is not None
    seconds = SECONDS if row["seconds"] is None else row["seconds"]
    minutes = BATCH_MINUTES if batches["minutes"] is None else batches["minutes"]
    known = _Seen(0, 0, seconds, minutes, [])
    if row["calls"] >= SEEN:
        repaired = row["calls"] / row["items"] - 1 if config.repair else 0
        why = f"output and repairs: {row['calls']} answers of earlier gold jobs with this teacher and these lengths"
        return replace(known, output_tokens=row["output_tokens"], repaired=repaired, why=[why])
    if provider.name == "rehearsal":
        return _rehearsed(known, config, rows)
    words = (config.min_words + config.max_words) / 2
    repaired = REPAIRED if config.repair else 0.0
    why = (
        f"output: assumed, {words:.0f} words of {TOKENS_OF_WORD} tokens, and {repaired:.0%} asked again;"
        " the first gold job with this teacher makes it better"
    )
    return replace(known, output_tokens=min(words * TOKENS_OF_WORD, config.max_tokens), repaired=repaired, why=[why])


def _rehearsed(known: _Seen, config: GoldConfig, rows: Sequence[Example]) -> _Seen:
    """The rehearsal's rules are written down: what it will answer is worked out here, for a sample."""
    from goldsmith.kinds.gold.answers import check
    from goldsmith.teacher import Answer, transform

    sample = rows[:: max(1, len(rows) // SAMPLED)][:SAMPLED]
    tokens: list[int] = []
    passed: list[str] = []
    again = 0
    for row in sample:
        prompt = row.messages[0].content
        for attempt in range(2 if config.repair else 1):
            text = transform.answer(prompt)
            tokens.append(min(-(-len(text.encode()) // 4), config.max_tokens))
            end = "max_tokens" if tokens[-1] == config.max_tokens else "end_turn"
            failed = check(Answer(text, end, "rehearsal-1", 0, 0, 0.0, None, True, False), row, config)
            if not failed and not attempt:
                passed.append(text)
            if not failed or attempt or not config.repair:
                break
            again += 1
            prompt = REPAIR.format(prompt=prompt, answer=text, reasons="\n".join(f"- {reason}" for reason in failed.values()))
    if config.repair and config.near_duplicate is not None:
        again += len(gates.near_duplicates(passed, config.near_duplicate))
    why = f"output and repairs: the rehearsal's rules, worked out for {len(sample)} rows"
    return replace(known, output_tokens=statistics.fmean(tokens), repaired=again / len(sample), why=[why])


def _priced(
    provider: Provider,
    config: GoldConfig,
    *,
    rows: int,
    new: Sequence[Example],
    reused: int,
    per_byte: float,
    seen: _Seen,
    counted: str,
) -> Estimate:
    price = provider.price
    requests = [_request(config, row) for row in new]
    first = sum(_bytes(request) for request in requests) * per_byte
    repairs = round(len(new) * seen.repaired)
    mean = first / len(new) if new else 0.0
    frame = len(REPAIR.encode()) * per_byte + 30  # and the reasons
    again = repairs * (mean + seen.output_tokens + frame)
    output = (len(new) + repairs) * seen.output_tokens
    plain = Usage(round(first + again), round(output))
    prefixes = Counter((request.system or "") + request.prompt[: request.shared] for request in requests)
    cached, why = _cached(price, plain, prefixes, per_byte, 1 + seen.repaired, batch=False)
    batched, why_batch = _cached(price, plain, prefixes, per_byte, 1 + seen.repaired, batch=True)
    takes = provider.batches is not None
    usd = Dollars(
        direct=float(price.cost(plain)),
        cached=float(cached),
        batch=float(price.cost(plain, batch=True)) if takes else None,
        batch_cached=float(batched) if takes else None,
    )
    batch = takes and config.batch is not False
    marked = (batched < price.cost(plain, batch=True)) if batch else cached < price.cost(plain)
    mode: Literal["direct", "cached", "batch", "batch_cached"] = (
        ("batch_cached" if marked else "batch") if batch else ("cached" if marked else "direct")
    )
    expected: float = getattr(usd, mode)
    rounds = (2 if config.near_duplicate is None else 3) if repairs else 1
    return Estimate(
        teacher=provider.name,
        model=provider.model,
        rows=rows,
        questions=len(new) + repairs,
        repairs=repairs,
        reused=reused,
        input_tokens=plain.input_tokens,
        output_tokens=plain.output_tokens,
        usd=usd,
        minutes=Minutes(
            direct=round((len(new) + repairs) * seen.seconds / config.concurrency / 60, 1),
            batch=round(rounds * seen.batch_minutes, 1) if takes else None,
            batch_at_most=rounds * DAY_MINUTES if takes else None,
        ),
        mode=mode,
        expected_usd=expected,
        budget_usd=config.budget_usd,
        fits_budget=expected <= config.budget_usd,
        cache=why_batch if batch else why,
        based_on=[counted, *seen.why],
    )


def _cached(
    price: Price, plain: Usage, prefixes: Counter[str], per_byte: float, asked: float, *, batch: bool
) -> tuple[Decimal, str]:
    """With shared prefixes written once (before a batch, at the direct price) and read by all others; and why, or why not."""
    if batch and price.batch is None:
        return Decimal(0), "the teacher takes no batches"
    read = 0.0
    written = 0.0
    why = "no two questions share a prefix"
    for prefix, sharing in prefixes.items():
        tokens = len(prefix.encode()) * per_byte
        plan = plan_cache(price, prefix_tokens=int(tokens), requests=sharing, batch=batch)
        why = plan.why
        if plan.ttl is not None:
            written += tokens
            read += tokens * (sharing * asked - (0 if batch else 1))
    if not batch:
        return price.cost(replace(plain, cache_read_tokens=round(read), cache_write_5m_tokens=round(written))), why
    warm = price.cost(Usage(round(written), 0, cache_write_1h_tokens=round(written)))
    return warm + price.cost(replace(plain, cache_read_tokens=round(read)), batch=True), why


def parse(config: Any) -> GoldConfig:
    """Only gold jobs are estimated; raises `InvalidInput` for any other."""
    if not isinstance(config, GoldConfig):
        raise InvalidInput(
            f"kind {config.kind!r} spends nothing that is estimated here; gold does",
            errors=[{"field": "kind", "value": config.kind, "message": "must be gold"}],
        )
    return config
