import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.abstats import rate_evidence

ceiling = st.floats(0.01, 0.99)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=10), ceiling)
def test_no_next_outcome_is_expected_to_raise_the_stake_at_the_ceiling(past, limit):
    before = rate_evidence(past, limit)
    expected = sum(
        chance * math.exp(rate_evidence([*past, value], limit) - before) for value, chance in ((1.0, limit), (0.0, 1 - limit))
    )
    assert expected == pytest.approx(1, abs=1e-9)


def test_a_rate_above_the_ceiling_is_found():
    y = np.random.default_rng(1).random(400) < 0.4
    assert rate_evidence(y, 0.25) > math.log(100)
    assert rate_evidence(y, 0.5) < 0


def test_nothing_is_no_evidence():
    assert rate_evidence([], 0.25) == pytest.approx(0)


@pytest.mark.parametrize(("y", "limit", "words"), [([0.5, math.nan], 0.2, r"y\[1\] is nan"), ([0.5], 1.0, "ceiling is 1")])
def test_no_rates_are_refused_in_words(y, limit, words):
    with pytest.raises(ValueError, match=words):
        rate_evidence(y, limit)
