"""Which arm a unit gets: pure functions of salt, unit and weights, the same on every machine. docs/assignment.md has test vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

BUCKETS = 10_000
BASE = "base"


def bucket(salt: str, unit: str) -> int:
    """0 to 9,999: the first eight bytes of sha256(salt + newline + unit) as a big-endian number, modulo 10,000."""
    digest = hashlib.sha256(f"{salt}\n{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


def group_salt(group: str) -> str:
    """What takes the salt's place where a group's experiments share out its units among them."""
    return hashlib.sha256(f"group:{group}".encode()).hexdigest()


def regions(widest: Mapping[str, float]) -> dict[str, range]:
    """The buckets that each arm but `base` may ever hold: as many as its largest weight asks for, from 0 upward in this order."""
    found, start = {}, 0
    for name, weight in widest.items():
        if name != BASE:
            end = min(BUCKETS, start + round(weight * BUCKETS))
            found[name], start = range(start, end), end
    return found


def held(widest: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, range]:
    """The buckets that each arm but `base` holds at these weights: the first of its region. `base` holds all others.

    An arm that grows takes buckets from `base` alone, so no unit ever moves from one arm to another, nor back to `base`.
    """
    return {name: region[: round(weights[name] * BUCKETS)] for name, region in regions(widest).items()}


def arm_of(number: int, holding: Mapping[str, range]) -> str:
    """The arm that holds this bucket."""
    return next((name for name, buckets in holding.items() if number in buckets), BASE)
