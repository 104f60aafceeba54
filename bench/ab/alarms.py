"""False alarms: experiments in which the arms are the same, looked at after every unit."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from bench.ab.fixed import QUANTILE, z_path
from bench.ab.rows import Curve, Found, Row, Scale, percent
from goldsmith.ab_days import WHOLE
from goldsmith.abstats import Observations, evidence, evidence_path

UNITS = 20_000
WINNER, BREACH = math.log(1 / 0.05), math.log(1 / 0.01)
EFFECT, RISE, FEWEST = 0.03, 0.05, 50
POINTS = np.unique(np.geomspace(50, UNITS, 60).astype(int))


def breaches(treated, blocked, p):
    """Where the guardrail's whole rule holds: proved at 0.01, the estimate above 5 points, 50 attempts in the arm."""
    path = evidence_path(Observations(treated, p, blocked), effect=RISE)
    ones = treated.cumsum()
    zeros = np.arange(1, treated.size + 1) - ones
    sums, own = blocked.cumsum(), (blocked * treated).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = own / ones - (sums - own) / zeros
    return (path + math.log(WHOLE) >= BREACH) & (rise > RISE) & (ones >= FEWEST)


def first(where) -> float:
    found = np.flatnonzero(where)
    return float(found[0] + 1) if found.size else math.inf


def same_arms(rng: Generator, p: float) -> tuple[float, float, float, float]:
    """Units until a winner, a rollback, the raw bound of the guardrail, and a winner by peeking at z."""
    treated = rng.random(UNITS) < p
    favorite = (rng.random(UNITS) < 0.10).astype(float)
    blocked = (rng.random(UNITS) < 0.02).astype(float)
    winner = first(evidence_path(Observations(treated, p, favorite), effect=EFFECT) >= WINNER)
    raw = first(evidence_path(Observations(treated, p, blocked), effect=RISE) >= BREACH)
    return winner, first(breaches(treated, blocked, p)), raw, first(z_path(treated, favorite) >= QUANTILE(0.95))


def ramp(rng: Generator) -> tuple[float, float]:
    """1 %, 10 %, 50 %: every device comes once in each step, with an outcome of its own liking (ICC 0.3)."""
    devices = UNITS // 3
    liking = rng.beta(0.1 * (1 / 0.3 - 1), 0.9 * (1 / 0.3 - 1), devices)
    bucket = rng.random(devices)
    treated, p, y = [], [], []
    weights = (0.01, 0.10, 0.50)
    for step, weight in enumerate(weights):
        former = weights[step - 1] if step else 0.0
        fresh = rng.permutation(devices)
        fresh = fresh[bucket[fresh] >= former]  # those that were treated already add nothing
        treated.append(bucket[fresh] < weight)
        p.append(np.full(fresh.size, (weight - former) / (1 - former)))
        y.append((rng.random(fresh.size) < liking[fresh]).astype(float))
    treated, p, y = (np.concatenate(parts) for parts in (treated, p, y))
    pooled = z_path(treated, y)
    return first(evidence_path(Observations(treated, p, y), effect=EFFECT) >= WINNER), first(pooled >= QUANTILE(0.95))


def growing(rng: Generator, p: float, kind: str, devices: int, each: int) -> bool:
    """Devices that come back, `each` attempts on average, ICC 0.3; looked at after every attempt of any of them.

    `share` of attempts (safety) or `any` (favourites): what is known of a device changes after it was first looked at.
    """
    rate = 0.10
    liking = rng.beta(rate * (1 / 0.3 - 1), (1 - rate) * (1 / 0.3 - 1), devices)
    treated = rng.random(devices) < p
    attempts = 1 + rng.poisson(each - 1, devices)
    who = np.repeat(np.arange(devices), attempts)
    arrival = np.sort(rng.random(devices))
    moments = arrival[who] + np.concatenate([np.concatenate([[0.0], rng.exponential(0.3, k - 1)]) for k in attempts])
    order = np.argsort(moments, kind="stable")
    tried, hit, known = np.zeros(devices), np.zeros(devices), 0
    most = -math.inf
    limit, effect = (BREACH, RISE) if kind == "share" else (WINNER, EFFECT)
    for device in who[order]:
        known = max(known, device + 1)
        tried[device] += 1
        hit[device] += rng.random() < liking[device]
        y = hit[:known] / tried[:known] if kind == "share" else (hit[:known] > 0).astype(float)
        most = max(most, evidence(Observations(treated[:known], p, y), effect=effect))
    return most >= limit


def shy(rng: Generator, p: float) -> float:
    """The arm keeps half of its units from trying at all, and does not change what comes of a try: p is off among those that do."""
    treated = rng.random(UNITS) < p
    y = (rng.random(UNITS) < 0.10).astype(float)
    tries = ~treated | (rng.random(UNITS) < 0.5)
    return first(evidence_path(Observations(treated[tries], p, y[tries]), effect=EFFECT) >= WINNER)


def run(scale: Scale) -> Found:
    found = Found()
    for p, name in ((0.1, "10/90"), (0.5, "50/50")):
        runs = scale.runs(2000)
        times = np.array(list(scale.each(f"aa{p}", same_arms, runs, p)))
        winners, rollbacks, raw, peeked = np.isfinite(times).mean(axis=0)
        setting = f"{name}, {UNITS:,} units, a look after every one"
        found.rows += [
            Row("A/A: false winners", setting, "≤ 5 %", percent(winners), winners <= 0.05, runs),
            Row("A/A: false rollbacks", setting, "≤ 1 %", percent(rollbacks, 2), rollbacks <= 0.01, runs),
            Row("A/A: guardrail's bound alone, without its margin", setting, "≤ 1 %", percent(raw, 2), raw <= 0.01, runs),
            Row("A/A: beside it, a z-test peeked at", setting, "", percent(peeked), None, runs),
        ]
        for label, column in (("betting", 0), ("z", 3)):
            found.curves[f"alarms {name} {label}"] = _reached(times[:, column])
    runs = scale.runs(1000)
    times = np.array(list(scale.each("ramp", ramp, runs)))
    ours, pooled = np.isfinite(times).mean(axis=0)
    setting = "ramp 1 → 10 → 50 %, devices return in every step, ICC 0.3"
    found.rows += [
        Row("A/A: false winners", setting, "≤ 5 %", percent(ours), ours <= 0.05, runs),
        Row("A/A: beside it, a z-test over all steps, peeked at", setting, "", percent(pooled), None, runs),
    ]
    grown = (
        ("share", 0.5, "50/50", 300, 4),
        ("any", 0.1, "10/90", 300, 4),
        ("share", 0.5, "50/50", 100, 12),
        ("any", 0.5, "50/50", 100, 12),
    )
    for kind, p, name, devices, each in grown:
        words, aim = {"share": ("share of attempts blocked", 0.01), "any": ("any favourite", 0.05)}[kind]
        runs = scale.runs(300)
        wrong = np.mean(list(scale.each(f"growing {kind} {p} {devices}", growing, runs, p, kind, devices, each)))
        setting = f"{name}, {devices} devices, {each} attempts each, ICC 0.3, a look after every attempt"
        claim = f"A/A: devices whose outcome grows ({words})"
        found.rows.append(Row(claim, setting, f"≤ {percent(aim, 0)}", percent(wrong, 2), bool(wrong <= aim), runs))
    for p, name in ((0.1, "10/90"), (0.5, "50/50")):
        runs = scale.runs(1000)
        wrong = np.isfinite(list(scale.each(f"shy {p}", shy, runs, p))).mean()
        setting = f"{name}, half of the arm's units never try, 20,000 units"
        found.rows.append(Row("A/A: false winners", setting, "≤ 5 %", percent(wrong), bool(wrong <= 0.05), runs))
    return found


def _reached(times) -> Curve:
    return [(float(n), float((times <= n).mean())) for n in POINTS]
