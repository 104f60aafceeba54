"""Devices whose attempts are alike: do the intervals cover the true difference as often as they say?"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from bench.ab.rows import Found, Row, Scale, percent
from goldsmith.abstats import Observations, evidence_path, naive_interval, robust_interval

ICC = 0.3
RATES = (0.10, 0.13)


def experiment(rng: Generator, p: float, devices: int) -> tuple[bool, bool, bool, float]:
    """Covered by the robust interval, by the naive one, by the sequence at every look; how much wider the robust one is."""
    treated = rng.random(devices) < p
    rate = np.where(treated, RATES[1], RATES[0])
    liking = rng.beta(rate * (1 / ICC - 1), (1 - rate) * (1 / ICC - 1))
    attempts = 1 + rng.poisson(7, devices)
    events = rng.binomial(attempts, liking)
    truth = RATES[1] - RATES[0]
    robust = robust_interval(treated, events, attempts, 0.05)
    naive = naive_interval(treated, events, attempts, 0.05)
    assert robust is not None
    assert naive is not None
    share = events / attempts
    limit = math.log(2 / 0.05)
    above = evidence_path(Observations(treated, p, share), above=truth).max()
    below = evidence_path(Observations(~treated, 1 - p, share), above=-truth).max()
    return (
        robust.lower <= truth <= robust.upper,
        naive.lower <= truth <= naive.upper,
        bool(max(above, below) < limit),
        (robust.upper - robust.lower) / (naive.upper - naive.lower),
    )


def run(scale: Scale) -> Found:
    found = Found()
    for p, name, devices in ((0.1, "10/90", 1000), (0.5, "50/50", 200), (0.5, "50/50", 2000)):
        runs = scale.runs(4000)
        robust, naive, always, wider = np.array(
            list(scale.each(f"cov{p}{devices}", experiment, runs, p, devices)), dtype=float
        ).mean(axis=0)
        setting = f"{name}, {devices:,} devices, 8 attempts each on average, ICC 0.3, true difference 3 points"
        found.rows += [
            Row("Coverage of 95 %: robust interval, one look", setting, "≥ 94 %", percent(robust), robust >= 0.94, runs),
            Row(
                "Coverage of 95 %: confidence sequence, all looks at once",
                setting,
                "≥ 95 %",
                percent(always),
                always >= 0.95,
                runs,
            ),
            Row(
                "Coverage of 95 %: beside it, the naive interval",
                f"{setting}; the robust one is {wider:.2f}× as wide",
                "fails",
                percent(naive),
                bool(naive < 0.94),
                runs,
            ),
        ]
    return found
