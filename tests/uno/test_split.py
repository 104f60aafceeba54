from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.uno.split import split


def test_ten_sessions_by_hand() -> None:
    """Sorted they are s_0 … s_9; CPython's shuffle with seed 42 puts s_0 and s_1 last."""
    found = split([f"s_{number}" for number in (5, 3, 9, 0, 1, 2, 8, 7, 6, 4)])
    assert [one for one, which in found.items() if which == "heldout"] == ["s_0", "s_1"]
    assert list(found) == ["s_7", "s_3", "s_2", "s_8", "s_5", "s_6", "s_9", "s_4", "s_0", "s_1"]


def test_ids_are_sorted_as_strings() -> None:
    ids = ["s_2", "s_10", "s_1"]
    shuffled = ["s_1", "s_10", "s_2"]
    random.Random(42).shuffle(shuffled)
    assert list(split(ids)) == shuffled


@pytest.mark.parametrize(("n", "train"), [(0, 0), (1, 0), (2, 1), (4, 3), (5, 4), (9, 7), (31, 24)])
def test_the_train_share_is_rounded_down(n: int, train: int) -> None:
    assert list(split(f"s_{number}" for number in range(n)).values()).count("train") == train


@given(st.sets(st.text(max_size=5), max_size=40), st.randoms())
def test_their_order_and_the_global_generator_do_not_matter(ids: set[str], order: random.Random) -> None:
    given_order = list(ids)
    order.shuffle(given_order)
    random.seed(len(ids))
    assert split(given_order) == split(sorted(ids))
