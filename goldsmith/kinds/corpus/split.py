"""Train and held-out, cut between groups: prompts of one sentence template, or nearly the same, stay together."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from goldsmith.kinds.corpus.near import Tick, near_pairs
from goldsmith.kinds.corpus.prompts import Prompt
from goldsmith.kinds.corpus.words import shingles, template


def order(seed: int, text: str) -> str:
    """A place in a random order that depends on the seed and the text alone, not on what came before."""
    return hashlib.sha256(f"{seed}\0{text}".encode()).hexdigest()


def group(prompts: Sequence[Prompt], threshold: float, tick: Tick) -> list[str]:
    """The group of each prompt. Two are in one group when a chain of shared templates and near duplicates links them."""
    parent = list(range(len(prompts)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first: dict[str, int] = {}
    for number, prompt in enumerate(prompts):
        shared = template(prompt.text)
        if shared is not None:
            parent[root(number)] = root(first.setdefault(shared, number))
    for one, other in near_pairs([shingles(prompt.text) for prompt in prompts], threshold, tick):
        parent[root(other)] = root(one)

    smallest: dict[int, str] = {}
    for number, prompt in enumerate(prompts):
        smallest[root(number)] = min(smallest.get(root(number), prompt.key), prompt.key)
    return [hashlib.sha256(smallest[root(number)].encode()).hexdigest()[:12] for number in range(len(prompts))]


def held_out(prompts: Sequence[Prompt], groups: Sequence[str], fraction: float, seed: int) -> set[str]:
    """The groups to hold out: of each language as near to `fraction` of its prompts as whole groups allow.

    What one language could not give, the next larger one makes up for. At least one group is held out, and never all (there
    must be two).
    """
    sizes = Counter(groups)
    chosen: set[str] = set()
    owed = 0.0

    def size(members: Iterable[str]) -> int:
        return sum(sizes[each] for each in members)

    for members in sorted(_by_language(prompts, groups).values(), key=lambda members: (size(members), members)):
        target = fraction * size(members) + owed
        taken = _nearest(sorted(members, key=lambda each: order(seed, each)), sizes, target)
        chosen.update(taken)
        owed = target - size(taken)
    return chosen or {min(sizes, key=lambda each: (sizes[each], order(seed, each)))}


def _by_language(prompts: Sequence[Prompt], groups: Sequence[str]) -> dict[str, list[str]]:
    """The groups of each language; a group of several counts for the one that most of its prompts are in."""
    languages: dict[str, Counter[str]] = defaultdict(Counter)
    for prompt, each in zip(prompts, groups, strict=True):
        languages[each][prompt.language] += 1
    strata: dict[str, list[str]] = defaultdict(list)
    for each in sorted(languages):
        strata[min(languages[each], key=lambda language: (-languages[each][language], language))].append(each)
    return strata


def _nearest(members: Sequence[str], sizes: Mapping[str, int], target: float) -> list[str]:
    """A subset whose sizes add up as near to `target` as any; of those, the one that prefers the first members.

    `sums[n]` has bit s set when some of `members[n:]` add up to s. Sums above twice the target are worse than taking none.
    """
    mask = (1 << (int(2 * max(target, 0)) + 1)) - 1
    sums = [1]
    for each in reversed(members):
        sums.append((sums[-1] | sums[-1] << sizes[each]) & mask)
    sums.reverse()
    reachable = [total for total in range(mask.bit_length()) if sums[0] >> total & 1]
    left = min(reachable, key=lambda total: (abs(total - target), total))
    taken = []
    for number, each in enumerate(members):
        if left >= sizes[each] and sums[number + 1] >> (left - sizes[each]) & 1:
            taken.append(each)
            left -= sizes[each]
    return taken
