import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.abstats import mismatch


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=3, max_size=3), st.lists(st.integers(1, 50), min_size=3, max_size=3))
def test_no_next_unit_is_expected_to_raise_the_evidence_while_the_shares_hold(counts, parts):
    shares = [part / sum(parts) for part in parts]
    before = mismatch([(counts, shares)])
    expected = 0.0
    for arm, share in enumerate(shares):
        after = [count + (other == arm) for other, count in enumerate(counts)]
        expected += share * math.exp(mismatch([(after, shares)]) - before)
    assert expected == pytest.approx(1, abs=1e-9)


def test_missing_units_are_found_in_any_arm():
    assert mismatch([([1000, 9000], [0.1, 0.9])]) < 0
    assert mismatch([([700, 9000], [0.1, 0.9])]) > math.log(1000)
    assert mismatch([([1000, 3400, 5000], [0.1, 0.4, 0.5])]) > math.log(1000)


def test_steps_multiply():
    steps = [([60, 5000], [0.01, 0.99]), ([450, 5000], [0.1, 0.9])]
    assert mismatch(steps) == pytest.approx(sum(mismatch([step]) for step in steps))


def test_the_order_of_arms_means_nothing():
    values = {
        round(mismatch([([count for count, _ in pairs], [share for _, share in pairs])]), 9)
        for pairs in itertools.permutations([(90, 0.1), (300, 0.3), (700, 0.6)])
    }
    assert len(values) == 1


def test_no_units_are_no_evidence_and_one_where_none_can_be_is_proof():
    assert mismatch([]) == 0
    assert mismatch([([0, 0], [0.1, 0.9])]) == 0
    assert mismatch([([0, 10], [0.0, 1.0])]) == pytest.approx(0)
    assert mismatch([([1, 10], [0.0, 1.0])]) == math.inf


@pytest.mark.parametrize(
    ("counts", "shares", "words"),
    [([1], [0.5, 0.5], "must be as many"), ([-1, 2], [0.5, 0.5], "none negative"), ([1, 2], [0.5, 0.4], "sum to 1, not 0.9")],
)
def test_counts_that_fit_no_shares_are_refused(counts, shares, words):
    with pytest.raises(ValueError, match=words):
        mismatch([(counts, shares)])
