"""Which sessions train and which are held out: the split of UNO's reference code, so that runs of both can be compared."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal

Split = Literal["train", "heldout"]

SEED = 42
TRAIN = 0.8


def split(ids: Iterable[str]) -> dict[str, Split]:
    """Of each id its split: sorted as strings, shuffled with seed 42, the first int(0.8 n) train. Their order does not matter."""
    shuffled = sorted(set(ids))
    random.Random(SEED).shuffle(shuffled)  # noqa: S311 - reproducible on purpose
    train = int(TRAIN * len(shuffled))
    return {one: "train" if place < train else "heldout" for place, one in enumerate(shuffled)}
