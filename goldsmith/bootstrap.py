"""How far a mean would move if other prompts, or other devices, had been drawn: percentile intervals from resampled groups.

Whole groups are drawn with replacement, as values of one group are no independent evidence (Efron & Tibshirani 1993, chapter 13;
of groups, Davison & Hinkley 1997, section 3.8). With the same groups and seed the draws are the same, so that two means of one
set of prompts are compared in pairs. Of few groups the intervals are too narrow: below ten they cover clearly less than they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

Floats = NDArray[numpy.float64]


class Interval(NamedTuple):
    value: float
    low: float
    high: float


def means(values: Sequence[float], groups: Sequence[str], *, resamples: int, seed: int) -> Floats:
    """The mean of the values, and after it that of every resample."""
    names = {name: place for place, name in enumerate(sorted(set(groups)))}
    of = [names[group] for group in groups]
    sums, sizes = numpy.bincount(of, weights=values), numpy.bincount(of)
    drawn = numpy.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    found: Floats = numpy.concatenate([[sums.sum() / sizes.sum()], sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)])
    return found


def interval(found: Floats, alpha: float) -> Interval:
    """Of what `means` returned, or of a function of several such, taken place by place; coverage 1 - alpha."""
    low, high = numpy.quantile(found[1:], [alpha / 2, 1 - alpha / 2])
    return Interval(float(found[0]), float(low), float(high))
