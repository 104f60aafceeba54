"""The test of the textbook: a z-test for two rates at a size that was fixed beforehand, and what becomes of it when one peeks."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

QUANTILE = NormalDist().inv_cdf


def size(base: float, treated: float, share: float, alpha: float, power: float) -> float:
    """Units of both arms that the one-sided test needs."""
    pooled = share * treated + (1 - share) * base
    under_null = pooled * (1 - pooled) / (share * (1 - share))
    under_effect = treated * (1 - treated) / share + base * (1 - base) / (1 - share)
    reach = QUANTILE(1 - alpha) * math.sqrt(under_null) + QUANTILE(power) * math.sqrt(under_effect)
    return (reach / (treated - base)) ** 2


def z_path(treated: NDArray[np.bool_], y: NDArray[np.float64], fewest: int = 30) -> NDArray[np.float64]:
    """The pooled z statistic after every unit, minus infinity while an arm has fewer than `fewest`."""
    n = np.arange(1, y.size + 1)
    ones = treated.cumsum()
    zeros = n - ones
    sums, own = y.cumsum(), (y * treated).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = sums / n
        error = np.sqrt(rate * (1 - rate) * (1 / ones + 1 / zeros))
        z = (own / ones - (sums - own) / zeros) / error
    z[(ones < fewest) | (zeros < fewest) | ~np.isfinite(z)] = -np.inf
    return z
