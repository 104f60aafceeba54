"""Units that are missing from an arm."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from bench.ab.rows import Found, Row, Scale, percent
from goldsmith.abstats import MISMATCH_LIMIT, mismatch

UNITS, EVERY = 20_000, 10

RAMP = ((0.99, 0.01), (0.9, 0.1), (0.5, 0.5))


def units_until_told(rng: Generator, planned: tuple[float, ...], true: tuple[float, ...]) -> float:
    arms = rng.choice(len(true), UNITS, p=true)
    counts = np.cumsum(arms[:, None] == np.arange(len(true)), axis=0)
    for n in range(EVERY, UNITS + 1, EVERY):
        if mismatch([(counts[n - 1].tolist(), planned)]) >= MISMATCH_LIMIT:
            return n
    return math.inf


def ramp_until_told(rng: Generator, lost: float) -> float:
    """Three steps; `lost` of the treated units never arrive."""
    each = UNITS // len(RAMP)
    known: list[tuple[list[int], tuple[float, ...]]] = []
    for step, (base, treated) in enumerate(RAMP):
        share = treated * (1 - lost) / (treated * (1 - lost) + base)
        ones = np.cumsum(rng.random(each) < share)
        for n in range(EVERY, each + 1, EVERY):
            now = ([int(n - ones[n - 1]), int(ones[n - 1])], (base, treated))
            if mismatch([*known, now]) >= MISMATCH_LIMIT:
                return step * each + n
        known.append(([int(each - ones[-1]), int(ones[-1])], (base, treated)))
    return math.inf


def run(scale: Scale) -> Found:
    found = Found()
    worlds = (
        ("50/50, really 52/48", (0.5, 0.5), (0.48, 0.52), "≥ 95 %"),
        ("90/10, really 91/9: a tenth of the arm lost", (0.9, 0.1), (0.9 / 0.99, 0.09 / 0.99), ""),
        ("80/10/10, a tenth of the last arm lost", (0.8, 0.1, 0.1), (0.8 / 0.99, 0.1 / 0.99, 0.09 / 0.99), ""),
    )
    for name, planned, true, aim in worlds:
        runs = scale.runs(1000)
        times = np.array(list(scale.each(name, units_until_told, runs, planned, true)))
        told, median = np.isfinite(times).mean(), np.quantile(times, 0.5, method="inverted_cdf")
        measured = f"{percent(told)}; median {median:,.0f} units" if math.isfinite(median) else percent(told)
        found.rows.append(
            Row("Missing units: found within 20,000", name, aim, measured, bool(told >= 0.95) if aim else None, runs)
        )
    for name, planned in (("50/50", (0.5, 0.5)), ("90/10", (0.9, 0.1)), ("80/10/10", (0.8, 0.1, 0.1))):
        runs = scale.runs(1000)
        wrong = np.isfinite(list(scale.each(f"ok{name}", units_until_told, runs, planned, planned))).mean()
        setting = f"{name} as planned, 20,000 units, a look after every tenth"
        found.rows.append(Row("Missing units: false alarms", setting, "≤ 0.5 %", percent(wrong, 2), bool(wrong <= 0.005), runs))
    runs = scale.runs(400)
    told = np.isfinite(list(scale.each("ramp told", ramp_until_told, runs, 0.08))).mean()
    setting = "ramp 1 → 10 → 50 %, 8 % of the treated units lost in every step"
    found.rows.append(Row("Missing units: found within 20,000", setting, "", percent(told), None, runs))
    return found
