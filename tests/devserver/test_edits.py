from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from goldsmith.devserver.edits import edit_distance


def table(before: str, after: str) -> int:
    """The textbook's way."""
    row = list(range(len(after) + 1))
    for i, left in enumerate(before, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(after, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]


@given(st.text("abä ", max_size=40), st.text("abä ", max_size=40))
def test_the_distance_is_that_of_the_textbook(before: str, after: str) -> None:
    assert edit_distance(before, after) == table(before, after)


def test_a_word_that_was_changed_counts_its_letters() -> None:
    assert edit_distance("Der Fuchs ist Garn.", "Der Fuchs ist rotes Garn.") == 6
    assert edit_distance("", "abc") == edit_distance("abc", "") == 3
    assert edit_distance("a" * 5000, "a" * 5000) == 0
