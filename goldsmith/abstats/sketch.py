"""Reads sketches: how varied the outputs of an arm are, and which of them are nearly the same. Form: `goldsmith.client.sketch`."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BUCKETS = 256
BINS = 64
BYTES = BUCKETS + 2 * BINS
CHARACTERS = BYTES * 4 // 3
EMPTY = 0xFFFF
NEAR_DUPLICATE = 0.5  # of 2,016 pairs of different workshop texts the most similar has 0.13; a text with a tenth of its words changed has 0.58 to 0.9

Counts = NDArray[np.int64]
Minima = NDArray[np.int64]


def from_text(sketch: str) -> bytes:
    """The 384 bytes of a sketch as it is sent."""
    return base64.urlsafe_b64decode(sketch)


def decode(sketches: Sequence[bytes]) -> tuple[Counts, Minima]:
    """One row a sketch: how many words fell into each of 256 buckets, and the smallest hash of a pair of words in each of 64 bins."""
    raw = np.frombuffer(b"".join(sketches), dtype=np.uint8).reshape(len(sketches), BYTES)
    minima = np.ascontiguousarray(raw[:, BUCKETS:]).view(">u2")
    return raw[:, :BUCKETS].astype(np.int64), minima.astype(np.int64)


def entropy(counts: Counts) -> float:
    """Shannon entropy in bits of all these words over the buckets: 0 to 8. 0 where there are none."""
    total = counts.reshape(-1, BUCKETS).sum(axis=0)
    if not total.sum():
        return 0.0
    share = total[total > 0] / total.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0


def similarity(first: Minima, second: Minima) -> NDArray[np.float64]:
    """Jaccard similarity of the pairs of words of two outputs, estimated to ± 0.06; 0 where one of them has none."""
    either = (first != EMPTY) | (second != EMPTY)
    same = (first == second) & (first != EMPTY)
    return np.asarray(same.sum(axis=-1) / np.maximum(either.sum(axis=-1), 1), dtype=np.float64)


def distinct(minima: Minima) -> float:
    """How many different pairs of words these outputs have together, estimated to ± 13 %."""
    smallest = minima.reshape(-1, BINS).min(axis=0, initial=EMPTY)
    empty = int((smallest == EMPTY).sum())
    if empty:  # few: the number of bins that were hit says more than the minima
        return float(BINS * np.log(BINS / empty)) if empty < BINS else 0.0
    return float(BINS * (BINS - 1) / ((smallest + 0.5) / 2**16).sum())


def distinct_share(counts: Counts, minima: Minima) -> float | None:
    """distinct-2: different pairs of words among all pairs of words. `None` where there are no pairs."""
    words = counts.reshape(-1, BUCKETS).sum(axis=1)
    pairs = int(np.maximum(words - 1, 0).sum())
    return min(1.0, distinct(minima) / pairs) if pairs else None


def near_duplicates(minima: Minima, window: int = 50) -> float | None:
    """Share of outputs that are nearly the same as one of the `window` before them. `None` with fewer than two."""
    if len(minima) < 2:
        return None
    repeated = np.zeros(len(minima), dtype=bool)
    for back in range(1, min(window, len(minima) - 1) + 1):
        repeated[back:] |= similarity(minima[back:], minima[:-back]) >= NEAR_DUPLICATE
    return float(repeated.mean())
