"""Which revised answer is preferred to the logged one, if any: plain texts and grades."""

from __future__ import annotations

from collections.abc import Sequence

NO_CANDIDATE, NO_GRADE = "no revised answer could be used", "no revised answer could be graded"
EQUAL, NO_GAIN = "the revised answer equals the logged one", "no revised answer beats the logged one"


def is_error(text: str) -> bool:
    """Whether nothing can be learned from it: empty, or what a failed call left in a log."""
    return not text.strip() or text.strip().casefold().startswith("error")


def best_candidate(scores: Sequence[float | None]) -> int | None:
    """The place of the highest grade, of equals the first; one that could not be graded (None) counts as 0. None: there is none."""
    return max(range(len(scores)), key=lambda place: scores[place] or 0.0, default=None)


def preferred(
    candidates: Sequence[tuple[str, float | None]],
    logged: str,
    logged_score: float | None,
    *,
    require_gain: bool,
    keep_equal: bool = False,
) -> tuple[int | None, str | None]:
    """The place of the candidate (text, grade) that is chosen over the logged answer; or None and the reason why there is no pair.

    Candidates that are empty or an error are passed over, and the same text again makes no pair but with `keep_equal`. With
    `require_gain` the best must have a higher grade than the logged answer; without, as in the reference, the logged answer's
    grade does not matter.
    """
    usable = [place for place, (text, _) in enumerate(candidates) if not is_error(text)]
    if not usable:
        return None, NO_CANDIDATE
    if require_gain:
        usable = [place for place in usable if candidates[place][1] is not None]
    best = best_candidate([candidates[place][1] for place in usable])
    if best is None:
        return None, NO_GRADE
    text, score = candidates[usable[best]]
    if text.split() == logged.split() and not keep_equal:
        return None, EQUAL
    if require_gain and (logged_score is None or (score or 0.0) <= logged_score):
        return None, NO_GAIN
    return usable[best], None
