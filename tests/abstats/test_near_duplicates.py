import numpy as np

from goldsmith.abstats.sketch import BINS, EMPTY, near_duplicates

rng = np.random.default_rng(1)


def outputs(n):
    return rng.integers(0, EMPTY, (n, BINS))


def test_an_output_that_comes_again_is_a_near_duplicate_of_the_first():
    first = outputs(1)
    again = first.copy()
    again[0, :15] = rng.integers(0, EMPTY, 15)
    assert near_duplicates(np.concatenate([outputs(5), first, outputs(2), again, outputs(1)])) == 0.1


def test_after_the_window_it_is_forgotten():
    first = outputs(1)
    rows = np.concatenate([first, outputs(10), first])
    assert near_duplicates(rows, window=10) == 0
    assert near_duplicates(rows, window=11) == 1 / 12


def test_outputs_without_pairs_of_words_are_like_nothing():
    assert near_duplicates(np.full((3, BINS), EMPTY)) == 0
    assert near_duplicates(outputs(1)) is None
