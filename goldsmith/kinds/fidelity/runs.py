"""The runs that may be used, and the pairs that a judge is examined on."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from goldsmith import privacy
from goldsmith.devserver.checkout import config_key
from goldsmith.gates import content_words
from goldsmith.judge.pairs import Pair
from goldsmith.kinds.fidelity.schema import FidelityConfig
from goldsmith.recordings import RecordedRun

MOST_ALIKE = 0.5  # of their words (Jaccard); texts that share more are hardly of two contexts: a guess


@dataclass(frozen=True)
class Run:
    """A recorded run with all that is needed of it."""

    run_id: str
    device_id: str
    config_id: str
    context: str
    input: str
    output: str
    language: str | None


@dataclass
class Chosen:
    usable: list[Run] = field(default_factory=list)
    drawn: list[Run] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    total: int = 0


def choose(runs: Iterable[RecordedRun], config: FidelityConfig) -> Chosen:
    """What the import excluded stays out, and so does every text with personal data in it: all that would be sent is searched again."""
    chosen = Chosen()
    wanted = None if config.configs is None else {config_key(one) for one in config.configs}
    for run in runs:
        chosen.total += 1
        reason = _unfit(run, wanted)
        if reason is not None:
            chosen.left_out[reason] += 1
        elif run.context and run.input and run.output:
            chosen.usable.append(
                Run(run.run_id, run.device_id, run.config_id or "", run.context, run.input, run.output, run.language)
            )
    order = sorted(chosen.usable, key=lambda run: hashlib.sha256(f"{config.seed}\0{run.run_id}".encode()).digest())
    chosen.drawn = order[: config.limit]
    return chosen


def _unfit(run: RecordedRun, wanted: set[str] | None) -> str | None:
    if run.exclusion is not None:
        return run.exclusion
    if wanted is not None and config_key(run.config_id or "") not in wanted:
        return "of another config"
    for what, text in (("input", run.input), ("context", run.context), ("output", run.output)):
        if not (text or "").strip():
            return f"no {what} was recorded"
    return privacy.personal((run.input or "", run.context or "", run.output or ""), run.language)


def planted(runs: Sequence[Run], number: int, seed: int) -> list[Pair]:
    """Up to so many: a run's context, the text that was made under it, and one in the same language that was made under another.

    Drawn evenly over the contexts, so that one that most runs have does not examine alone.
    """
    chance = random.Random(seed)  # noqa: S311 - reproducible on purpose
    by_context: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.run_id):
        by_context.setdefault(run.context, []).append(run)
    waiting = [chance.sample(of, len(of)) for _, of in sorted(by_context.items())]
    pairs: list[Pair] = []
    while len(pairs) < number and any(waiting):
        for of in waiting:
            if of and len(pairs) < number and (pair := _pair(of.pop(), runs, chance)):
                pairs.append(pair)
    return pairs


def _pair(run: Run, runs: Sequence[Run], chance: random.Random) -> Pair | None:
    others = [
        one for one in runs if one.context != run.context and one.language == run.language and _alike(one, run) <= MOST_ALIKE
    ]
    if not others:
        return None
    other = chance.choice(sorted(others, key=lambda one: one.run_id))
    return Pair(f"{run.run_id}/fidelity/planted", run.context, run.output, other.output, run.device_id, private=True)


def _alike(one: Run, other: Run) -> float:
    a, b = set(content_words(one.output)), set(content_words(other.output))
    return len(a & b) / len(a | b) if a | b else 1.0
