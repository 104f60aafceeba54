"""Win rate, choice and bound: cases by hand, other people's formulas, and how often the bound is right."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, multinomial

from goldsmith.uno import verdict
from goldsmith.uno.bleu import reference_tokens
from goldsmith.uno.verdict import best, halves, interval, lower_bound, needed, point, win_rate

BASE = "The lamp stands on the table beside the window."


def points(answer: str, base_score: float, score: float | None, base: str = BASE) -> verdict.Point:
    return point(base, answer, base_score, score, bleu_min=0.05)


class TestAnItem:
    def test_a_higher_score_wins_an_equal_one_ties(self) -> None:
        assert points("The lamp stands on a table.", 5, 6).points == 1
        assert points("The lamp stands on a table.", 5, 5).points == 0.5
        assert points("The lamp stands on a table.", 5, 4.9).points == 0

    def test_what_is_far_too_short_or_has_nothing_of_the_base_models_is_barred(self) -> None:
        assert points("The", 1, 10) == verdict.Point(0.0, "length")
        assert len(BASE) == 47
        assert points("lamp!", 1, 10).barred == "bleu"  # 5 is not below 4.7
        assert points("Something else altogether was written here.", 1, 10) == verdict.Point(0.0, "bleu", 0.0)

    def test_a_bleu_of_just_the_limit_is_barred(self) -> None:
        bleu = points("The lamp stands on a table.", 1, 10).bleu
        assert bleu is not None
        assert point(BASE, "The lamp stands on a table.", 1, 10, bleu_min=bleu).barred == "bleu"
        assert point(BASE, "The lamp stands on a table.", 1, 10, bleu_min=bleu - 1e-12).points == 1

    def test_a_length_of_just_a_tenth_is_enough(self) -> None:
        assert points("ja nein ab", 1, 2, base="ja nein ab " * 9 + "j").barred == "bleu"  # 10 of 100
        assert points("ja nein a", 1, 2, base="ja nein ab " * 9 + "j").barred == "length"
        assert (
            points(" \nja nein a \n", 1, 2, base="ja nein ab " * 9 + "j").barred == "length"
        )  # spaces around it are nothing said

    def test_what_no_judge_could_grade_does_not_win(self) -> None:
        assert points(BASE, 1, None).points == 0

    def test_the_tokenizer_can_be_the_references(self) -> None:
        thai, other = "ภาษาไทยเป็นภาษาที่สวยงามมาก", "ภาษาไทยเป็นภาษาที่งดงามมาก"
        assert points(other, 1, 2, base=thai).points == 1
        assert point(thai, other, 1, 2, bleu_min=0.05, tokenize=reference_tokens).barred == "bleu"


class TestRateAndChoice:
    def test_ties_are_half_and_barred_items_stay_in_the_number(self) -> None:
        assert win_rate([1, 1, 0.5, 0, 0]) == 0.5
        assert win_rate([]) == 0

    def test_the_highest_and_of_equals_the_earliest(self) -> None:
        assert best([0.4, 0.6, 0.6, 0.5]) == 1
        assert best([0.0, 0.0]) is None
        assert best([]) is None

    def test_halves_share_no_group_and_no_row(self) -> None:
        choose, gate = halves(["a", "b", "c", "d", "e"], seed=42)
        assert (len(choose), len(gate)) == (2, 3)
        assert sorted(choose + gate) == [0, 1, 2, 3, 4]
        groups = ["a", "a", "b", "b", "b", "c", "d", "d"]
        choose, gate = halves(groups, seed=1)
        assert not {groups[row] for row in choose} & {groups[row] for row in gate}
        assert halves(["only"], seed=42) == ([], [0])


def exact_chances(wins: float, ties: float, n: int) -> dict[float, float]:
    """By points, from every outcome there is."""
    losses = 1 - wins - ties
    found: dict[float, float] = {}
    for won in range(n + 1):
        for tied in range(n + 1 - won):
            chance = float(multinomial.pmf([won, tied, n - won - tied], n, [wins, ties, losses]))
            found[won + tied / 2] = found.get(won + tied / 2, 0) + chance
    return found


class TestTheBound:
    @pytest.mark.parametrize(("won", "n"), [(5, 5), (18, 25), (3, 10), (40, 50), (1, 7), (61, 100)])
    @pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
    def test_without_ties_it_is_clopper_and_pearsons(self, won: int, n: int, confidence: float) -> None:
        assert lower_bound(won, n, confidence) == pytest.approx(beta.ppf(1 - confidence, won, n - won + 1), abs=1e-7)

    def test_both_sides(self) -> None:
        low, high = interval(18, 25, 0.95)
        assert (low, high) == pytest.approx((beta.ppf(0.025, 18, 8), beta.ppf(0.975, 19, 7)), abs=1e-7)
        assert interval(0, 4, 0.95)[0] == 0
        assert interval(4, 4, 0.95)[1] == 1

    def test_a_half_point_lies_between_its_neighbours(self) -> None:
        for n in (1, 2, 9):
            bounds = [lower_bound(half / 2, n, 0.95) for half in range(2 * n + 1)]
            assert bounds == sorted(bounds)
            assert len(set(bounds)) == 2 * n + 1

    @pytest.mark.parametrize(("wins", "ties"), [(0.53, 0.0), (0.5, 0.06), (0.33, 0.4), (0.1, 0.8), (0.05, 0.05), (0.8, 0.15)])
    @pytest.mark.parametrize("n", [5, 12])
    def test_it_is_too_high_at_most_as_often_as_it_says(self, wins: float, ties: float, n: int) -> None:
        bounds = {half / 2: lower_bound(half / 2, n, 0.9) for half in range(2 * n + 1)}
        too_high = sum(chance for won, chance in exact_chances(wins, ties, n).items() if bounds[won] > wins + ties / 2)
        assert too_high <= 0.1 + 1e-9

    def test_simulated_it_holds_in_nine_of_ten_runs_and_not_in_all(self) -> None:
        n, runs, drawn = 25, 20_000, numpy.random.default_rng(7)
        bounds = numpy.array([lower_bound(half / 2, n, 0.9) for half in range(2 * n + 1)])
        for wins, ties in ((0.53, 0.0), (0.45, 0.16), (0.2, 0.66), (0.7, 0.2)):
            outcomes = drawn.multinomial(n, [wins, ties, 1 - wins - ties], size=runs)
            held = float((bounds[2 * outcomes[:, 0] + outcomes[:, 1]] <= wins + ties / 2).mean())
            assert held >= 0.9 - 3 * (0.09 / runs) ** 0.5
            if not ties:
                assert held < 0.97  # it is a bound, not a refusal

    def test_the_best_of_eight_on_its_own_items_does_not_hold(self) -> None:
        """Why the epoch is gated on other items: eight coins, and the best of them looks better than one."""
        n, drawn = 25, numpy.random.default_rng(3)
        wins = drawn.binomial(n, 0.5, size=(4000, 8)).max(axis=1)
        assert float((wins / n >= 0.53).mean()) > 0.95
        fresh = drawn.binomial(n, 0.5, size=4000)
        enough = needed(n, 0.53, 0.95)
        assert enough is not None
        assert float((fresh >= enough).mean()) < 0.05

    def test_the_fewest_points_that_pass_are_told(self) -> None:
        assert needed(4, 0.53, 0.95) is None  # 0.05 ** (1 / 4) = 0.47
        assert needed(5, 0.53, 0.95) == 5  # 0.05 ** (1 / 5) = 0.549
        assert needed(3, 1.0, 0.95) is None
        for n in (6, 10, 25):
            enough = needed(n, 0.53, 0.95)
            assert enough is not None
            assert lower_bound(enough, n, 0.95) >= 0.53 > lower_bound(enough - 0.5, n, 0.95)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30))
def test_the_interval_holds_the_rate_and_the_bound_lies_in_it(each: list[float]) -> None:
    rate, n = win_rate(each), len(each)
    low, high = interval(sum(each), n, 0.95)
    assert low <= lower_bound(sum(each), n, 0.95) <= rate + 1e-9
    assert rate <= high + 1e-9
