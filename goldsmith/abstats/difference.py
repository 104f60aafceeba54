"""The difference of two arms' means by betting: it holds at every look, however often one looks.

Observations arrive one by one. Each has an outcome y in [0, 1] and was treated with a probability p that was known before it came;
p may change from one to the next. To test "treated minus base is at most delta", every observation multiplies a stake by

    1 + bet * (y - m - (a - p) delta) (a - p) / (p (1 - p)),        a = 1 if treated, else 0

where m is the mean of all outcomes before it and bet >= 0 depends on what came before only, and is small enough that the stake stays
above 0. If the difference is at most delta, the expectation of the factor is at most 1 whatever the outcomes' distribution: treatment
was drawn independently of what the outcomes would have been. So the stake is an e-process, and by Ville's inequality it ever reaches
1/alpha with probability at most alpha. The deltas whose stake has not are the confidence sequence.

The bet for a supposed surplus d over delta is d p (1 - p) / v, with v the variance of the outcomes before: what maximises the
expected growth of the stake to second order. A mixture of stakes over a grid of d takes the place of knowing it. For outcomes 0 and 1
and delta = 0 this is the e-variable for two streams of Turner, Ly and Grünwald ("Generic e-variables for exact sequential k-sample
tests that allow for optional stopping", Journal of Statistical Planning and Inference 230, 2024); betting on bounded means and
sequences from it: Waudby-Smith and Ramdas ("Estimating means of bounded random variables by betting", JRSS B 86(1), 2024).

What is not covered: that observations influence each other (two children at one screen), and outcomes that change after they were
looked at; `docs/ab.md` has the simulations of that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

EFFECTS = tuple(0.005 * 2.0**k for k in range(8))
"""The grid of surpluses, 0.5 to 64 points: a true one between two of them costs less than a tenth of the growth."""
FOCUS, FOCUS_WEIGHT = 0.9, 0.9
"""With an effect named, most of the weight is on bets for this much of it, and the grid shares the rest. Slightly less than all of
it, because a stake that is too bold loses more than one that is too timid: the power at a lift of 3 points was best there."""
MEAN, WEIGHT = 0.2, 3.0
"""The mean before anything is known, worth this many outcomes. Worth one, a first few zeros make bets so bold that the next one
costs most of the stake: the power at a lift of 3 points fell from 0.85 to 0.77."""
LARGEST = 0.5
"""No factor falls below 1 - LARGEST, so no single outcome ruins a stake."""
BRACKETS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Interval:
    estimate: float
    lower: float
    upper: float

    def __str__(self) -> str:
        """In percentage points."""
        return f"{self.estimate * 100:+.1f} points (between {self.lower * 100:+.1f} and {self.upper * 100:+.1f})"


class Observations:
    """Outcomes of two arms in the order in which they became known; what could not have gone either way is left out."""

    def __init__(self, treated: ArrayLike, p: ArrayLike, y: ArrayLike) -> None:
        """`p`: the known probability of each to be treated, given the past; a number serves for all. `y` in [0, 1]."""
        outcome = np.asarray(y, dtype=float)
        side = np.asarray(treated)
        if outcome.ndim != 1 or side.shape != outcome.shape:
            raise ValueError(f"treated has the shape {side.shape} and y {outcome.shape}; both must be of one length")
        if side.dtype != bool and not np.isin(side, (0, 1)).all():
            raise ValueError("treated must be true or false for every observation")
        chance = np.asarray(p, dtype=float)
        if chance.ndim and chance.shape != outcome.shape:
            raise ValueError(f"p has the shape {chance.shape}; it must be a number or one for each of {outcome.size} outcomes")
        chance = np.broadcast_to(chance, outcome.shape)
        for name, values in (("y", outcome), ("p", chance)):
            wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
            if wrong.size:
                raise ValueError(f"{name}[{wrong[0]}] is {values[wrong[0]]}; it must lie in [0, 1]")
        side = side.astype(bool)
        wrong = np.flatnonzero((side & (chance == 0)) | (~side & (chance == 1)))
        if wrong.size:
            raise ValueError(f"treated[{wrong[0]}] is {side[wrong[0]]}, but p[{wrong[0]}] is {chance[wrong[0]]}")
        open_ = (chance > 0) & (chance < 1)
        self.treated: NDArray[np.bool_] = side[open_]
        self.p: Floats = chance[open_]
        self.y: Floats = outcome[open_]

    def __len__(self) -> int:
        return self.y.size

    def first(self, n: int) -> Observations:
        return Observations(self.treated[:n], self.p[:n], self.y[:n])


def estimate(obs: Observations) -> float | None:
    """Mean of the treated minus mean of the base; where p changed, within each p and weighted by what each can tell.

    None while no p has an observation in both arms.
    """
    strata, index = np.unique(obs.p, return_inverse=True)
    count = np.bincount(index, minlength=strata.size).astype(float)
    treated = np.bincount(index[obs.treated], minlength=strata.size).astype(float)
    total = np.bincount(index, obs.y, strata.size)
    total_treated = np.bincount(index[obs.treated], obs.y[obs.treated], strata.size)
    both = (treated > 0) & (treated < count)
    if not both.any():
        return None
    count, treated, total, total_treated = count[both], treated[both], total[both], total_treated[both]
    difference = total_treated / treated - (total - total_treated) / (count - treated)
    weight = treated * (count - treated) / count
    return float((difference * weight).sum() / weight.sum())


def evidence(obs: Observations, above: float = 0.0, effect: float | None = None, largest: float = LARGEST) -> float:
    """Log of the e-value that treated minus base is larger than `above`; `effect` is a surplus that matters.

    Log 20 = 3.0 refutes "at most `above`" at alpha = 0.05, log 100 = 4.6 at 0.01. `effect` and `largest` (no single outcome takes
    more of the stake) tune the bets and no guarantee.
    """
    return _Bets(obs, effect, +1, largest).log_stake(above, above)


def evidence_path(obs: Observations, above: float = 0.0, effect: float | None = None) -> Floats:
    """What `evidence` was after each observation."""
    return _Bets(obs, effect, +1).log_stakes(above)


def lower(obs: Observations, alpha: float, effect: float | None = None) -> float:
    """At all looks together above the true difference with probability at most alpha."""
    return _Bets(obs, effect, +1).bound(_limit(alpha))


def upper(obs: Observations, alpha: float, effect: float | None = None) -> float:
    """At all looks together below the true difference with probability at most alpha."""
    return -_Bets(obs, effect, -1).bound(_limit(alpha))


def sequence(obs: Observations, alpha: float, effect: float | None = None) -> Interval | None:
    """Both ends, alpha/2 each; None while an arm is empty."""
    value = estimate(obs)
    if value is None:
        return None
    return Interval(value, lower(obs, alpha / 2, effect), upper(obs, alpha / 2, effect))


def path(
    obs: Observations, alpha: float, at: Sequence[int], effect: float | None = None
) -> list[tuple[int, float | None, float, float]]:
    """`sequence` as it was after each of `at` observations: (n, estimate, lower, upper)."""
    rows: list[tuple[int, float | None, float, float]] = []
    for n in at:
        known = obs.first(n)
        rows.append((n, estimate(known), lower(known, alpha / 2, effect), upper(known, alpha / 2, effect)))
    return rows


def _limit(alpha: float) -> float:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must lie between 0 and 1")
    return -math.log(alpha)


def _mixture(effect: float | None) -> tuple[Floats, Floats]:
    """Surpluses and the logs of their weights."""
    grid = np.array(EFFECTS)
    if effect is None:
        return grid, np.full(grid.size, -math.log(grid.size))
    if not 0 < effect <= 1:
        raise ValueError(f"effect is {effect}; it must lie in (0, 1]")
    weights = np.full(grid.size + 1, (1 - FOCUS_WEIGHT) / grid.size)
    weights[0] = FOCUS_WEIGHT
    return np.concatenate([[effect * FOCUS], grid]), np.log(weights)


class _Bets:
    """The stakes on one side: sign +1 bets that the difference is larger than claimed, -1 that it is smaller."""

    def __init__(self, obs: Observations, effect: float | None, sign: int, largest: float = LARGEST) -> None:
        self._largest = largest
        self._effects, self._log_weights = _mixture(effect)
        self._sign = sign
        before = WEIGHT + np.arange(len(obs))
        self._mean = (WEIGHT * MEAN + _sums_before(obs.y)) / before
        squares = (WEIGHT * MEAN + _sums_before(obs.y * obs.y)) / before
        self._p = obs.p
        self._lean = obs.treated - obs.p
        self._residual = obs.y - self._mean
        self._inverse = 1 / (obs.p * (1 - obs.p))
        self._size = 1 / (self._inverse * (squares - self._mean**2))

    def _factors(self, delta: float, widest: float) -> Floats:
        """One row for each surplus. Bets are held so small that no factor falls below 1 - largest even at `widest`."""
        shifted = self._mean + (1 - self._p) * widest, self._mean - self._p * widest
        worst = (shifted[0], 1 - shifted[1]) if self._sign > 0 else (1 - shifted[0], shifted[1])
        reach = np.maximum(worst[0] / self._p, worst[1] / (1 - self._p))
        gain = self._sign * (self._residual - self._lean * delta) * self._lean * self._inverse
        bets = np.minimum(self._effects[:, None] * self._size, self._largest / np.maximum(reach, 1e-9))
        factors: Floats = 1 + bets * gain
        return factors

    def log_stake(self, delta: float, widest: float) -> float:
        logs = np.log(self._factors(delta, widest)).sum(axis=1) + self._log_weights
        return float(np.logaddexp.reduce(logs))

    def log_stakes(self, delta: float) -> Floats:
        logs = np.cumsum(np.log(self._factors(delta, delta)), axis=1) + self._log_weights[:, None]
        top = logs.max(axis=0)
        stakes: Floats = top + np.log(np.exp(logs - top).sum(axis=0))
        return stakes

    def bound(self, limit: float) -> float:
        """The largest number below which, times the sign, every difference is refuted.

        With bets that do not depend on delta the stake falls as delta grows, so bisection finds the end. Bets depend on it only by
        what keeps the factors positive; so the range is cut into brackets, and within each the bets are those of its far end.
        """
        low = -1.0
        for high in BRACKETS:
            if self.log_stake(self._sign * high, self._sign * high) < limit:
                break
            low = high
        else:
            return 1.0
        widest = self._sign * high
        if low == -1.0 and self.log_stake(-self._sign, widest) < limit:
            return -1.0
        while high - low > TOLERANCE:
            middle = (low + high) / 2
            low, high = (middle, high) if self.log_stake(self._sign * middle, widest) >= limit else (low, middle)
        return low


def _sums_before(values: Floats) -> Floats:
    sums = np.cumsum(values)
    sums -= values
    return sums
