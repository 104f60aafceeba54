"""Gather, group, split, pair, render, measure, check, save."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from goldsmith.context import JobContext
from goldsmith.datasets import ORIGINS, SPLITS, DatasetVersion, Example, Message, Split
from goldsmith.devserver.checkout import Checkout
from goldsmith.devserver.drift import changes, pins_of
from goldsmith.devserver.prompts import render
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.kinds.corpus import coverage, lengths
from goldsmith.kinds.corpus.gather import Gathered, gather, ticks
from goldsmith.kinds.corpus.leaks import check
from goldsmith.kinds.corpus.near import Tick
from goldsmith.kinds.corpus.pairing import pair
from goldsmith.kinds.corpus.prompts import Prompt
from goldsmith.kinds.corpus.schema import PRESETS, CorpusConfig, CorpusResult, Lengths, SplitCounts
from goldsmith.kinds.corpus.split import group, held_out, order
from goldsmith.kinds.corpus.words import normal


def run(config: CorpusConfig, ctx: JobContext) -> CorpusResult:
    ctx.progress(0, "reading contexts")
    contexts = config.contexts or f"{config.runs}/contexts.json"
    checkout = _read_checkout(contexts, ctx)
    chosen = config.configs or [each.config_id for each in checkout.configs]
    configs = [checkout.config(config_id).config_id for config_id in chosen]
    tokenizer = ctx.student(config.base_model).tokenizer if config.base_model is not None else None

    ctx.progress(1, "reading prompts")
    found = gather(config, tokenizer, ctx)
    for reason, sources in found.dropped.items():
        ctx.log(f"left out, {reason}: {len(sources)}")
    prompts = found.prompts
    _enough(config, found)

    groups = group(prompts, config.near_duplicate_threshold, ticks(ctx, 40, 60, f"grouping {len(prompts)} prompts"))
    if len(set(groups)) < 2:
        raise InvalidInput(
            f"the {len(prompts)} prompts of {_sources(config)} form 1 group: each shares its sentence template with another or is "
            "nearly the same, so that none can be held out. Import more varied runs, or raise near_duplicate_threshold "
            f"(now {config.near_duplicate_threshold}; up to 1)",
            errors=[
                {
                    "field": "near_duplicate_threshold",
                    "value": config.near_duplicate_threshold,
                    "allowed": "prompts that form at least 2 groups",
                }
            ],
        )
    outside = held_out(prompts, groups, config.heldout_fraction, config.seed)
    splits: list[Split] = ["heldout" if each in outside else "train" for each in groups]

    pairs = pair(prompts, splits, configs, config.configs_per_prompt, config.seed)
    rows = _render(checkout, prompts, splits, groups, pairs, config, ticks(ctx, 60, 75, "rendering prompts"))
    too_long: list[dict[str, Any]] = []
    measured: Lengths | None = None
    if tokenizer is not None:
        rows, too_long, measured = lengths.measure(tokenizer, rows, config, ticks(ctx, 75, 85, f"measuring {len(rows)} rows"))
    leak_check = check(rows, config.near_duplicate_threshold, ticks(ctx, 85, 92, "checking the split for leaks"))

    ctx.progress(92, f"saving {len(rows)} examples")
    before = _version_before(config.name, ctx)
    # a copy of its own: what was imported or uploaded may go, and evaluating and answering need what was trained on
    kept = ctx.save_artifact("pinned-contexts.json", checkout.model_dump_json(indent=2).encode(), "application/json")
    version = ctx.save_dataset(
        config.name,
        rows,
        manifest={
            "kind": "corpus",
            "config": config.model_dump(mode="json"),
            "contexts": kept,
            "template_version": checkout.template_version,
            "configs": configs,
            "base_model": config.base_model,
            "filters": {reason: len(sources) for reason, sources in found.dropped.items()}
            | {"longer than max_length": len(too_long)},
            "leak_check": leak_check.model_dump(),
        },
        parents=_parents(config, contexts),
        rehearsal=found.spent.rehearsal and any(row.rehearsal for row in rows),
        checkout=checkout,
    )
    covered = coverage.report(rows, configs, config.traditions)
    result = CorpusResult(
        dataset=version.ref,
        report=f"job:{ctx.job_id}/corpus.json",
        coverage=ctx.save_artifact("coverage.json", _json(covered), "application/json"),
        coverage_plot=ctx.save_artifact("coverage.svg", coverage.heat_map(covered).encode(), "image/svg+xml"),
        examples=len(rows),
        duplicates=found.duplicates,
        near_duplicates=found.near_duplicates,
        uncovered=covered["uncovered"],
        dropped={reason: len(sources) for reason, sources in found.dropped.items()},
        lengths=measured,
        too_long=len(too_long),
        unknown_configs=_unknown(prompts, checkout),
        context_fallbacks=_fallbacks(rows),
        drift=changes(pins_of(ctx.examples(before.ref)), checkout) if before else [],
        leak_check=leak_check,
        spent_usd=found.spent.usd,
        saved_by_reuse_usd=found.spent.saved_usd,
        stopped_by="budget" if found.spent.out_of_budget else None,
        rehearsal=version.rehearsal,
        label="REHEARSAL" if version.rehearsal else "",
        **_counts(rows),
    )
    report = {
        "config": config.model_dump(mode="json"),
        "result": result.model_dump(mode="json"),
        "runs_left_out": found.dropped,
        "rows_too_long": too_long,
    }
    ctx.save_artifact("corpus.json", _json(report), "application/json")
    ctx.progress(100, f"{version.ref}: {version.counts['train']} examples to train on, {version.counts['heldout']} held out")
    return result


def _read_checkout(contexts: str, ctx: JobContext) -> Checkout:
    try:
        path = ctx.upload(contexts)[1] if contexts.startswith("upload:") else ctx.artifact(contexts)
        return Checkout.model_validate_json(path.read_bytes())
    except (NotFound, ValidationError) as error:
        why = "does not exist" if isinstance(error, NotFound) else "is something else"
        allowed = "the contexts.json of an import job that was given a checkout, or an upload of contexts"
        raise InvalidInput(
            f"contexts: {contexts} {why}; allowed is {allowed}",
            errors=[{"field": "contexts", "value": contexts, "allowed": allowed}],
        ) from error


def _sources(config: CorpusConfig) -> str:
    return ", ".join([*([config.runs] if config.runs else []), *config.uploads, *(f"preset {each}" for each in config.presets)])


def _parents(config: CorpusConfig, contexts: str) -> list[str]:
    every = [*([config.runs] if config.runs else []), *config.uploads]
    return every if config.runs and contexts.startswith(f"{config.runs}/") else [*every, contexts]


def _version_before(name: str, ctx: JobContext) -> DatasetVersion | None:
    try:
        return ctx.dataset(f"dataset:{name}@latest")
    except NotFound:
        return None


def _enough(config: CorpusConfig, found: Gathered) -> None:
    if len(found.prompts) >= 2:
        return
    left_out = "; ".join(f"{len(sources)}: {reason}" for reason, sources in found.dropped.items()) or "nothing was left out"
    ended = "; the budget was reached" if found.spent.out_of_budget else ""
    field, value = (
        ("runs", config.runs) if config.runs else ("uploads", config.uploads) if config.uploads else ("presets", config.presets)
    )
    raise InvalidInput(
        f"a corpus needs at least 2 different prompts to hold one out, and {_sources(config)} gives {len(found.prompts)} "
        f"({left_out}{ended}). Give more, or allow other lengths than min_words {config.min_words} to max_words {config.max_words}",
        errors=[{"field": field, "value": value, "allowed": "at least 2 different prompts that may be trained on"}],
    )


def _render(
    checkout: Checkout,
    prompts: Sequence[Prompt],
    splits: Sequence[Split],
    groups: Sequence[str],
    pairs: Sequence[Sequence[str]],
    config: CorpusConfig,
    tick: Tick,
) -> list[Example]:
    """One row for each pair; train first, the prompts in an order that the seed decides."""
    rows: list[Example] = []
    seed = config.seed
    numbers = sorted(range(len(prompts)), key=lambda number: (splits[number] != "train", order(seed, prompts[number].key)))
    for done, number in enumerate(numbers):
        prompt = prompts[number]
        for config_id in pairs[number]:
            wiki = False if config.wiki == "never" else None
            rendered = render(checkout, config_id, prompt.language, prompt.text, wiki=wiki)
            rows.append(
                Example(
                    split=splits[number],
                    messages=[Message(role="user", content=rendered.content)],
                    config_id=config_id,
                    context_lang=rendered.context_lang,
                    context_sha256=rendered.context_sha256,
                    template_version=rendered.template_version,
                    wiki=rendered.wiki,
                    input=prompt.text,
                    language=prompt.language,
                    original=prompt.original,
                    group=groups[number],
                    source=prompt.source,
                    origin=prompt.origin,
                    preset=prompt.preset,
                    traditions=list(prompt.traditions),
                    rehearsal=prompt.rehearsal,
                )
            )
        if done % 100 == 0:
            tick(done / len(prompts))
    return rows


def _counts(rows: Sequence[Example]) -> dict[str, Any]:
    """What the result counts of the rows that were saved; a prompt is a text, whatever its configs."""
    prompts = list({normal(row.input): row for row in rows}.values())
    return {
        "prompts": len(prompts),
        "groups": len({row.group for row in rows}),
        "largest_group": max(Counter(row.group for row in prompts).values()),
        "by_split": {
            split: SplitCounts(
                prompts=sum(row.split == split for row in prompts),
                examples=sum(row.split == split for row in rows),
                groups=len({row.group for row in rows if row.split == split}),
            )
            for split in SPLITS
        },
        "by_config": _table((row.config_id, row.split) for row in rows),
        "by_language": _table((row.language, row.split) for row in prompts),
        "by_origin": _table(((row.origin, row.split) for row in prompts), ORIGINS),
        "by_preset": _table(((row.preset, row.split) for row in prompts if row.preset), PRESETS),
        "by_tradition": _table((tradition, row.split) for row in prompts for tradition in row.traditions),
        "translated": sum(bool(row.original) for row in prompts),
    }


def _table(pairs: Iterable[tuple[str, str]], names: Sequence[str] = ()) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    for row, split in pairs:
        table[row][split] += 1
    return {row: table[row] for row in sorted(table, key=lambda row: (names.index(row) if row in names else 0, row))}


def _unknown(prompts: Sequence[Prompt], checkout: Checkout) -> dict[str, int]:
    counted = Counter(config_id for prompt in prompts for config_id in prompt.configs if not checkout.has(config_id))
    return dict(sorted(counted.items()))


def _fallbacks(rows: Sequence[Example]) -> dict[str, int]:
    counted = Counter(
        f"{row.config_id}: {row.language} → {row.context_lang}" for row in rows if row.language != row.context_lang
    )
    return dict(sorted(counted.items()))


def _json(report: dict[str, Any]) -> bytes:
    return json.dumps(report, indent=2, ensure_ascii=False).encode()
