from __future__ import annotations

import pytest

from goldsmith.uno.candidates import EQUAL, NO_CANDIDATE, NO_GAIN, NO_GRADE, best_candidate, is_error, preferred


@pytest.mark.parametrize(
    ("scores", "best"),
    [([3, 9, 9, 1], 1), ([None, 0.5], 1), ([None, None], 0), ([0, None], 0), ([7.0, 7, 7.5, 7.5], 2), ([], None)],
)
def test_the_highest_grade_and_of_equals_the_first(scores: list[float | None], best: int | None) -> None:
    assert best_candidate(scores) == best


@pytest.mark.parametrize(
    ("text", "error"), [("", True), (" \n", True), ("error", True), (" Error: 429", True), ("No error.", False)]
)
def test_what_a_failed_call_left(text: str, error: bool) -> None:
    assert is_error(text) is error


@pytest.mark.parametrize(
    ("candidates", "logged_score", "gain", "expected"),
    [
        ([("error: x", 10.0), ("a", 6.0), ("b", 8.0)], 5.0, True, (2, None)),
        ([("", 10.0)], 5.0, False, (None, NO_CANDIDATE)),
        ([("a", 5.0)], 5.0, True, (None, NO_GAIN)),
        ([("a", 5.0)], 5.0, False, (0, None)),
        ([("a", 1.0)], None, False, (0, None)),
        ([("a", None)], None, True, (None, NO_GRADE)),
        ([("old  answer", 9.0), ("a", 9.0)], 5.0, False, (None, EQUAL)),
    ],
)
def test_what_is_preferred_to_the_logged_answer(
    candidates: list[tuple[str, float | None]], logged_score: float | None, gain: bool, expected: tuple[int | None, str | None]
) -> None:
    assert preferred(candidates, "old answer", logged_score, require_gain=gain) == expected
