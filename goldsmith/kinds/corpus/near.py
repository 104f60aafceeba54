"""Near duplicates: all pairs of texts whose shingles agree, found exactly and without comparing every pair."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from goldsmith.kinds.corpus.words import jaccard

Tick = Callable[[float], None]
"""Told how much of a step is done, 0 to 1."""

_TICK_EVERY = 200
_STEPS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 1e-6)


class _Index:
    """Sets by their rarest members, for one threshold.

    Two sets that agree in a share of at least `threshold` have one of their rarest members in common, when each is cut after
    `size - threshold * size + 1` of them in one order of all members (prefix filtering: Chaudhuri, Ganti, Kaushik 2006). So
    neither looks for its common members, nor is found by them.
    """

    def __init__(self, frequency: Counter[str], threshold: float) -> None:
        rarest = sorted(frequency, key=lambda member: (frequency[member], member))
        self._rank = {member: rank for rank, member in enumerate(rarest)}
        self._threshold = threshold
        self._sets: list[frozenset[str]] = []
        self._holders: dict[int, list[int]] = defaultdict(list)

    def _prefix(self, members: frozenset[str]) -> list[int]:
        needed = max(1, math.ceil(self._threshold * len(members) - 1e-9))
        return sorted(map(self._rank.__getitem__, members))[: len(members) - needed + 1]

    def add(self, members: frozenset[str]) -> None:
        for rank in self._prefix(members):
            self._holders[rank].append(len(self._sets))
        self._sets.append(members)

    def near(self, members: frozenset[str]) -> Iterator[tuple[int, float]]:
        """Number and similarity of every set with a Jaccard similarity of at least the threshold (above 0)."""
        least, most = self._threshold * len(members) - 1e-9, len(members) / self._threshold + 1e-9
        seen: set[int] = set()
        for rank in self._prefix(members):
            seen.update(self._holders.get(rank, ()))
        for number in sorted(seen):
            if least <= len(self._sets[number]) <= most:
                similarity = jaccard(members, self._sets[number])
                if similarity >= self._threshold:
                    yield number, similarity


def near_pairs(sets: Sequence[frozenset[str]], threshold: float, tick: Tick) -> Iterator[tuple[int, int]]:
    """Every pair of positions whose sets have a Jaccard similarity of at least `threshold` (above 0)."""
    index = _Index(Counter(member for each in sets for member in each), threshold)
    for number, each in enumerate(sets):
        for other, _ in index.near(each):
            yield other, number
        index.add(each)
        if number % _TICK_EVERY == 0:
            tick(number / len(sets))


def highest(left: Sequence[frozenset[str]], right: Sequence[frozenset[str]], tick: Tick, start: float = 0.9) -> float:
    """The highest Jaccard similarity between a set on the left and one on the right; 0 when none shares a member.

    Looked for from `start` downwards, threshold by threshold: the higher, the fewer pairs are compared.
    """
    frequency = Counter(member for side in (left, right) for each in side for member in each)
    steps = (start, *(each for each in _STEPS if each < start))
    for step, threshold in enumerate(steps):
        index = _Index(frequency, threshold)
        for each in right:
            index.add(each)
        best = 0.0
        for number, each in enumerate(left):
            best = max([best, *(similarity for _, similarity in index.near(each))])
            if number % _TICK_EVERY == 0:
                tick((step + number / len(left)) / len(steps))
        if best:
            return best
    return 0.0
