from __future__ import annotations

import math
import random

import pytest

from goldsmith.kinds.ab_report.ratio import mismatch_evidence
from goldsmith.kinds.ab_report.sequence import DifferenceSequence

ALPHA = 0.05


def experiment(rng: random.Random, units: int, share: float, base: float, treated: float) -> list[tuple[bool, float]]:
    arms = [rng.random() < share for _ in range(units)]
    return [(arm, float(rng.random() < (treated if arm else base))) for arm in arms]


def excludes_zero(sequence: DifferenceSequence, alpha: float) -> bool:
    """Whether 0 lies outside the interval at alpha, without searching for its ends."""
    limit = math.log(2 / alpha)
    return sequence._above.log_evidence(0) >= limit or sequence._below.log_evidence(0) >= limit


def naive_excludes_zero(units: list[int], sums: list[float]) -> bool:
    """The usual 95 % interval for a difference of two rates."""
    if min(units) < 30:
        return False
    rates = [total / count for total, count in zip(sums, units, strict=True)]
    variance = sum(rate * (1 - rate) / count for rate, count in zip(rates, units, strict=True))
    return abs(rates[1] - rates[0]) > 1.96 * math.sqrt(variance) > 0


@pytest.mark.parametrize(("rate", "share"), [(0.02, 0.1), (0.3, 0.1), (0.15, 0.5)])
def test_looking_after_every_unit_finds_no_winner_where_there_is_none(rate: float, share: float):
    rng, experiments, false_alarms, naive_alarms = random.Random(7), 60, 0, 0
    for _ in range(experiments):
        sequence, units, sums = DifferenceSequence(share), [0, 0], [0.0, 0.0]
        alarm = naive = False
        for treated, outcome in experiment(rng, 700, share, rate, rate):
            sequence.add(treated, outcome)
            units[treated] += 1
            sums[treated] += outcome
            alarm = alarm or excludes_zero(sequence, ALPHA)
            naive = naive or naive_excludes_zero(units, sums)
        false_alarms += alarm
        naive_alarms += naive
    assert false_alarms <= 7  # of 60 at 5 %: exceeded by chance once in 100
    assert naive_alarms > 7, "the same looks with the usual interval do find winners"


def test_a_real_difference_is_found_with_the_right_sign():
    rng = random.Random(11)
    better, worse = DifferenceSequence(0.1), DifferenceSequence(0.1)
    for treated, outcome in experiment(rng, 2000, 0.1, 0.15, 0.40):
        better.add(treated, outcome)
        worse.add(treated, 1 - outcome)
    found, mirrored = better.interval(ALPHA), worse.interval(ALPHA)
    assert found is not None
    assert mirrored is not None
    assert 0 < found.lower < 0.25 < found.upper < 1
    assert -1 < mirrored.lower < -0.25 < mirrored.upper < 0


def test_the_true_difference_stays_inside_at_every_look():
    rng, experiments, missed = random.Random(3), 40, 0
    for _ in range(experiments):
        sequence, miss = DifferenceSequence(0.3), False
        for treated, outcome in experiment(rng, 600, 0.3, 0.2, 0.5):
            sequence.add(treated, outcome)
            limit = math.log(2 / ALPHA)
            miss = miss or sequence._above.log_evidence(0.3) >= limit or sequence._below.log_evidence(-0.3) >= limit
        missed += miss
    assert missed <= 5  # of 40 at 5 %: exceeded by chance once in 100


def test_the_interval_narrows_with_units_and_widens_with_confidence():
    rng, sequence, widths = random.Random(5), DifferenceSequence(0.5), []
    for count, (treated, outcome) in enumerate(experiment(rng, 4000, 0.5, 0.3, 0.3), 1):
        sequence.add(treated, outcome)
        if count in (100, 1000, 4000):
            interval = sequence.interval(ALPHA)
            assert interval is not None
            widths.append(interval.upper - interval.lower)
    assert widths[0] > widths[1] > widths[2]
    sure = sequence.interval(0.001)
    assert sure is not None
    assert sure.upper - sure.lower > widths[2]


def test_the_ends_are_where_the_evidence_reaches_its_limit():
    rng, sequence = random.Random(9), DifferenceSequence(0.5)
    for treated, outcome in experiment(rng, 500, 0.5, 0.2, 0.6):
        sequence.add(treated, outcome)
    lower = sequence.lower(0.01)
    assert sequence._above.log_evidence(lower) == pytest.approx(math.log(100), abs=0.01)


def test_an_empty_arm_has_no_interval():
    sequence = DifferenceSequence(0.5)
    assert sequence.interval(ALPHA) is None
    sequence.add(True, 1.0)
    assert sequence.interval(ALPHA) is None
    assert sequence.lower(ALPHA) == -1
    assert sequence.upper(ALPHA) == 1


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_without_a_comparison_is_refused(share: float):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        DifferenceSequence(share)


@pytest.mark.parametrize("outcome", [-0.1, 1.1, math.nan])
def test_an_outcome_outside_of_its_range_is_refused(outcome: float):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        DifferenceSequence(0.5).add(True, outcome)


def test_missing_units_are_found_and_complete_ones_are_not_accused():
    rng = random.Random(2)
    caught = accused = 0
    for _ in range(40):
        counts = {0.5: [0, 0], 0.42: [0, 0]}
        seen = dict.fromkeys(counts, 0.0)
        for _ in range(3000):
            draw = rng.random()
            for share, pair in counts.items():
                pair[draw < share] += 1
                if sum(pair) % 50 == 0:
                    seen[share] = max(seen[share], mismatch_evidence(pair[1], pair[0], 0.5))
        accused += seen[0.5] >= 1000
        caught += seen[0.42] >= 1000
    assert accused == 0  # 1 in 1,000 each
    assert caught == 40


def test_the_evidence_of_a_mismatch_is_an_average_of_1_when_there_is_none():
    """Checked exactly, over all outcomes of 12 units."""
    share = 0.1
    average = sum(
        math.comb(12, k) * share**k * (1 - share) ** (12 - k) * mismatch_evidence(k, 12 - k, share) for k in range(13)
    )
    assert average == pytest.approx(1)
