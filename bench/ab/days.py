"""The same devices day after day: false rollbacks, and a regression that begins among devices that are known for long."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from bench.ab.alarms import BREACH, FEWEST, RISE
from bench.ab.rows import Found, Row, Scale, percent
from goldsmith import ab_days
from goldsmith.ab_days import WHOLE
from goldsmith.abstats import LARGEST, Observations, evidence, rate_evidence

CEILING, RATE, ICC = 0.25, 0.02, 0.3
LOOK_EVERY = 10  # attempts


def proof(treated, p, tried, blocked, effect: float = RISE, largest: float = LARGEST) -> float:
    """Log of the guardrail's evidence in what devices came to so far: that the rate rose, where it did by more than is allowed, or that
    it is above the ceiling."""
    has = tried > 0
    own, other = has & treated, has & ~treated
    if not own.any() or not other.any():
        return -math.inf
    y = blocked / np.maximum(tried, 1)
    above = rate_evidence(y[own], CEILING, largest)
    if blocked[own].sum() / tried[own].sum() - blocked[other].sum() / tried[other].sum() <= RISE:
        return above
    return max(above, evidence(Observations(treated[has], p, y[has]), effect=effect, largest=largest))


def week(rng: Generator, p: float, devices: int, days: int, bad_from: int, bad: float) -> tuple[float, float]:
    """Attempts of the arm since the regression began until it is told: as it is done, and by all days at once with all of alpha.

    Nine devices in ten come every day, to four attempts on average.
    """
    liking = rng.beta(RATE * (1 / ICC - 1), (1 - RATE) * (1 / ICC - 1), devices)
    worse = rng.beta(bad * (1 / ICC - 1), (1 - bad) * (1 / ICC - 1), devices) if bad else liking
    treated = rng.random(devices) < p
    tried, blocked = np.zeros(devices), np.zeros(devices)
    found, since = [math.inf, math.inf], 0
    for day in range(days):
        today_tried, today_blocked = np.zeros(devices), np.zeros(devices)
        come = np.flatnonzero(rng.random(devices) < 0.9)
        who = rng.permutation(np.repeat(come, 1 + rng.poisson(3, come.size)))
        chance = np.where(treated, worse, liking) if day >= bad_from else liking
        for first in range(0, who.size, LOOK_EVERY):
            some = who[first : first + LOOK_EVERY]
            hit = rng.random(some.size) < chance[some]
            for count, what in ((tried, some), (today_tried, some), (blocked, some[hit]), (today_blocked, some[hit])):
                np.add.at(count, what, 1)
            since += int(treated[some].sum()) if day >= bad_from else 0
            if tried[treated].sum() < FEWEST:
                continue
            whole, latest = proof(treated, p, tried, blocked), -math.inf
            if day:
                share = math.log((1 - WHOLE) / (day * (day + 1)))
                latest = share + proof(treated, p, today_tried, today_blocked, ab_days.EFFECT, ab_days.LARGEST)
            if math.isinf(found[0]) and max(whole + math.log(WHOLE), latest) >= BREACH:
                found[0] = since
            if math.isinf(found[1]) and whole >= BREACH:
                found[1] = since
        if max(found) < math.inf:
            break
    return found[0], found[1]


def run(scale: Scale) -> Found:
    found = Found()
    for p, name, devices in ((0.1, "10/90", 200), (0.5, "50/50", 200), (0.5, "50/50", 30)):
        runs = scale.runs(400)
        times = np.array(list(scale.each(f"same{p}{devices}", week, runs, p, devices, 15, 99, 0.0)))
        wrong = np.isfinite(times).mean(axis=0)
        setting = f"{name}, {devices} devices on 15 days, ICC 0.3, a look after every tenth attempt"
        found.rows.append(Row("A/A, days: false rollbacks", setting, "≤ 1 %", percent(wrong[0], 2), wrong[0] <= 0.01, runs))
    worlds = ((0.1, "10/90", 200, 0.3), (0.5, "50/50", 200, 0.3), (0.5, "50/50", 30, 0.3), (0.5, "50/50", 24, 0.8))
    for p, name, devices, bad in worlds:
        runs = scale.runs(200)
        times = np.array(list(scale.each(f"late{p}{devices}{bad}", week, runs, p, devices, 15, 8, bad)))
        setting = f"{name}, {devices} devices, blocks 2 % for 8 days, then {percent(bad, 0)} in the arm, 7 days; ICC 0.3"
        for column, claim in enumerate(("rolled back", "beside it, by all days at once alone")):
            told = np.isfinite(times[:, column])
            median = np.quantile(times[:, column], 0.5, method="inverted_cdf")
            measured = percent(told.mean()) + (f"; median {median:.0f} attempts of the arm" if math.isfinite(median) else "")
            found.rows.append(Row(f"Late regression: {claim}", setting, "", measured, None, runs))
    return found
