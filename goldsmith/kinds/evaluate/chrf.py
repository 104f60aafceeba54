"""chrF of one answer against a reference: how many short pieces of text they share, whatever the words.

Popović 2015 with characters only, up to six of them, and recall worth twice as much as precision (chrF2). The numbers are
those of sacrebleu 2.6.0 with its defaults, divided by 100.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

ORDER = 6
BETA_SQUARED = 4


def chrf(references: Sequence[str], candidate: str) -> float:
    """0 to 1, against the reference that it is nearest to."""
    return max(_chrf(_grams(reference), _grams(candidate)) for reference in references)


def _grams(text: str) -> list[Counter[str]]:
    letters = "".join(text.split())
    return [Counter(letters[at : at + n] for at in range(len(letters) - n + 1)) for n in range(1, ORDER + 1)]


def _chrf(reference: Sequence[Counter[str]], candidate: Sequence[Counter[str]]) -> float:
    # An order that one of them is too short for says nothing.
    orders = [(r, c, (r & c).total()) for r, c in zip(reference, candidate, strict=True) if r and c]
    if not any(shared for _, _, shared in orders):
        return 0.0
    precision = sum(shared / c.total() for _, c, shared in orders) / len(orders)
    recall = sum(shared / r.total() for r, _, shared in orders) / len(orders)
    return (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
