"""Nearly the same prompts: one of them is kept. And of a tradition that is named often, only so many."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from goldsmith.kinds.corpus.near import Tick, near_pairs
from goldsmith.kinds.corpus.prompts import Dropped, Prompt
from goldsmith.kinds.corpus.split import order
from goldsmith.kinds.corpus.words import shingles

NEARLY_THE_SAME = "nearly the same as another prompt"


def drop_near(prompts: Sequence[Prompt], threshold: float, dropped: Dropped, tick: Tick) -> list[Prompt]:
    """The prompts without those that are at least `threshold` like one of a better rank that is kept."""
    alike: dict[int, list[int]] = defaultdict(list)
    for one, other in near_pairs([shingles(prompt.text) for prompt in prompts], threshold, tick):
        alike[one].append(other)
        alike[other].append(one)
    out: set[int] = set()
    for number in sorted(alike, key=lambda number: prompts[number].rank):
        if number not in out:
            out.update(alike[number])
    dropped.setdefault(NEARLY_THE_SAME, []).extend(prompts[number].source for number in sorted(out))
    return [prompt for number, prompt in enumerate(prompts) if number not in out]


def cap_traditions(prompts: Sequence[Prompt], most: int, seed: int, dropped: Dropped) -> list[Prompt]:
    """At most `most` prompts that name the same tradition; those of people stay before those that were made."""
    named: Counter[str] = Counter()
    out: set[str] = set()
    for prompt in sorted(prompts, key=lambda prompt: (prompt.rank[0], order(seed, prompt.key))):
        if full := [tradition for tradition in prompt.traditions if named[tradition] >= most]:
            out.add(prompt.key)
            dropped.setdefault(f"more than {most} prompts name {full[0]}", []).append(prompt.source)
        else:
            named.update(prompt.traditions)
    return [prompt for prompt in prompts if prompt.key not in out]
