"""Rates per attempt when the attempts of one device are alike, for one look at a size fixed beforehand.

Decisions are taken by `difference`, which counts a device once and allows any number of looks. These intervals put a range beside a
rate per attempt, and show by how much the formula of the textbook is wrong.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goldsmith.abstats.difference import Interval


def robust_interval(treated: ArrayLike, events: ArrayLike, attempts: ArrayLike, alpha: float) -> Interval | None:
    """Difference of the events per attempt, treated minus base; one entry per device. None with fewer than two devices in an arm.

    Each rate's variance is the jackknife's over devices (each left out once). The attempts are worth as many independent ones as
    would give that variance; with that number and Student's t each rate gets Wilson's interval, which rare events do not throw off,
    and the two are joined by Newcombe's rule ("Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17, 1998, method 10).
    """
    sides = [_wilson(count, tried, alpha) for count, tried in _arms(treated, events, attempts) if count.size > 1]
    if len(sides) < 2:
        return None
    base, other = sides
    difference = other.estimate - base.estimate
    below = math.hypot(other.estimate - other.lower, base.upper - base.estimate)
    above = math.hypot(other.upper - other.estimate, base.estimate - base.lower)
    return Interval(difference, difference - below, difference + above)


def naive_interval(treated: ArrayLike, events: ArrayLike, attempts: ArrayLike, alpha: float) -> Interval | None:
    """The same as if every attempt stood for itself: too narrow when devices differ. Only for comparison."""
    rates, variance = [], 0.0
    for count, tried in _arms(treated, events, attempts):
        if not tried.sum():
            return None
        rate = float(count.sum() / tried.sum())
        rates.append(rate)
        variance += rate * (1 - rate) / float(tried.sum())
    reach = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(variance)
    difference = rates[1] - rates[0]
    return Interval(difference, difference - reach, difference + reach)


Column = NDArray[np.float64]


def _arms(treated: ArrayLike, events: ArrayLike, attempts: ArrayLike) -> list[tuple[Column, Column]]:
    """Base, then treated: events and attempts of the devices that tried."""
    side, count, tried = np.asarray(treated, dtype=bool), np.asarray(events, dtype=float), np.asarray(attempts, dtype=float)
    if not (side.shape == count.shape == tried.shape and side.ndim == 1):
        raise ValueError(f"treated {side.shape}, events {count.shape} and attempts {tried.shape} must be of one length")
    if not ((count >= 0) & (count <= tried)).all():
        raise ValueError("every device must have between 0 events and as many as attempts")
    tries = tried > 0
    return [(count[tries & (side == arm)], tried[tries & (side == arm)]) for arm in (False, True)]


def _wilson(count: Column, tried: Column, alpha: float) -> Interval:
    """One arm's rate and its range."""
    devices = count.size
    rate = float(count.sum() / tried.sum())
    without = (count.sum() - count) / (tried.sum() - tried)
    variance = (devices - 1) / devices * float(((without - without.mean()) ** 2).sum())
    worth = rate * (1 - rate) / variance if variance else float(devices)  # devices that do not differ: no less than one each
    t2 = _student(1 - alpha / 2, _freedom(without)) ** 2
    middle = (rate + t2 / (2 * worth)) / (1 + t2 / worth)
    reach = math.sqrt(t2 * (rate * (1 - rate) / worth + t2 / (4 * worth**2))) / (1 + t2 / worth)
    return Interval(rate, middle - reach, middle + reach)


def _freedom(without: Column) -> float:
    """Degrees of freedom of the variance, from how much it varies itself: few devices with all the events make it uncertain."""
    deviations = without - without.mean()
    squares = float((deviations**2).mean())
    if not squares:
        return float(without.size - 1)
    kurtosis = float((deviations**4).mean()) / squares**2
    return min(max(3.0, 2 * without.size / max(kurtosis - 1, 1e-9)), without.size - 1)


def _student(probability: float, freedom: float) -> float:
    """Student's t quantile by its expansion around the normal one; off by 0.004 at 97.5 % and 3 degrees of freedom, by less with more."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
