from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.kinds.evaluate.paired import interval, mcnemar, sign_flips, verdict
from goldsmith.kinds.evaluate.schema import Interval
from goldsmith.variety import distinct, entropy_bits


def bootstrapped(differences: list[float], groups: list[str], resamples: int = 2000, alpha: float = 0.05) -> Interval:
    return interval(differences, [1.0] * len(differences), groups, resamples=resamples, alpha=alpha, seed=1)


class TestInterval:
    def test_it_holds_the_mean_difference(self) -> None:
        found = bootstrapped([1, 0, 0, 1, -1, 1], list("abcdef"))
        assert found.difference == pytest.approx(1 / 3)
        assert found.low < 1 / 3 < found.high

    def test_the_same_seed_gives_the_same_interval(self) -> None:
        assert bootstrapped([1, 0, 0, 1], list("abcd")) == bootstrapped([1, 0, 0, 1], list("abcd"))

    def test_rows_of_one_group_are_no_independent_evidence(self) -> None:
        """Ten copies of every row change nothing."""
        differences: list[float] = [1, 0, 0, 1, -1, 1, 0, 0]
        once = bootstrapped(differences, list("abcdefgh"))
        copied = bootstrapped(differences * 10, list("abcdefgh") * 10)
        assert (copied.low, copied.high) == (once.low, once.high)

    def test_it_covers_the_truth_as_often_as_it_says(self) -> None:
        """600 data sets of 60 coin pairs with a true difference of 0.3; within 3 standard errors of 90 %."""
        generator = random.Random(5)
        hits = 0
        for seed in range(600):
            differences = [float(generator.random() < 0.6) - float(generator.random() < 0.3) for _ in range(60)]
            found = interval(differences, [1.0] * 60, [str(row) for row in range(60)], resamples=400, alpha=0.1, seed=seed)
            hits += found.low <= 0.3 <= found.high
        assert hits / 600 == pytest.approx(0.9, abs=0.04)

    def test_weights_make_it_a_ratio(self) -> None:
        found = interval([2, 6], [1, 3], ["a", "b"], resamples=200, alpha=0.05, seed=0)
        assert (found.difference, found.low, found.high) == (2, 2, 2)


class TestMcnemar:
    @pytest.mark.parametrize(
        ("one", "other", "p"),
        [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (8, 1, 20 / 512), (4, 4, 1.0), (10, 3, 756 / 8192)],
    )
    def test_known_values(self, one: int, other: int, p: float) -> None:
        assert mcnemar(one, other) == pytest.approx(p)

    @given(st.integers(0, 3000), st.integers(0, 3000))
    def test_it_is_a_probability_and_does_not_care_which_arm_is_which(self, one: int, other: int) -> None:
        assert 0 <= mcnemar(one, other) <= 1
        assert mcnemar(one, other) == mcnemar(other, one)


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.1, 0.5, 0.01, "wins"),
        (0.1, 0.5, 0.2, "unclear"),
        (0.0, 0.5, 0.01, "unclear"),
        (-0.5, -0.1, 0.01, "loses"),
        (-0.1, 0.1, 0.9, "unclear"),
    ],
)
def test_a_verdict_needs_both_the_test_and_the_interval(low: float, high: float, p: float, expected: str) -> None:
    assert verdict(Interval(difference=(low + high) / 2, low=low, high=high), p, alpha=0.05) == expected


class TestWords:
    def test_entropy_counts_words_over_all_texts(self) -> None:
        assert entropy_bits(["red blue", "Green, grey!"]) == pytest.approx(2)
        assert entropy_bits(["red red red"]) == 0
        assert entropy_bits([""]) == 0

    def test_distinct_counts_no_pair_across_texts(self) -> None:
        assert distinct(["a b", "a b"], 1) == 0.5
        assert distinct(["a b", "a b"], 2) == 0.5
        assert distinct(["a b", "b a"], 2) == 1
        assert distinct(["a"], 2) == 0


class TestSignFlips:
    def test_groups_that_agree_are_as_rare_as_coins_that_do(self) -> None:
        assert sign_flips([1.0] * 8, list("abcdefgh"), resamples=1, seed=0) == 2 / 2**8
        assert sign_flips([0.1] * 5 + [0.0] * 9, list("abcdefghijklmn"), resamples=1, seed=0) == 2 / 2**5

    def test_rows_of_one_group_flip_together(self) -> None:
        assert sign_flips([1.0] * 8, list("aabbccdd"), resamples=1, seed=0) == 2 / 2**4

    def test_nothing_differs(self) -> None:
        assert sign_flips([0.0, 0.0, 1.0, -1.0], list("abcc"), resamples=1, seed=0) == 1

    def test_with_many_groups_it_is_drawn_and_agrees_with_the_binomial(self) -> None:
        differences = [1.0] * 20 + [-1.0] * 8
        drawn = sign_flips(differences, [str(place) for place in range(28)], resamples=20_000, seed=3)
        assert drawn == pytest.approx(mcnemar(20, 8), abs=0.006)
