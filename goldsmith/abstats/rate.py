"""Is the mean of one arm above a ceiling? The same betting as in `difference`, with nothing to compare with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from goldsmith.abstats.difference import EFFECTS, LARGEST


def rate_evidence(y: ArrayLike, ceiling: float, largest: float = LARGEST) -> float:
    """Log of the e-value that the mean of outcomes in [0, 1] is above `ceiling`.

    Each outcome multiplies a stake by 1 + bet (y - ceiling); while the mean is at most the ceiling, the stake ever reaches 1/alpha
    with probability at most alpha (Waudby-Smith and Ramdas, JRSS B 86(1), 2024). The bets d / (ceiling (1 - ceiling)) are best for
    outcomes 0 and 1 with the mean ceiling + d; stakes are averaged over a grid of d. No outcome takes more than `largest` of a stake.
    """
    if not 0 < ceiling < 1:
        raise ValueError(f"ceiling is {ceiling}; it must lie between 0 and 1")
    outcome = np.asarray(y, dtype=float)
    wrong = np.flatnonzero(~((outcome >= 0) & (outcome <= 1)))
    if wrong.size:
        raise ValueError(f"y[{wrong[0]}] is {outcome[wrong[0]]}; it must lie in [0, 1]")
    bets = np.minimum(np.array(EFFECTS) / (ceiling * (1 - ceiling)), largest / ceiling)
    logs = np.log1p(bets[:, None] * (outcome - ceiling)).sum(axis=1)
    return float(np.logaddexp.reduce(logs)) - math.log(bets.size)
