"""Two arms on the same prompts: what differs, how surely, and by chance how often."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy

from goldsmith.kinds.evaluate.schema import Interval

Verdict = Literal["wins", "loses", "unclear"]


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
    drawn = numpy.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    ratios = above[drawn].sum(axis=1) / below[drawn].sum(axis=1)
    low, high = numpy.quantile(ratios, [alpha / 2, 1 - alpha / 2])
    return Interval(difference=float(above.sum() / below.sum()), low=float(low), high=float(high))


def mcnemar(only_one: int, only_other: int) -> float:
    """Two-sided exact p-value: were both arms alike, each prompt on which just one passes would be a fair coin.

    McNemar 1947, with the binomial distribution in place of chi-squared.
    """
    n, fewer = only_one + only_other, min(only_one, only_other)
    logs = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(fewer + 1))
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def verdict(pass_rate: Interval, p_value: float, alpha: float) -> Verdict:
    if p_value <= alpha and pass_rate.low > 0:
        return "wins"
    if p_value <= alpha and pass_rate.high < 0:
        return "loses"
    return "unclear"
