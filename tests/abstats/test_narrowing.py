import math

import numpy as np
import pytest

from goldsmith.abstats.collapse import REFERENCE, Collapse
from goldsmith.abstats.narrowing import Narrowing
from goldsmith.abstats.sketch import BUCKETS

NONE = np.zeros((0, BUCKETS), dtype=np.int64)


class World:
    """So many words, all equally frequent."""

    def __init__(self, seed, words):
        self.rng = np.random.default_rng(seed)
        self.bucket = self.rng.integers(0, BUCKETS, words)

    def outputs(self, n, length, *, share=1.0):
        """From the first `share` of the words."""
        drawn = self.bucket[self.rng.integers(0, int(len(self.bucket) * share), (n, length))]
        counts = np.zeros((n, BUCKETS), dtype=np.int64)
        np.add.at(counts, (np.repeat(np.arange(n), length), drawn.ravel()), 1)
        return counts


@pytest.mark.parametrize(("words", "length"), [(10_000, 20), (20_000, 200), (1000, 3), (200, 5)])
def test_a_fifth_of_any_vocabulary_is_told_within_150_outputs(words, length):
    world = World(1, words)
    collapse = Collapse()
    collapse.extend(world.outputs(1000, length), world.outputs(1000, length))
    assert collapse.variety().state == "ok"
    states = set()
    for _ in range(15):
        collapse.extend(world.outputs(10, length, share=0.2), world.outputs(10, length))
        states.add(collapse.variety().state)
    assert "collapsed" in states


def test_portions_change_nothing():
    world = World(2, 3000)
    beginning, rest = world.outputs(REFERENCE, 20), world.outputs(433, 20)
    at_once, bit_by_bit = Narrowing(beginning), Narrowing(beginning)
    at_once.extend(rest)
    for start in range(0, len(rest), 37):
        bit_by_bit.extend(rest[start : start + 37])
    assert at_once.evidence is not None
    assert bit_by_bit.evidence == at_once.evidence


def test_the_distance_of_fresh_outputs_is_a_standard_normal_one():
    """400 beginnings, each with one fresh window of 140: without the factor for a beginning that is itself a sample, 1.7."""
    distances = []
    for seed in range(400):
        world = World(seed, 500)
        watch = Narrowing(world.outputs(REFERENCE, 10))
        watch.extend(world.outputs(140, 10))
        usual = watch._usual[140]
        distances.append((usual.mean - _bits(watch._latest.sum(axis=0))) / usual.error)
    assert 0.85 < np.std(distances) < 1.15
    assert abs(np.mean(distances)) < 0.2


def _bits(counts):
    share = counts[counts > 0] / counts.sum()
    return -(share * np.log2(share)).sum()


def test_what_became_wider_or_never_varied_is_no_evidence():
    world = World(3, 2000)
    wider = Narrowing(world.outputs(REFERENCE, 20, share=0.2))
    wider.extend(world.outputs(200, 20))
    assert wider.evidence is not None
    assert wider.evidence < 0
    same = np.zeros((REFERENCE, BUCKETS), dtype=np.int64)
    same[:, 7] = 3
    fixed = Narrowing(same)
    fixed.extend(same[:100])
    assert fixed.evidence is not None
    assert fixed.evidence < 0
    assert Narrowing(same).evidence is None
    with pytest.raises(ValueError, match="beginning of 140 outputs is too small; it needs 141"):
        Narrowing(same[:140])


def test_base_is_compared_over_the_time_of_the_arms_latest_outputs():
    """A narrow lesson and then a wide one, one output in ten from the arm, which says what base says: base's last outputs alone are
    all of the wide lesson, the arm's are not."""
    world = World(4, 2000)
    collapse = Collapse()

    def lesson(outputs, share):
        chance = np.arange(outputs) % 10 == 3
        said = world.outputs(outputs, 20, share=share)
        collapse.extend(said[chance], said[~chance], np.cumsum(~chance)[chance])
        return collapse.variety()

    lesson(5000, 1.0)
    found = lesson(600, 0.05)
    found = lesson(200, 1.0)
    assert max(found.against_beginning, found.narrowing) > math.log(300)
    assert abs(found.entropy - found.base_entropy) < found.chance
    assert found.state == "ok"
