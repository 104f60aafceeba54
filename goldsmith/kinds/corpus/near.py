"""Near duplicates: all pairs of texts whose shingles agree, found exactly and without comparing every pair."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from goldsmith.kinds.corpus.words import jaccard

Tick = Callable[[float], None]
"""Told how much of a step is done, 0 to 1."""

_TICK_EVERY = 200


class _Index:
    """Sets by their members. A set that agrees with another in `threshold` shares one of its rarest members with it
    (prefix filtering: Chaudhuri, Ganti, Kaushik 2006), so common ones are hardly ever looked up.
    """

    def __init__(self, frequency: Counter[str]) -> None:
        self._frequency = frequency
        self._sets: list[frozenset[str]] = []
        self._holders: dict[str, list[int]] = defaultdict(list)

    def add(self, members: frozenset[str]) -> None:
        for member in members:
            self._holders[member].append(len(self._sets))
        self._sets.append(members)

    def near(self, members: frozenset[str], threshold: float) -> Iterator[tuple[int, float]]:
        """Number and similarity of every set with a Jaccard similarity of at least `threshold` (above 0)."""
        needed = max(1, math.ceil(threshold * len(members) - 1e-9))
        rarest = sorted(members, key=lambda member: (self._frequency[member], member))[: len(members) - needed + 1]
        seen: set[int] = set()
        for member in rarest:
            seen.update(self._holders.get(member, ()))
        for number in sorted(seen):
            similarity = jaccard(members, self._sets[number])
            if similarity >= threshold:
                yield number, similarity


def near_pairs(sets: Sequence[frozenset[str]], threshold: float, tick: Tick) -> Iterator[tuple[int, int]]:
    """Every pair of positions whose sets have a Jaccard similarity of at least `threshold` (above 0)."""
    index = _Index(Counter(member for each in sets for member in each))
    for number, each in enumerate(sets):
        for other, _ in index.near(each, threshold):
            yield other, number
        index.add(each)
        if number % _TICK_EVERY == 0:
            tick(number / len(sets))


def highest(left: Sequence[frozenset[str]], right: Sequence[frozenset[str]], tick: Tick) -> float:
    """The highest Jaccard similarity between a set on the left and one on the right; 0 when none shares a member."""
    index = _Index(Counter(member for each in right for member in each))
    for each in right:
        index.add(each)
    best = 0.0
    for number, each in enumerate(left):
        best = max([best, *(similarity for _, similarity in index.near(each, max(best, 1e-6)))])
        if number % _TICK_EVERY == 0:
            tick(number / len(left))
    return best
