"""Sample-ratio mismatch: do the arms have the units that their weights promise?"""

from __future__ import annotations

import math

CONCENTRATION = 1000.0
"""How close to the promised share the alternative expects the true one: give or take sqrt(s (1 - s) / 1000), 1 to 2 points."""


def mismatch_evidence(treated: int, base: int, share: float) -> float:
    """How many times likelier the counts are under a mismatch than under `share`: an e-value, so looking often is free.

    A Dirichlet (here Beta) mixture against the promised share, Lindon and Malek: "Anytime-valid inference for multinomial count
    data", NeurIPS 2022. Under the promised share it ever reaches 1/alpha with probability at most alpha.
    """
    a, b = CONCENTRATION * share, CONCENTRATION * (1 - share)
    log_evidence = _log_beta(a + treated, b + base) - _log_beta(a, b) - treated * math.log(share) - base * math.log1p(-share)
    return math.exp(min(log_evidence, 700.0))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
