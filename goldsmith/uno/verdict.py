"""Whether an adapter beats the base model on the same items: win rate with ties half, which epoch, and how sure that is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy

from goldsmith.uno.bleu import Tokenize, bleu4, tokens

LENGTH_MIN = 0.1
"""Of the base model's characters: a shorter answer cannot win."""

Bar = Literal["length", "bleu"]


@dataclass(frozen=True)
class Point:
    """What one item gives an adapter."""

    points: float
    """1 for a win, 0.5 for a tie, 0 for a loss and for an answer that is barred."""
    barred: Bar | None = None
    bleu: float | None = None
    """Against the base model's answer; None where it was too short for that."""


def point(
    base: str,
    answer: str,
    base_score: float,
    score: float | None,
    *,
    bleu_min: float,
    length_min: float = LENGTH_MIN,
    tokenize: Tokenize = tokens,
) -> Point:
    """An answer that is far shorter than the base model's, or has next to nothing of it, cannot win, nor can one that no judge
    could grade (score None). It stays in the number of items."""
    base, answer = base.strip(), answer.strip()
    if len(answer) < length_min * len(base):
        return Point(0.0, "length")
    bleu = bleu4(base, answer, tokenize)
    if bleu <= bleu_min:
        return Point(0.0, "bleu", bleu)
    if score is None or score < base_score:
        return Point(0.0, None, bleu)
    return Point(1.0 if score > base_score else 0.5, None, bleu)


def win_rate(points: Sequence[float]) -> float:
    """Of the items' points, barred ones (0) among them; 0 where there is no item."""
    return sum(points) / len(points) if points else 0.0


def best(rates: Sequence[float]) -> int | None:
    """The place of the highest rate, of equals the earliest; None where nothing was won at all."""
    place = max(range(len(rates)), key=rates.__getitem__, default=None)
    return place if place is not None and rates[place] > 0 else None


def halves(groups: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Rows to choose an epoch on, and rows to gate it on: no group in both, the second never the smaller by more than a group."""
    order = sorted(set(groups))
    random.Random(seed).shuffle(order)  # noqa: S311 - reproducible on purpose
    members = {group: [row for row, one in enumerate(groups) if one == group] for group in order}
    choose: list[int] = []
    gate: list[int] = []
    for group in order:
        (choose if len(choose) < len(gate) else gate).extend(members[group])
    return sorted(choose), sorted(gate)


def lower_bound(points: float, n: int, confidence: float) -> float:
    """Of the win rate: with this confidence it is not lower, whatever share of items is tied.

    Of `n` independent items `points` were won, ties half. It is the smallest rate p of which so many points or more are not too
    improbable: sup over the tie rate of P(points or more | p) > 1 - confidence. That is Buehler's bound (1957; Lloyd and Kabaila
    2003, Aust. N. Z. J. Stat. 45), the highest of all valid ones that rise with the points; without ties it is Clopper and
    Pearson's (1934). A tie spreads less than a win and a loss, so the supremum stands at few ties, and the bound is cautious
    where there are many.
    """
    if points <= 0:
        return 0.0
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _at_least(points, n, middle) <= 1 - confidence else (low, middle)
    return low


def interval(points: float, n: int, confidence: float) -> tuple[float, float]:
    """Two-sided: half of what may go wrong on either side."""
    one_sided = (1 + confidence) / 2
    return lower_bound(points, n, one_sided), 1 - lower_bound(n - points, n, one_sided)


def needed(n: int, rate: float, confidence: float) -> float | None:
    """The fewest points of `n` whose lower bound reaches the rate; None: not even all of them."""
    enough = (half / 2 for half in range(2 * n + 1) if half > 2 * n * rate)
    return next((points for points in enough if _at_least(points, n, rate) <= 1 - confidence), None)


_SHARES = (
    numpy.linspace(0, 1, 97) ** 2
)  # of the most ties there can be; dense near none, where the supremum of half points stands


def _at_least(points: float, n: int, rate: float) -> float:
    """The highest probability, over all tie rates, of so many points or more from `n` items at this win rate."""
    if not 0 < rate < 1:
        return float(rate >= 1 or points <= 0)
    ties = _SHARES[:, None] * 2 * min(rate, 1 - rate)
    wins, losses = rate - ties / 2, 1 - rate - ties / 2
    # In half points an item is a polynomial, n items its n-th power; its coefficients come back from the roots of unity.
    width = 2 * n + 1
    roots = numpy.exp(-2j * numpy.pi * numpy.arange(width) / width)
    chances = numpy.fft.ifft((losses + ties * roots + wins * roots**2) ** n, axis=1).real
    return float(chances[:, round(2 * points) :].sum(axis=1).max())
