"""What a gold job would cost and take, before anything is spent: from its rows, the price list and what the ledger has seen.

The job itself is run dry: its own code asks a teacher that buys nothing, and whatever is paid already is answered from the
ledger. Input is counted, by the provider on a sample, free of charge, else from bytes. What nobody knows yet, how long answers
are and how many are asked for again, is that of earlier gold jobs with the same teacher, or an assumption that the answer names.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import structlog
from pydantic import BaseModel, Field

from goldsmith import datasets
from goldsmith.budgets import Account
from goldsmith.datasets import Example
from goldsmith.db import Connection
from goldsmith.errors import InvalidInput
from goldsmith.four_prices import Dollars, Part, batch_cached, cached, dollars
from goldsmith.judge import rubric
from goldsmith.keys import Caller
from goldsmith.kinds.gold.questions import REPAIR, beginning
from goldsmith.kinds.gold.schema import GoldConfig
from goldsmith.settings import Settings
from goldsmith.teacher.counting import BYTES_OF_TOKEN, Counting
from goldsmith.teacher.provider import Failed, Provider

if TYPE_CHECKING:
    from goldsmith.teacher.dry_run import DryRun, Question

COUNTED = 8  # questions whose tokens the provider counts
SAMPLED = 600  # rows that are run dry; an answer takes 5 ms to check
PREFIXES = 20  # shared beginnings that are counted, the most common ones first
SEEN = 20  # calls of the ledger from which on it is believed
COUNT_WITHIN_S = 10.0
TOKENS_OF_WORD = 1.6  # of an answer, likewise
TOKENS_OF_OPINION = 80  # of a judge: four numbers and a sentence, likewise
PASSED = 0.9  # of the rows, and so judged: a guess
REPAIRED = 0.15  # a guess: one answer in seven is asked for again
SECONDS = 5.0  # a guess for a short answer, asked at once
BATCH_MINUTES = 60.0  # most batches end within the hour; the provider promises a day
DAY_MINUTES = 24 * 60

log = structlog.get_logger()


class Minutes(BaseModel):
    direct: float
    batch: float | None
    batch_at_most: float | None = Field(
        description="What the provider promises: a day for each round: answers, repairs, near duplicates anew."
    )


class JudgeEstimate(BaseModel):
    """The judge's part of it."""

    questions: int = Field(description="To be bought: the examination and the rows' scores, each sample once.")
    reused: int = Field(description="Questions of it that are paid already.")
    input_tokens: int
    output_tokens: int
    usd: Dollars
    expected_usd: float


class Estimate(BaseModel):
    """All that the job would buy; `judge` says which part of it is the judge's."""

    kind: Literal["gold"] = "gold"
    teacher: str
    model: str
    rows: int
    questions: int = Field(description="To be bought, each once: rows without an answer yet, repairs, and the judge's.")
    repairs: int = Field(description="Of them, those with the reasons why an answer did not pass.")
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
    judge: JudgeEstimate | None = Field(description="Null when no judge is asked for.")
    based_on: list[str] = Field(description="What was counted, seen or assumed.")


@dataclass(frozen=True)
class _Seen:
    """What answers are like."""

    output_tokens: float
    opinion_tokens: float
    repaired: float
    """Questions that follow a first one; 0 where the dry run has them."""
    seconds: float
    batch_minutes: float
    why: list[str]


def estimate(conn: Connection, settings: Settings, config: GoldConfig, caller: Caller) -> Estimate:
    """Raises what the job itself would fail with: `NotFound`, `InvalidInput`, `Unavailable` that name field or setting."""
    from goldsmith.teacher.dry_run import DryRun  # the SDK costs a second to import; only who asks pays it
    from goldsmith.teacher.providers import open_provider

    rows = [row for row in datasets.examples_of(conn, config.dataset) if row.messages[-1].role == "user"]
    if not rows:
        raise InvalidInput(
            f"{config.dataset} is no corpus: it has no row that ends with the user",
            errors=[{"field": "dataset", "value": config.dataset, "message": "must be a dataset that a corpus job made"}],
        )
    provider = open_provider(settings, config.teacher, config.model, recorded=any(row.private for row in rows))
    dry = DryRun(conn, provider, Account(UUID(int=0), 0, caller.name, reads_all=caller.may("admin")))
    sample = rows[:: -(-len(rows) // SAMPLED)]
    return asyncio.run(_estimate(conn, config, rows, sample, provider, dry))


async def _estimate(
    conn: Connection, config: GoldConfig, rows: Sequence[Example], sample: Sequence[Example], provider: Provider, dry: DryRun
) -> Estimate:
    async with aclosing(provider):
        paid = await _run_dry(sample, dry, config)
        answers = [one for one in dry.questions.values() if one.request.json_schema is None]
        opinions = [one for one in dry.questions.values() if one.request.json_schema is not None]
        per_byte, counted = await _tokens_per_byte(provider, answers)
        per_byte_judge, _ = await _tokens_per_byte(provider, opinions)
        prefixes = Counter(one.prefix for one in answers if one.prefix)
        counting = Counting(provider)
        tokens = {prefix: len(prefix.encode()) * per_byte for prefix in prefixes}
        for prefix, _ in prefixes.most_common(PREFIXES):
            first = next(one for one in answers if one.prefix == prefix)
            tokens[prefix] = await counting.prefix(first.request, sharing=2) or tokens[prefix]
    seen = _seen(conn, provider, config)
    scale = len(rows) / len(sample)
    bought, judged = Part(), Part()
    for one in answers:
        known = seen.output_tokens if one.output_tokens is None else one.output_tokens
        bought.add(scale, one.bytes * per_byte, min(known, config.max_tokens))
        if one.prefix:
            bought.rounds[one.round, one.prefix] += scale
    unknown = [one for one in answers if one.output_tokens is None and one.round == 1]
    repairs = scale * sum(one.round > 1 for one in answers) + _repairs(unknown, scale, per_byte, seen, bought)
    for one in opinions:
        known = seen.opinion_tokens if one.output_tokens is None else one.output_tokens
        judged.add(1 if one.item.startswith("judge/") else scale, one.bytes * per_byte_judge, known)
    if config.judge is not None:
        size = _opinion_bytes(config, unknown) * per_byte_judge + seen.output_tokens
        judged.add(len(unknown) * scale * PASSED * config.judge.samples, size, seen.opinion_tokens)
    shares = Counter(map(beginning, rows))
    sharing = {one.prefix: shares[one.request.prompt[: one.request.shared]] for one in answers if one.prefix}
    said = [counted, *seen.why]
    if len(sample) < len(rows):
        said.append(f"{len(sample)} of {len(rows)} rows were run dry, and stand for all")
    return _priced(
        provider, config, len(rows), bought, judged, tokens, sharing,
        seen=seen, repairs=round(repairs), reused=round(paid * scale), said=said,
        judge_reused=sum(item.startswith(("judge/", "judging/")) for item in dry.paid.values()),
    )  # fmt: skip


async def _run_dry(rows: Sequence[Example], teacher: DryRun, config: GoldConfig) -> int:
    """What the job does with its teacher; returns the rows whose first answer is paid."""
    from goldsmith.kinds.gold.answers import answer, vary
    from goldsmith.kinds.gold.judge import judge

    sharing = Counter(map(beginning, rows))
    outcomes = [await answer(row, teacher, config, batch=False, sharing=sharing[beginning(row)]) for row in rows]
    paid = sum(bool(outcome.answers) and outcome.answers[0].reused for outcome in outcomes)
    if config.near_duplicate is not None:
        teacher.varying = True
        asked = [outcome for outcome in outcomes if outcome.asked]
        await vary(asked, config.near_duplicate, teacher, config, batch=False, sharing=sharing)
    if config.judge is not None:
        await judge([outcome for outcome in outcomes if outcome.passed], teacher, config, batch=False)
    return paid


def _repairs(unknown: Sequence[Question], scale: float, per_byte: float, seen: _Seen, bought: Part) -> float:
    """Adds the questions that will follow those whose answers nobody knows yet; returns how many."""
    again = len(unknown) * scale * seen.repaired
    if again:
        mean = statistics.fmean(one.bytes for one in unknown) * per_byte
        frame = len(REPAIR.encode()) * per_byte + 30  # and the reasons
        bought.add(again, mean + seen.output_tokens + frame, seen.output_tokens)
        for prefix, sharing in Counter(one.prefix for one in unknown if one.prefix).items():
            bought.rounds[2, prefix] += round(sharing * scale * seen.repaired)
    return again


def _opinion_bytes(config: GoldConfig, unknown: Sequence[Question]) -> float:
    """Of a question about a row's answer, without that answer."""
    own = statistics.fmean(len(one.request.prompt.encode()) for one in unknown) if unknown else 0.0
    return own + len(f"{rubric().system}{rubric().score}".encode())


async def _tokens_per_byte(provider: Provider, questions: Sequence[Question]) -> tuple[float, str]:
    """Also how that was found out."""
    assumed = 1 / BYTES_OF_TOKEN, f"input: assumed, a token for every {BYTES_OF_TOKEN} bytes"
    if not questions:
        return assumed
    sample = questions[:: -(-len(questions) // COUNTED)]
    try:
        async with asyncio.timeout(COUNT_WITHIN_S):
            counts = [await provider.count_tokens(replace(one.request, shared=0)) for one in sample]
    except (Failed, TimeoutError) as error:
        log.warning("the teacher does not count tokens", teacher=provider.name, error=str(error))
        return assumed
    if any(count is None for count in counts):
        return assumed
    total = sum(count or 0 for count in counts)
    return total / sum(one.bytes for one in sample), f"input: {len(sample)} prompts counted by the provider"


_HISTORY = """
SELECT count(*) AS calls, count(DISTINCT (c.job_id, c.item)) AS items, avg(c.output_tokens)::float AS output_tokens,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM c.settled_at - c.created_at))
        FILTER (WHERE c.batch_id IS NULL)::float AS seconds
FROM (
    SELECT c.* FROM teacher_calls c JOIN jobs j ON j.id = c.job_id AND j.kind = 'gold'
    WHERE c.provider = %(provider)s AND c.model = %(model)s AND c.answer IS NOT NULL AND c.output_tokens > 0
      AND c.item NOT LIKE 'judge/%%' AND c.item NOT LIKE 'judging/%%'
      AND coalesce((j.config->>'repair')::bool, true) = %(repair)s
      AND (j.config->>'min_words')::int = %(min_words)s AND (j.config->>'max_words')::int = %(max_words)s
    ORDER BY c.settled_at DESC LIMIT 5000
) c
"""
_OPINIONS = """
SELECT count(*) AS calls, avg(output_tokens)::float AS output_tokens FROM (
    SELECT output_tokens FROM teacher_calls
    WHERE provider = %(provider)s AND model = %(model)s AND answer IS NOT NULL AND (item LIKE 'judge/%%' OR item LIKE 'judging/%%')
    ORDER BY settled_at DESC LIMIT 5000
) c
"""
_BATCHES = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - sent_at))::float / 60 AS minutes
FROM teacher_batches WHERE provider = %(provider)s AND status = 'settled'
"""


def _seen(conn: Connection, provider: Provider, config: GoldConfig) -> _Seen:
    values = {**config.model_dump(), "provider": provider.name, "model": provider.model}
    row = conn.execute(_HISTORY, values).fetchone()
    opinions = conn.execute(_OPINIONS, values).fetchone()
    batches = conn.execute(_BATCHES, values).fetchone()
    assert row is not None
    assert opinions is not None
    assert batches is not None
    words = (config.min_words + config.max_words) / 2
    known = _Seen(
        output_tokens=min(words * TOKENS_OF_WORD, config.max_tokens),
        opinion_tokens=opinions["output_tokens"] if opinions["calls"] >= SEEN else TOKENS_OF_OPINION,
        repaired=REPAIRED if config.repair else 0.0,
        seconds=SECONDS if row["seconds"] is None else row["seconds"],
        batch_minutes=BATCH_MINUTES if batches["minutes"] is None else batches["minutes"],
        why=[],
    )
    if provider.name == "rehearsal":
        return replace(known, repaired=0.0, why=["output and repairs: the rehearsal's rules, worked out"])
    if row["calls"] >= SEEN:
        repaired = max(0.0, row["calls"] / row["items"] - 1) if config.repair else 0.0
        why = f"output and repairs: {row['calls']} answers of earlier gold jobs with this teacher and these lengths"
        return replace(known, output_tokens=row["output_tokens"], repaired=repaired, why=[why])
    why = (
        f"output: assumed, {words:.0f} words of {TOKENS_OF_WORD} tokens, and {known.repaired:.0%} asked again;"
        " the first gold job with this teacher makes it better"
    )
    return replace(known, why=[why])


def _priced(
    provider: Provider,
    config: GoldConfig,
    rows: int,
    bought: Part,
    judged: Part,
    tokens: Mapping[str, float],
    sharing: Mapping[str, int],
    *,
    seen: _Seen,
    repairs: int,
    reused: int,
    judge_reused: int,
    said: list[str],
) -> Estimate:
    price = provider.price
    direct_cached, why = cached(price, bought, tokens, sharing)
    takes = provider.batches is not None
    batched, why_batch = batch_cached(price, bought, tokens) if takes else (None, "the teacher takes no batches")
    answers = dollars(price, bought, takes, direct_cached, batched)
    judge = dollars(price, judged, takes)
    batch = takes and config.batch is not False
    mode: Literal["direct", "cached", "batch", "batch_cached"]
    if batch:
        mode = "batch_cached" if (answers.batch_cached or 0) < (answers.batch or 0) else "batch"
    else:
        mode = "cached" if answers.cached < answers.direct else "direct"
    usd = Dollars(
        direct=answers.direct + judge.direct,
        cached=answers.cached + judge.cached,
        batch=None if answers.batch is None or judge.batch is None else answers.batch + judge.batch,
        batch_cached=None
        if answers.batch_cached is None or judge.batch_cached is None
        else answers.batch_cached + judge.batch_cached,
    )
    expected: float = getattr(usd, mode)
    questions = round(bought.questions) + round(judged.questions)
    rounds = (0 if not bought.questions else 1 if not repairs else 2 if config.near_duplicate is None else 3) + (
        3 if judged.questions else 0  # the planted pairs, their texts, the rows
    )
    return Estimate(
        teacher=provider.name,
        model=provider.model,
        rows=rows,
        questions=questions,
        repairs=repairs,
        reused=reused,
        input_tokens=bought.usage.input_tokens + judged.usage.input_tokens,
        output_tokens=bought.usage.output_tokens + judged.usage.output_tokens,
        usd=usd,
        minutes=Minutes(
            direct=round(questions * seen.seconds / config.concurrency / 60, 1),
            batch=round(rounds * seen.batch_minutes, 1) if takes else None,
            batch_at_most=rounds * DAY_MINUTES if takes else None,
        ),
        mode=mode,
        expected_usd=expected,
        budget_usd=config.budget_usd,
        fits_budget=expected <= config.budget_usd,
        cache=why_batch if batch else why,
        judge=None
        if config.judge is None
        else JudgeEstimate(
            questions=round(judged.questions),
            reused=judge_reused,
            input_tokens=judged.usage.input_tokens,
            output_tokens=judged.usage.output_tokens,
            usd=judge,
            expected_usd=getattr(judge, mode),
        ),
        based_on=said,
    )


def parse(config: Any) -> GoldConfig:
    """Only gold jobs are estimated; raises `InvalidInput` for any other."""
    if not isinstance(config, GoldConfig):
        raise InvalidInput(
            f"kind {config.kind!r} spends nothing that is estimated here; gold does",
            errors=[{"field": "kind", "value": config.kind, "message": "must be gold"}],
        )
    return config
