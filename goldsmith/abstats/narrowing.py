"""Have outputs become narrower than they began? A test of the entropy of the latest ones that may be looked at again and again.

The entropy over the buckets of the latest 40, 80 and 140 outputs is compared with that of as many outputs drawn from the beginning:
so what a small sample hides is hidden on both sides, and how far entropies lie apart by chance is read off whole outputs, however
alike the words of one are. Under equal conditions the distance, in standard errors, is close to normal with a thin tail on the side of an
alarm (skewness -0.2 to 0). Every tenth output is a look, and has its part of alpha; all parts sum to alpha.

What is not covered: beginning and present are taken for exchangeable. A lesson on one topic is narrower as well; whoever acts on an
alarm compares with base of the same time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from goldsmith.abstats.difference import Floats
from goldsmith.abstats.sketch import BUCKETS, Counts

WINDOWS = (40, 80, 140)
EVERY = 10
HORIZON = 100  # looks: within the first 1,000 outputs or so they have the largest parts of alpha
DRAWS = 400
"""Of each size from the beginning: the standard error is known to 3.5 %."""
FARTHEST = 37.0  # standard errors: beyond, the normal tail is 0 in floating point


class _Usual(NamedTuple):
    """The entropy of so many outputs."""

    mean: float
    error: float


class Narrowing:
    """Fed output by output or many at once, with the same result. The beginning must have more outputs than the largest window."""

    def __init__(self, beginning: Counts) -> None:
        if len(beginning) <= max(WINDOWS):
            raise ValueError(f"a beginning of {len(beginning)} outputs is too small; it needs {max(WINDOWS) + 1}")
        self._usual = {size: _usual(beginning, size) for size in WINDOWS}
        self._latest = np.zeros((0, BUCKETS), dtype=np.int64)
        self._seen = 0
        self.evidence: float | None = None
        """-log of the smallest p-value of the last look, with all looks and windows paid for: alpha is reached at -log alpha."""

    def extend(self, outputs: Counts) -> None:
        known = np.concatenate([self._latest, outputs])
        sums = np.concatenate([np.zeros((1, BUCKETS), dtype=np.int64), known.cumsum(axis=0)])
        before = self._seen - len(self._latest)  # outputs that are no longer kept
        first = self._seen + EVERY - self._seen % EVERY
        self._seen += len(outputs)
        for seen in range(first, self._seen + 1, EVERY):
            tails = [
                _tail(self._usual[size], float(entropies(sums[seen - before] - sums[seen - size - before])))
                for size in WINDOWS
                if seen >= size
            ]
            if tails:
                number = seen // EVERY - 1 + HORIZON
                self.evidence = -math.log(min(tails)) - math.log(number * (number + 1) / HORIZON * len(WINDOWS))
        self._latest = known[-max(WINDOWS) :]


def _usual(beginning: Counts, size: int) -> _Usual:
    """From subsets of the beginning. They vary less than fresh outputs would, and their mean is known as badly as the beginning itself:
    for sums of n outputs, subsets of `size` have (n - size) / (n + size) of the variance of fresh ones about that mean."""
    rng = np.random.default_rng(len(beginning))  # the same outputs, the same numbers
    chosen = rng.random((DRAWS, len(beginning))).argsort(axis=1)[:, :size]
    drawn = np.zeros((DRAWS, len(beginning)))
    np.put_along_axis(drawn, chosen, 1, axis=1)
    found = entropies(drawn @ beginning)
    n = len(beginning)
    return _Usual(float(found.mean()), float(found.std()) * math.sqrt((n + size) / (n - size)))


def _tail(usual: _Usual, found: float) -> float:
    """The chance of an entropy as low as this."""
    if not usual.error:
        return 1.0  # a beginning without any variation has no standard error to go by
    return 0.5 * math.erfc(min((usual.mean - found) / usual.error, FARTHEST) / math.sqrt(2))


def entropies(counts: Counts | Floats) -> Floats:
    """Shannon entropy in bits, of each row."""
    share = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    bits: Floats = -(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=-1)
    return bits
