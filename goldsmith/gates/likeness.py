"""K10 and near duplicates: a text that is its input again, and texts that are each other again."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from goldsmith.gates.words import words

NEW = 0.35  # share of the text's different words that are not the input's; a guess
COPIED = 0.6  # share of the text's runs of three words that stand in the input; a guess
LIKE = 0.8  # Jaccard similarity of two texts' word pairs


def copied(text: str, typed: str) -> bool:
    said, asked = words(text), words(typed)
    if not said:
        return True
    if len(set(said) - set(asked)) / len(set(said)) < NEW:
        return True
    runs = _runs(said, 3)
    return len(runs) > 0 and len(runs & _runs(asked, 3)) / len(runs) >= COPIED


def _runs(said: Sequence[str], length: int) -> frozenset[tuple[str, ...]]:
    return frozenset(zip(*(said[start:] for start in range(length)), strict=False))


def near_duplicates(texts: Sequence[str], threshold: float = LIKE) -> dict[int, int]:
    """Position of each text that repeats an earlier one that is kept, with that one's position.

    Two texts repeat each other when the Jaccard similarity of their word pairs is at least `threshold` (above 0 to 1). Exact:
    a set that agrees with another shares one of its rarest members with it (prefix filtering: Chaudhuri, Ganti, Kaushik
    2006). 20,000 texts of 45 words take 3 s; of 26 frames with six words of their own before each, 18 s.
    """
    sets = [_runs(("", *words(text), ""), 2) for text in texts]
    frequency = Counter(member for each in sets for member in each)
    holders: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    repeats: dict[int, int] = {}
    for number, members in enumerate(sets):
        size = len(members)
        order = sorted(members, key=lambda member: (frequency[member], member))
        rarest = order[: size - max(1, math.ceil(threshold * size - 1e-9)) + 1]
        seen: set[int] = set()
        for member in rarest:
            for other in holders.get(member, ()):
                if other in seen:
                    continue
                seen.add(other)
                if not threshold * size <= len(sets[other]) <= size / threshold:
                    continue
                shared = len(members & sets[other])
                if shared >= threshold * (size + len(sets[other]) - shared):
                    repeats[number] = other
                    break
            if number in repeats:
                break
        else:
            for member in rarest:  # the prefix of both sides: a pair that agrees shares one member of the two prefixes
                holders[member].append(number)
    return repeats
