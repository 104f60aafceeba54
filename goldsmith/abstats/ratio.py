"""Sample-ratio mismatch: do the arms have the units that their weights promise?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

CONCENTRATION = 1000.0
"""How close to the promised shares the alternative expects the true ones: give or take sqrt(s (1 - s) / 1000), 1 to 2 points."""
LIMIT = math.log(200)
"""Evidence that calls an experiment invalid: wrong in at most 1 of 200. At 1,000 a planned 50/50 that is really 52/48 was found in
95 of 100 experiments of 20,000 units, at 200 in 98."""


def mismatch(strata: Iterable[tuple[Sequence[int], Sequence[float]]]) -> float:
    """Log of the e-value that units are missing from an arm. Looking often is free.

    A stratum is units that had the same chances: how many came to each arm, and the shares that were promised, which sum to 1. A
    step of a ramp is one; strata multiply. Within each a Dirichlet mixture around the promised shares stands against them (Lindon
    and Malek: "Anytime-valid inference for multinomial count data", NeurIPS 2022). Under the promised shares it ever reaches
    1/alpha with probability at most alpha.
    """
    return sum(_stratum(counts, shares) for counts, shares in strata)


def _stratum(counts: Sequence[int], shares: Sequence[float]) -> float:
    if len(counts) != len(shares) or min(counts, default=0) < 0 or min(shares, default=0) < 0:
        raise ValueError(f"counts {list(counts)} and shares {list(shares)} must be as many, and none negative")
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares {list(shares)} must sum to 1, not {sum(shares):.6g}")
    total = math.lgamma(CONCENTRATION) - math.lgamma(CONCENTRATION + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        if share == 0:
            if count:
                return math.inf  # a unit where none can be
            continue
        prior = CONCENTRATION * share
        total += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return total
