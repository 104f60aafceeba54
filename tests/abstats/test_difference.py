import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.abstats import (
    Observations,
    difference,
    estimate,
    evidence,
    evidence_path,
    lower,
    path,
    sequence,
    upper,
)
from tests.abstats.slow import log_stake

share = st.floats(0.02, 0.98)
outcome = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
row = st.tuples(st.booleans(), share, outcome)
rows = st.lists(row, min_size=1, max_size=40)


def observations(drawn):
    treated, p, y = zip(*drawn, strict=True)
    return Observations(treated, p, y)


def mixture(effect=None):
    effects, logs = difference._mixture(effect)
    return list(effects), list(np.exp(logs))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(row, max_size=12),
    share,
    st.floats(0, 1),
    st.floats(-0.9, 0.9),
    st.sampled_from([None, 0.03, 0.5]),
    st.sampled_from([1, -1]),
)
def test_no_next_observation_is_expected_to_raise_the_stake_while_the_claim_holds(past, p, mean, delta, effect, sign):
    """By exact enumeration: both arms, both outcomes, for arms whose means differ by exactly the claim."""
    low, high = max(0.0, -delta), min(1.0, 1 - delta)
    base = low + mean * (high - low)
    means = {False: base, True: min(1.0, max(0.0, base + delta))}
    before = difference._Bets(observations(past), effect, sign).log_stake(delta, delta) if past else 0.0
    expected = 0.0
    for arm, value in itertools.product((False, True), (0.0, 1.0)):
        chance = (p if arm else 1 - p) * (means[arm] if value else 1 - means[arm])
        after = difference._Bets(observations([*past, (arm, p, value)]), effect, sign).log_stake(delta, delta)
        expected += chance * math.exp(after - before)
    assert expected == pytest.approx(1, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(rows, st.floats(-0.95, 0.95), st.sampled_from([None, 0.03]), st.sampled_from([1, -1]))
def test_agrees_with_one_observation_at_a_time(drawn, delta, effect, sign):
    treated, p, y = zip(*drawn, strict=True)
    expected = log_stake(treated, p, y, delta, *mixture(effect), sign=sign)
    assert difference._Bets(observations(drawn), effect, sign).log_stake(delta, delta) == pytest.approx(expected, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(rows, st.floats(-0.9, 0.9), st.floats(-0.9, 0.9))
def test_evidence_above_more_is_never_stronger_with_the_same_bets(drawn, one, other):
    less, more = sorted((one, other))
    bets = difference._Bets(observations(drawn), None, 1)
    assert bets.log_stake(less, more) >= bets.log_stake(more, more) - 1e-9


@settings(max_examples=30, deadline=None)
@given(rows, st.floats(0.001, 0.3), st.floats(0.001, 0.3))
def test_bounds_widen_as_alpha_shrinks(drawn, one, other):
    strict, loose = sorted((one, other))
    obs = observations(drawn)
    assert lower(obs, strict) <= lower(obs, loose) + difference.TOLERANCE
    assert upper(obs, strict) >= upper(obs, loose) - difference.TOLERANCE


@settings(max_examples=30, deadline=None)
@given(rows, rows)
def test_what_comes_later_changes_no_earlier_look(drawn, more):
    obs = observations(drawn + more)
    assert path(obs, 0.1, [len(drawn)]) == path(observations(drawn), 0.1, [len(drawn)])
    whole = evidence_path(obs)
    assert whole[len(drawn) - 1] == pytest.approx(evidence(observations(drawn)), abs=1e-9)
    assert whole[-1] == pytest.approx(evidence(obs), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(rows)
def test_the_mirror_image_has_the_mirrored_bounds(drawn):
    treated, p, y = (np.array(column) for column in zip(*drawn, strict=True))
    swapped = Observations(~treated, 1 - p, y)
    assert upper(observations(drawn), 0.05) == pytest.approx(-lower(swapped, 0.05), abs=difference.TOLERANCE)


@settings(max_examples=30, deadline=None)
@given(rows, st.lists(st.tuples(st.booleans(), outcome), max_size=5), st.integers(0, 40))
def test_what_could_not_have_gone_the_other_way_adds_nothing(drawn, certain, where):
    forced = [(arm, float(arm), y) for arm, y in certain]
    mixed = observations(drawn[:where] + forced + drawn[where:])
    assert len(mixed) == len(drawn)
    assert evidence(mixed) == evidence(observations(drawn))


@settings(max_examples=30, deadline=None)
@given(rows, st.floats(0.001, 0.3))
def test_the_lower_end_reaches_zero_exactly_when_the_evidence_does(drawn, alpha):
    obs = observations(drawn)
    assert (lower(obs, alpha) >= 0) == (evidence(obs) >= -math.log(alpha))


def test_every_difference_below_the_lower_end_is_refuted_at_its_own_bets_or_wider():
    rng = np.random.default_rng(4)
    treated = rng.random(4000) < 0.1
    y = (rng.random(4000) < np.where(treated, 0.5, 0.1)).astype(float)
    obs = Observations(treated, 0.1, y)
    end = lower(obs, 0.05)
    bets = difference._Bets(obs, None, 1)
    for delta in np.linspace(-1, end, 50):
        widest = next(high for high in difference.BRACKETS if delta <= high)
        assert bets.log_stake(delta, widest) >= -math.log(0.05) - 1e-6


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_a_difference_is_found_and_enclosed(p):
    rng = np.random.default_rng(7)
    treated = rng.random(20_000) < p
    y = (rng.random(20_000) < np.where(treated, 0.2, 0.1)).astype(float)
    found = sequence(Observations(treated, p, y), 0.05)
    assert found is not None
    assert 0 < found.lower < 0.1 < found.upper < 0.2
    assert found.lower < found.estimate < found.upper


def test_the_first_look_knows_nothing():
    nothing = Observations([], 0.5, [])
    assert sequence(nothing, 0.05) is None
    assert evidence(nothing) == pytest.approx(0)
    assert evidence_path(nothing).size == 0
    assert (lower(nothing, 0.05), upper(nothing, 0.05)) == (-1, 1)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_arms_that_always_do_the_same_differ_by_about_nothing(value):
    treated = np.arange(2000) % 2 == 0
    found = sequence(Observations(treated, 0.5, np.full(2000, value)), 0.05)
    assert found is not None
    assert found.estimate == 0
    assert -0.05 < found.lower < 0 < found.upper < 0.05


def test_an_arm_without_units_has_no_sequence():
    one_sided = Observations([False] * 50, 0.1, [1.0] * 50)
    assert estimate(one_sided) is None
    assert sequence(one_sided, 0.05) is None
    assert lower(one_sided, 0.05) < 0 < upper(one_sided, 0.05)


def test_a_ramp_is_no_difference():
    """Outcomes that rise while the treated share grows look like an effect when all units are thrown together."""
    rng = np.random.default_rng(3)
    p = np.repeat([0.02, 0.5], 5000)
    treated = rng.random(10_000) < p
    y = (rng.random(10_000) < np.repeat([0.1, 0.4], 5000)).astype(float)
    obs = Observations(treated, p, y)
    assert y[treated].mean() - y[~treated].mean() > 0.08
    assert abs(estimate(obs)) < 0.03
    found = sequence(obs, 0.05)
    assert found.lower < 0 < found.upper


@pytest.mark.parametrize(
    ("treated", "p", "y", "words"),
    [
        ([True, False], 0.5, [0.0, math.nan], r"y\[1\] is nan; it must lie in \[0, 1\]"),
        ([True], 0.5, [1.5], r"y\[0\] is 1\.5"),
        ([True], math.nan, [1.0], r"p\[0\] is nan"),
        ([True], [1.2], [1.0], r"p\[0\] is 1\.2"),
        ([True], 0.0, [1.0], r"treated\[0\] is True, but p\[0\] is 0"),
        ([True, False], 0.5, [1.0], "must be of one length"),
        ([True, False], [0.5], [1.0, 0.0], "one for each of 2 outcomes"),
        ([2], 0.5, [1.0], "treated must be true or false"),
    ],
)
def test_what_is_no_observation_is_refused_in_words(treated, p, y, words):
    with pytest.raises(ValueError, match=words):
        Observations(treated, p, y)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, math.nan])
def test_alpha_is_a_probability(alpha):
    with pytest.raises(ValueError, match="alpha is"):
        lower(Observations([True], 0.5, [1.0]), alpha)


def test_an_effect_is_a_share():
    with pytest.raises(ValueError, match="effect is 0"):
        evidence(Observations([True], 0.5, [1.0]), effect=0.0)
