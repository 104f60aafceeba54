"""All prompts of a corpus: recorded, uploaded and made; each text once, none that must not be used."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from goldsmith import uploads
from goldsmith.context import JobContext
from goldsmith.kinds.corpus import asking, dedup, lengths, presets
from goldsmith.kinds.corpus.near import Tick
from goldsmith.kinds.corpus.prompts import Dropped, Prompt, collect, keep, merge, sorted_by_reason, uploaded
from goldsmith.kinds.corpus.schema import ASKED, CorpusConfig
from goldsmith.traditions import recognised


@dataclass
class Gathered:
    prompts: list[Prompt] = field(default_factory=list)
    dropped: Dropped = field(default_factory=dict)
    duplicates: int = 0
    near_duplicates: int = 0
    spent: asking.Spent = field(default_factory=asking.Spent)


def gather(config: CorpusConfig, tokenizer: Any | None, ctx: JobContext) -> Gathered:
    """In this order: read, translate, make, merge, and leave out what is too long, in another language, nearly the same, too much."""
    found = Gathered()
    people = _typed(config, found.dropped, ctx)
    if config.translate:
        people = asyncio.run(_translated(people, config, found, ctx))
    people = merge(people)
    people = [_with_traditions(prompt, config) for prompt in people]
    made = [*presets.anti_default(config.presets.get("anti_default", 0)), *_made(people, config, found, ctx)]

    prompts = merge([*people, *(_with_traditions(prompt, config) for prompt in made)])
    found.duplicates = sum(prompt.runs - 1 for prompt in prompts)
    if config.languages is not None:
        allowed = set(config.languages)
        prompts = keep(
            prompts, lambda one: None if one.language in allowed else f"in another language: {one.language}", found.dropped
        )
    if tokenizer is not None:
        prompts = lengths.fitting(tokenizer, prompts, config, found.dropped)
    before = len(prompts)
    if config.dedup_threshold < 1:
        told = ticks(ctx, 30, 40, f"looking for near duplicates among {len(prompts)} prompts")
        prompts = dedup.drop_near(prompts, config.dedup_threshold, found.dropped, told)
    found.near_duplicates = before - len(prompts)
    if config.per_tradition is not None:
        prompts = dedup.cap_traditions(prompts, config.per_tradition, config.seed, found.dropped)
    found.prompts = prompts
    found.dropped = {reason: sources for reason, sources in sorted_by_reason(found.dropped).items() if sources}
    return found


def ticks(ctx: JobContext, start: float, end: float, message: str) -> Tick:
    return lambda done: ctx.progress(start + (end - start) * done, message)


def _typed(config: CorpusConfig, dropped: Dropped, ctx: JobContext) -> list[Prompt]:
    """What people typed, and what was uploaded."""
    prompts: list[Prompt] = []
    if config.runs is not None:
        prompts, left_out = collect(ctx.runs(config.runs), config.min_words, config.max_words)
        dropped.update(left_out)
    for ref in config.uploads:
        upload, path = ctx.upload(ref)
        lines = uploads.read_prompts(path, upload.about["format"])
        more, left_out = uploaded(upload, lines, config.min_words, config.max_words)
        prompts += more
        for reason, sources in left_out.items():
            dropped.setdefault(reason, []).extend(sources)
    return prompts


async def _translated(prompts: Sequence[Prompt], config: CorpusConfig, found: Gathered, ctx: JobContext) -> list[Prompt]:
    assert config.teacher is not None
    assert config.budget_usd is not None
    unique = merge(prompts)  # one that was typed twice is not bought twice
    async with aclosing(
        ctx.teacher(
            config.teacher,
            model=config.model,
            budget_usd=config.budget_usd,
            recorded=any(one.origin != "synthetic" for one in unique),
        )
    ) as teacher:
        return await asking.translate(
            unique, config, teacher, found.spent, found.dropped, lambda done, message: ctx.progress(2 + 8 * done, message)
        )


def _made(people: Sequence[Prompt], config: CorpusConfig, found: Gathered, ctx: JobContext) -> list[Prompt]:
    if not set(config.presets) & set(ASKED):
        return []
    covered = Counter(tradition for prompt in people for tradition in prompt.traditions)
    return asyncio.run(_ask(covered, config, found, ctx))


async def _ask(covered: Counter[str], config: CorpusConfig, found: Gathered, ctx: JobContext) -> list[Prompt]:
    assert config.teacher is not None
    assert config.budget_usd is not None
    async with aclosing(
        ctx.teacher(config.teacher, model=config.model, budget_usd=config.budget_usd, recorded=False)
    ) as teacher:
        return await asking.make(
            config, teacher, covered, found.spent, found.dropped, lambda done, message: ctx.progress(10 + 18 * done, message)
        )


def _with_traditions(prompt: Prompt, config: CorpusConfig) -> Prompt:
    return replace(prompt, traditions=tuple(recognised(f"{prompt.text}\n{prompt.original}", config.traditions)))
