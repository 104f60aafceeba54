"""The same stakes once more, one observation at a time in plain Python, from the formula in the docstring."""

from __future__ import annotations

import math

from goldsmith.abstats import difference


def log_stake(treated, p, y, delta, effects, weights, sign=1, widest=None):
    widest = delta if widest is None else widest
    stakes = [0.0] * len(effects)
    seen = difference.WEIGHT
    total = squares = difference.WEIGHT * difference.MEAN
    for a, chance, outcome in zip(treated, p, y, strict=True):
        if chance in (0, 1):
            continue
        mean = total / seen
        variance = squares / seen - mean * mean
        gains = {
            (arm, value): sign
            * (value - mean - (1 - chance if arm else -chance) * delta)
            * (1 / chance if arm else -1 / (1 - chance))
            for arm in (0, 1)
            for value in (0.0, 1.0, outcome)
        }
        worst = max(
            -sign * (value - mean - (1 - chance if arm else -chance) * widest) * (1 / chance if arm else -1 / (1 - chance))
            for arm in (0, 1)
            for value in (0.0, 1.0)
        )
        for k, effect in enumerate(effects):
            bet = effect * chance * (1 - chance) / variance
            if worst > 0:
                bet = min(bet, difference.LARGEST / worst)
            stakes[k] += math.log(1 + bet * gains[int(a), outcome])
        seen, total, squares = seen + 1, total + outcome, squares + outcome * outcome
    parts = [math.log(weight) + stake for weight, stake in zip(weights, stakes, strict=True)]
    top = max(parts)
    return top + math.log(sum(math.exp(part - top) for part in parts))
