"""What stands beside our statistics is the textbook's, and a simulation says the same twice."""

import math

import numpy as np
import pytest

from bench.ab import alarms, coverage, outputs, power, report
from bench.ab.fixed import size, z_path


def test_the_fixed_size_gives_the_power_that_it_promises():
    rng = np.random.default_rng(1)
    n = round(size(0.10, 0.13, 0.5, 0.05, 0.8))
    found = 0
    for _ in range(500):
        treated = rng.random(n) < 0.5
        y = (rng.random(n) < np.where(treated, 0.13, 0.10)).astype(float)
        found += z_path(treated, y)[-1] >= 1.645
    assert found / 500 == pytest.approx(0.8, abs=0.06)


def test_a_simulation_says_the_same_twice():
    first, again = (
        (
            power.regression(np.random.default_rng(3), 0.1),
            coverage.experiment(np.random.default_rng(3), 0.5, 100),
            outputs.experiment(np.random.default_rng(3), 1000, False, 30, 300, 1, False),
            alarms.ramp(np.random.default_rng(3)),
        )
        for _ in range(2)
    )
    assert first == again
    assert 50 <= first[0] < math.inf


def test_the_page_has_the_row_of_every_result():
    row = {"claim": "c", "setting": "s", "aim": "≥ 1", "measured": "2", "met": False, "runs": 1000}
    assert "| c | s | ≥ 1 | 2 | ✗ missed | 1,000 |" in report.table({"part": {"rows": [row], "curves": {}}})


def test_curves_become_a_picture_with_their_names():
    picture = report.lines("Two & more", "units", {"one": [[0, 0.0], [10, 1.0]]}, dashed=0.5)
    assert picture.startswith("<svg")
    assert "Two &amp; more" in picture
    assert ">one</text>" in picture
