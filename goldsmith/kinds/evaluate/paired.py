"""Two arms on the same prompts: what differs, how surely, and by chance how often."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy

from goldsmith.kinds.evaluate.schema import Interval

Verdict = Literal["wins", "loses", "unclear"]
AT_ONCE = 4_000_000  # draws held in memory
EXACT = 12  # groups: 4,096 ways to flip them


def interval(
    differences: Sequence[float], weights: Sequence[float], groups: Sequence[str], *, resamples: int, alpha: float, seed: int
) -> Interval:
    """sum(differences) / sum(weights) with a percentile interval of coverage 1 - alpha.

    Whole groups are drawn, with replacement: prompts of one group are no independent evidence. With one group the interval is
    the point (Efron & Tibshirani 1993, chapter 13; of groups, Davison & Hinkley 1997, section 3.8).
    """
    names = sorted(set(groups))
    number = {name: index for index, name in enumerate(names)}
    of = [number[group] for group in groups]
    above = numpy.bincount(of, weights=differences)
    below = numpy.bincount(of, weights=weights)
    random = numpy.random.default_rng(seed)
    at_once = max(1, AT_ONCE // len(names))
    parts = []
    for start in range(0, resamples, at_once):
        drawn = random.integers(len(names), size=(min(at_once, resamples - start), len(names)))
        parts.append(above[drawn].sum(axis=1) / below[drawn].sum(axis=1))
    ratios = numpy.concatenate(parts)
    low, high = numpy.quantile(ratios, [alpha / 2, 1 - alpha / 2])
    return Interval(difference=float(above.sum() / below.sum()), low=float(low), high=float(high))


def mcnemar(only_one: int, only_other: int) -> float:
    """Two-sided exact p-value: were both arms alike, each prompt on which just one passes would be a fair coin.

    McNemar 1947, with the binomial distribution in place of chi-squared.
    """
    n, fewer = only_one + only_other, min(only_one, only_other)
    logs = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(fewer + 1))
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def sign_flips(differences: Sequence[float], groups: Sequence[str], *, resamples: int, seed: int) -> float:
    """Two-sided p-value: were both arms alike, the sum of each group's differences would be above 0 as easily as below.

    Fisher's randomisation test for pairs (1935), with groups in the place of pairs: exact up to `EXACT` groups that differ, drawn
    `resamples` times beyond.
    """
    names = sorted(set(groups))
    number = {name: index for index, name in enumerate(names)}
    every = numpy.bincount([number[group] for group in groups], weights=differences)
    sums = every[every != 0]
    if not len(sums):
        return 1.0
    seen = abs(sums.sum()) - 1e-9 * abs(sums).sum()  # a sum in another order may differ in its last digits
    if len(sums) <= EXACT:
        signs = 1 - 2 * ((numpy.arange(2 ** len(sums))[:, None] >> numpy.arange(len(sums))) & 1)
        return float((abs(signs @ sums) >= seen).mean())
    random = numpy.random.default_rng(seed)
    at_once = max(1, AT_ONCE // len(sums))
    as_far = 0
    for start in range(0, resamples, at_once):
        signs = 1 - 2 * random.integers(2, size=(min(at_once, resamples - start), len(sums)))
        as_far += int((abs(signs @ sums) >= seen).sum())
    return (1 + as_far) / (1 + resamples)


def verdict(pass_rate: Interval, p_value: float, alpha: float) -> Verdict:
    if p_value <= alpha and pass_rate.low > 0:
        return "wins"
    if p_value <= alpha and pass_rate.high < 0:
        return "loses"
    return "unclear"
