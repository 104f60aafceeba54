import numpy as np
import pytest
from scipy import stats

from goldsmith.abstats import naive_interval, robust_interval


def devices(rng, each, attempts, rate, spread):
    """Events and attempts of devices whose own rates differ, with an intra-class correlation of `spread`."""
    own = rng.beta(rate * (1 / spread - 1), (1 - rate) * (1 / spread - 1), each)
    return rng.binomial(attempts, own), np.full(each, attempts)


def test_one_attempt_each_is_nearly_the_t_test():
    rng = np.random.default_rng(2)
    treated = np.arange(900) < 400
    y = (rng.random(900) < 0.3).astype(float)
    found = robust_interval(treated, y, np.ones(900), 0.05)
    expected = stats.ttest_ind(y[treated], y[~treated], equal_var=False).confidence_interval(0.95)
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high), abs=2e-3)


def test_no_events_are_no_certainty():
    found = robust_interval(np.arange(40) < 20, np.zeros(40), np.full(40, 5), 0.05)
    assert found.estimate == 0
    assert found.lower < -0.1
    assert found.upper > 0.1


def test_alike_attempts_widen_the_range_as_the_design_effect_says():
    rng = np.random.default_rng(3)
    events, attempts = devices(rng, 4000, 10, 0.2, 0.3)
    treated = rng.random(4000) < 0.5
    robust, naive = (make(treated, events, attempts, 0.05) for make in (robust_interval, naive_interval))
    assert robust.estimate == naive.estimate
    ratio = (robust.upper - robust.lower) / (naive.upper - naive.lower)
    assert ratio == pytest.approx((1 + 9 * 0.3) ** 0.5, rel=0.1)


def test_devices_without_attempts_change_nothing():
    rng = np.random.default_rng(5)
    events, attempts = devices(rng, 60, 5, 0.4, 0.3)
    treated = np.arange(60) % 3 == 0
    more = (np.append(treated, True), np.append(events, 0), np.append(attempts, 0))
    assert robust_interval(*more, 0.05) == robust_interval(treated, events, attempts, 0.05)


@pytest.mark.parametrize(
    ("treated", "events", "attempts"),
    [([], [], []), ([True, False, False], [1, 0, 1], [2, 2, 2])],
)
def test_too_little_has_no_range(treated, events, attempts):
    assert robust_interval(treated, events, attempts, 0.05) is None


def test_more_events_than_attempts_are_refused():
    with pytest.raises(ValueError, match="between 0 events and as many as attempts"):
        naive_interval([True], [2], [1], 0.05)
