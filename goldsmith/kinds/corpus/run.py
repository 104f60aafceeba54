"""Collect, group, split, pair, render, check, save."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from goldsmith.context import JobContext
from goldsmith.datasets import SPLITS, Example, Message, Split
from goldsmith.devserver.checkout import Checkout
from goldsmith.devserver.prompts import render
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.kinds.corpus.leaks import check
from goldsmith.kinds.corpus.near import Tick
from goldsmith.kinds.corpus.pairing import pair
from goldsmith.kinds.corpus.prompts import Prompt, collect
from goldsmith.kinds.corpus.schema import CorpusConfig, CorpusResult, SplitCounts
from goldsmith.kinds.corpus.split import group, held_out, order


async def run(config: CorpusConfig, ctx: JobContext) -> CorpusResult:
    return await asyncio.to_thread(_run, config, ctx)


def _run(config: CorpusConfig, ctx: JobContext) -> CorpusResult:
    ctx.progress(1, "reading contexts and recorded runs")
    contexts = config.contexts or f"{config.runs}/contexts.json"
    checkout = _read_checkout(contexts, ctx)
    chosen = config.configs or [each.config_id for each in checkout.configs]
    configs = [checkout.config(config_id).config_id for config_id in chosen]
    prompts, dropped = collect(ctx.runs(config.runs), config.min_words, config.max_words)
    for reason, run_ids in dropped.items():
        ctx.log(f"left out, {reason}: {len(run_ids)} runs")
    _enough(config, len(prompts), dropped)

    groups = group(prompts, config.near_duplicate_threshold, _ticks(ctx, 10, 50, f"grouping {len(prompts)} prompts"))
    if len(set(groups)) < 2:
        raise InvalidInput(
            f"the {len(prompts)} prompts of {config.runs} form 1 group: each shares its sentence template with another or is "
            "nearly the same, so that none can be held out. Import more varied runs, or raise near_duplicate_threshold "
            f"(now {config.near_duplicate_threshold}; up to 1)",
            errors=[{"field": "runs", "value": config.runs, "allowed": "prompts that form at least 2 groups"}],
        )
    outside = held_out(prompts, groups, config.heldout_fraction, config.seed)
    splits: list[Split] = ["heldout" if each in outside else "train" for each in groups]

    pairs = pair(prompts, splits, configs, config.configs_per_prompt, config.seed)
    examples = _render(checkout, prompts, splits, groups, pairs, config.seed, _ticks(ctx, 50, 75, "rendering prompts"))

    leak_check = check(examples, config.near_duplicate_threshold, _ticks(ctx, 75, 90, "checking the split for leaks"))

    ctx.progress(90, f"saving {len(examples)} examples")
    version = ctx.save_dataset(
        config.name,
        examples,
        manifest={
            "kind": "corpus",
            "config": config.model_dump(mode="json"),
            "contexts": contexts,
            "template_version": checkout.template_version,
            "configs": configs,
            "leak_check": leak_check.model_dump(),
        },
        parents=[config.runs] if contexts.startswith(f"{config.runs}/") else [config.runs, contexts],
        rehearsal=False,
        checkout=checkout,
    )
    result = CorpusResult(
        dataset=version.ref,
        report=f"job:{ctx.job_id}/corpus.json",
        prompts=len(prompts),
        examples=len(examples),
        groups=len(set(groups)),
        largest_group=max(Counter(groups).values()),
        duplicates=sum(prompt.runs - 1 for prompt in prompts),
        by_split={
            split: SplitCounts(
                prompts=splits.count(split),
                examples=version.counts[split],
                groups=len({each for each, side in zip(groups, splits, strict=True) if side == split}),
            )
            for split in SPLITS
        },
        by_config=_table((example.config_id, example.split) for example in examples),
        by_language=_table((prompt.language, split) for prompt, split in zip(prompts, splits, strict=True)),
        dropped={reason: len(run_ids) for reason, run_ids in dropped.items()},
        leak_check=leak_check,
    )
    ctx.save_artifact("corpus.json", _report(config, result, dropped), "application/json")
    ctx.progress(100, f"{version.ref}: {version.counts['train']} examples to train on, {version.counts['heldout']} held out")
    return result


def _read_checkout(contexts: str, ctx: JobContext) -> Checkout:
    try:
        return Checkout.model_validate_json(ctx.artifact(contexts).read_bytes())
    except (NotFound, ValidationError) as error:
        why = "does not exist" if isinstance(error, NotFound) else "is something else"
        allowed = "the contexts.json of an import job that was given a checkout"
        raise InvalidInput(
            f"contexts: {contexts} {why}; allowed is {allowed}",
            errors=[{"field": "contexts", "value": contexts, "allowed": allowed}],
        ) from error


def _enough(config: CorpusConfig, prompts: int, dropped: dict[str, list[str]]) -> None:
    if prompts >= 2:
        return
    left_out = "; ".join(f"{len(run_ids)} runs: {reason}" for reason, run_ids in dropped.items()) or "no run was left out"
    raise InvalidInput(
        f"a corpus needs at least 2 different prompts to hold one out, and {config.runs} gives {prompts} ({left_out}). "
        f"Import more runs, or allow other lengths than min_words {config.min_words} to max_words {config.max_words}",
        errors=[{"field": "runs", "value": config.runs, "allowed": "at least 2 different prompts that may be trained on"}],
    )


def _render(
    checkout: Checkout,
    prompts: Sequence[Prompt],
    splits: Sequence[Split],
    groups: Sequence[str],
    pairs: Sequence[Sequence[str]],
    seed: int,
    tick: Tick,
) -> list[Example]:
    """One row for each pair; train first, the prompts in an order that the seed decides."""
    rows: list[Example] = []
    numbers = sorted(range(len(prompts)), key=lambda number: (splits[number] != "train", order(seed, prompts[number].key)))
    for done, number in enumerate(numbers):
        prompt = prompts[number]
        for config_id in pairs[number]:
            rendered = render(checkout, config_id, prompt.language, prompt.text)
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
                    group=groups[number],
                    source=prompt.source,
                )
            )
        if done % 100 == 0:
            tick(done / len(prompts))
    return rows


def _ticks(ctx: JobContext, start: float, end: float, message: str) -> Tick:
    return lambda done: ctx.progress(start + (end - start) * done, message)


def _table(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    for row, split in pairs:
        table[row][split] += 1
    return {row: table[row] for row in sorted(table)}


def _report(config: CorpusConfig, result: CorpusResult, dropped: dict[str, list[str]]) -> bytes:
    report = {"config": config.model_dump(mode="json"), "result": result.model_dump(mode="json"), "runs_left_out": dropped}
    return json.dumps(report, indent=2, ensure_ascii=False).encode()
