from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.kinds.corpus.near import highest, near_pairs
from goldsmith.kinds.corpus.words import jaccard, shingles

SETS = st.lists(st.frozensets(st.sampled_from("abcdefghij"), min_size=1), max_size=12)
THRESHOLDS = st.sampled_from([0.3, 1 / 3, 0.4, 0.5, 0.6, 2 / 3, 0.7, 0.75, 0.8, 1.0])


@given(SETS, THRESHOLDS)
def test_the_pairs_are_those_that_comparing_all_would_find(sets: list[frozenset[str]], threshold: float) -> None:
    every = {(i, j) for (i, one), (j, other) in combinations(enumerate(sets), 2) if jaccard(one, other) >= threshold}
    assert set(near_pairs(sets, threshold, lambda done: None)) == every


@given(SETS, SETS)
def test_the_highest_similarity_is_the_one_that_comparing_all_would_find(
    left: list[frozenset[str]], right: list[frozenset[str]]
) -> None:
    every = [jaccard(one, other) for one in left for other in right]
    assert highest(left, right, lambda done: None) == max(every, default=0.0)


def test_a_typo_is_found_among_other_prompts() -> None:
    texts = ["Ein Wal im Aufzug", "Two foxes, one umbrella", "Oma tanzt mit dem Staubsauger", "Oma tanzt mit dem Staubsager"]
    assert list(near_pairs([shingles(text) for text in texts], 0.5, lambda done: None)) == [(2, 3)]


def test_a_tick_can_stop_the_search() -> None:
    def stop(done: float) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        list(near_pairs([shingles("a b")], 0.5, stop))
