"""How varied the words of a set of answers are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from goldsmith.gates.words import words


def entropy_bits(texts: Sequence[str]) -> float:
    """Shannon entropy of the word frequencies over all texts; 0 without words."""
    counts = Counter(word for text in texts for word in words(text))
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values()) + 0.0


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams per n-gram over all texts, none across two texts (distinct-n, Li et al. 2016); 0 without any."""
    grams = [gram for text in texts for gram in zip(*(words(text)[start:] for start in range(n)), strict=False)]
    return len(set(grams)) / len(grams) if grams else 0.0
