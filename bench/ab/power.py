"""Planted differences: how soon they are found, beside the test that may look only once."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from bench.ab.alarms import EFFECT, WINNER, breaches, first
from bench.ab.fixed import QUANTILE, size, z_path
from bench.ab.rows import Found, Row, Scale, percent
from goldsmith.abstats import Observations, evidence_path, path

LONGEST = 6000  # units within which a bad arm must be gone


def regression(rng: Generator, p: float) -> float:
    """Attempts of the bad arm until it is rolled back."""
    treated = rng.random(LONGEST) < p
    blocked = (rng.random(LONGEST) < np.where(treated, 0.12, 0.02)).astype(float)
    at = first(breaches(treated, blocked, p))
    return float(treated[: int(at)].sum()) if math.isfinite(at) else math.inf


def lift(rng: Generator, p: float, units: int, effect: float | None) -> tuple[float, float, float, float]:
    """Units until a winner: by betting; by Bonferroni over a look after every unit; over 20 looks; at one look at the end."""
    treated = rng.random(units) < p
    y = (rng.random(units) < np.where(treated, 0.13, 0.10)).astype(float)
    ours = first(evidence_path(Observations(treated, p, y), effect=effect) >= WINNER)
    z = z_path(treated, y)
    every = first(z >= QUANTILE(1 - 0.05 / units))
    looks = np.linspace(units / 20, units, 20).astype(int)
    some = looks[z[looks - 1] >= QUANTILE(1 - 0.05 / 20)]
    return ours, every, float(some[0]) if some.size else math.inf, 0.0 if z[-1] >= QUANTILE(0.95) else math.inf


def run(scale: Scale) -> Found:
    found = Found()
    for p, name in ((0.1, "10/90"), (0.5, "50/50")):
        runs = scale.runs(2000)
        exposed = np.array(list(scale.each(f"safe{p}", regression, runs, p)))
        needed = size(0.02, 0.12, p, 0.01, 0.8) * p
        median, rare = np.quantile(exposed, [0.5, 0.95], method="inverted_cdf")
        caught = np.isfinite(exposed).mean()
        setting = f"{name}, blocks 2 % → 12 %"
        aimed = p == 0.1
        found.rows += [
            Row(
                "Safety regression: rolled back",
                setting,
                "≥ 99 %" if aimed else "",
                percent(caught),
                bool(caught >= 0.99) if aimed else None,
                runs,
            ),
            Row(
                "Safety regression: attempts of the bad arm, median",
                f"{setting}; a z-test (α 0.01, power 0.8) needs {needed:.0f} of the arm",
                f"≤ {1.5 * needed:.0f} (1.5×)" if aimed else "",
                f"{median:.0f} ({median / needed:.2f}×); 95 of 100: {rare:.0f}",
                bool(median <= 1.5 * needed) if aimed else None,
                runs,
            ),
        ]
        points = np.arange(0, 201 if aimed else 401, 2)
        found.curves[f"regression {name} rolled back"] = [(float(n), float((exposed <= n).mean())) for n in points]
        found.curves[f"regression {name} 1.5 × z-test"] = [(1.5 * needed, 0.0), (1.5 * needed, 1.0)]
    for p, name in ((0.5, "50/50"), (0.1, "10/90")):
        needed = size(0.10, 0.13, p, 0.05, 0.8)
        units = int(1.6 * needed)
        runs = scale.runs(2000)
        times = np.array(list(scale.each(f"lift{p}", lift, runs, p, units, EFFECT)))
        ours, every, some, one = np.isfinite(times).mean(axis=0)
        blind = np.isfinite(np.array(list(scale.each(f"blnd{p}", lift, runs, p, units, None)))[:, 0]).mean()
        setting = f"{name}, favourites 10 % → 13 %, {units:,} units = 1.6 × {needed:,.0f} of the z-test (α 0.05, power 0.8)"
        median = np.quantile(times[:, 0], 0.5, method="inverted_cdf")
        found.rows += [
            Row(
                "Favourite lift: found",
                setting,
                "≥ 80 %",
                f"{percent(ours)}; median {median / needed:.2f}×",
                bool(ours >= 0.8),
                runs,
            ),
            Row("Favourite lift: without a minimum_effect", setting, "", percent(blind), None, runs),
            Row("Favourite lift: beside it, Bonferroni over a look after every unit", setting, "", percent(every), None, runs),
            Row("Favourite lift: beside it, Bonferroni over 20 looks", setting, "", percent(some), None, runs),
            Row("Favourite lift: beside it, one z-test at the end", setting, "", percent(one), None, runs),
        ]
        points = np.linspace(0, 1.6, 81)
        for column, label in enumerate(("betting", "Bonferroni, every unit", "Bonferroni, 20 looks")):
            found.curves[f"lift {name} {label}"] = [(float(n), float((times[:, column] <= n * needed).mean())) for n in points]
    found.curves |= _example()
    return found


def _example() -> dict[str, list[tuple[float, float]]]:
    """One experiment with a lift of 3 points, as the page would draw it."""
    rng = np.random.default_rng(3)
    treated = rng.random(20_000) < 0.1
    y = (rng.random(20_000) < np.where(treated, 0.13, 0.10)).astype(float)
    at = np.unique(np.geomspace(1000, 20_000, 60).astype(int)).tolist()
    rows = path(Observations(treated, 0.1, y), 0.1, at, EFFECT)
    return {
        f"example {name}": [(float(row[0]), float(row[column] or 0.0)) for row in rows]
        for column, name in ((1, "estimate"), (2, "lower"), (3, "upper"))
    }
