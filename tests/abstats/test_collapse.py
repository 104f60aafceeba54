import math

import numpy as np
import pytest

from goldsmith.abstats.collapse import REFERENCE, Collapse, Watch
from goldsmith.abstats.sketch import BUCKETS

NONE = np.zeros((0, BUCKETS), dtype=np.int64)


class World:
    """A vocabulary of 2,000 words, some of them frequent, whose words fall into the buckets of a sketch."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.bucket = self.rng.integers(0, BUCKETS, 2000)
        self.frequency = 1 / np.arange(3.0, 2003.0)

    def outputs(self, n, *, words=30, narrow=False):
        """`narrow`: from the 400 words of every fifth place only."""
        frequency = np.where(np.arange(2000) % 5 == 2, self.frequency, 0) if narrow else self.frequency
        drawn = self.rng.choice(2000, (n, words), p=frequency / frequency.sum())
        counts = np.zeros((n, BUCKETS), dtype=np.int64)
        np.add.at(counts, (np.repeat(np.arange(n), words), self.bucket[drawn].ravel()), 1)
        return counts


def test_a_collapse_is_told_within_150_outputs():
    world = World(1)
    collapse = Collapse()
    collapse.extend(world.outputs(1000), world.outputs(1000))
    assert collapse.variety().state == "ok"
    collapse.extend(world.outputs(150, narrow=True), world.outputs(150))
    found = collapse.variety()
    assert found.state == "collapsed"
    assert found.entropy < found.base_entropy - 0.5


def test_a_collapse_is_told_without_base():
    world = World(2)
    collapse = Collapse()
    collapse.extend(world.outputs(1000), world.outputs(20))
    assert collapse.variety().against_base is None
    assert collapse.variety().state == "ok"
    collapse.extend(world.outputs(150, narrow=True), NONE)
    assert collapse.variety().state == "collapsed"


def test_an_arm_that_was_narrow_from_the_start_is_told_by_base():
    world = World(3)
    collapse = Collapse()
    collapse.extend(world.outputs(150, narrow=True), world.outputs(REFERENCE))
    found = collapse.variety()
    assert found.against_beginning is None
    assert found.state == "collapsed"


def test_what_base_does_too_is_no_collapse():
    """A class that asks for one thing: both arms speak of little."""
    world = World(4)
    collapse = Collapse()
    collapse.extend(world.outputs(600), world.outputs(600))
    collapse.extend(world.outputs(200, narrow=True, words=30), world.outputs(200, narrow=True, words=10))
    found = collapse.variety()
    assert found.against_beginning > math.log(200)
    assert abs(found.entropy - found.base_entropy) < found.chance
    assert found.state == "ok"


def test_portions_change_nothing():
    world = World(5)
    arm, base = world.outputs(700, words=8), world.outputs(650, words=8)
    at_once, bit_by_bit = Collapse(), Collapse()
    at_once.extend(arm, base)
    for start in range(0, 700, 37):
        bit_by_bit.extend(arm[start : start + 37], base[start : start + 37])
    assert bit_by_bit.variety() == at_once.variety()


def test_each_output_is_expected_to_keep_the_stake_while_ranks_are_those_of_the_reference():
    """Exactly: every score of the reference comes next with the same chance."""
    world = World(6)
    watch = Watch(world.outputs(300), usual=True)
    ranks = (np.arange(watch._usual.size) + 0.5) / watch._usual.size
    for bet in (0.4, 0.8, 1.3):
        factors = 1 + bet * (ranks - watch._level)
        assert factors.min() > 0
        assert factors.mean() <= 1


def test_too_little_is_unknown_and_outputs_without_words_are_none():
    world = World(7)
    collapse = Collapse()
    assert collapse.variety().state == "unknown"
    collapse.extend(world.outputs(30), world.outputs(30))
    collapse.extend(np.zeros((500, BUCKETS), dtype=np.int64), np.zeros((500, BUCKETS), dtype=np.int64))
    found = collapse.variety()
    assert (found.state, found.outputs, found.base_outputs) == ("unknown", 30, 30)
    assert (found.against_base, found.against_beginning, found.entropy) == (None, None, None)


def test_a_small_reference_is_refused():
    with pytest.raises(ValueError, match="reference of 100 outputs is too small; it needs 120"):
        Watch(World(8).outputs(100), usual=True)


@pytest.mark.parametrize(("options", "words"), [({"alpha": 0.0}, "alpha is 0"), ({"max_drop": -0.1}, "max_drop is -0.1")])
def test_impossible_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Collapse(**options)
