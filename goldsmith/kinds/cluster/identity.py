"""What a cluster is called, so that it is known again in the next clustering."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

SAME = 0.5
"""Share of the sessions of either that both have, from which on two clusters are one: of a cluster that falls apart into two
halves neither is it."""


def name(members: Collection[str]) -> str:
    """Of a cluster that nobody knew before: the same for the same sessions."""
    return "c" + hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest()[:8]


def by_members(new: Sequence[Collection[str]], old: Mapping[str, Collection[str]]) -> dict[int, str] | None:
    """Which new cluster is which old one: each at most once, by the sessions that both clusterings have. None: they share none."""
    ids = list(old)
    both = set().union(*new) & set().union(*old.values())
    if not both:
        return None
    overlap = numpy.zeros((len(new), len(ids)))
    for row, members in enumerate(new):
        mine = both & set(members)
        for column, cluster_id in enumerate(ids):
            theirs = both & set(old[cluster_id])
            overlap[row, column] = len(mine & theirs) / max(1, len(mine | theirs))
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    return {int(row): ids[column] for row, column in zip(rows, columns, strict=True) if overlap[row, column] >= SAME}


def by_centroids(new: NDArray[numpy.float32], old: NDArray[numpy.float32], ids: Sequence[str]) -> dict[int, str]:
    """The same where no session is in both: two that are each other's nearest, and nearer than half the way to another old one."""
    distances = numpy.linalg.norm(new[:, None] - old[None], axis=2)
    between = numpy.linalg.norm(old[:, None] - old[None], axis=2) + numpy.diag(numpy.full(len(old), numpy.inf))
    found = {}
    for row, nearest in enumerate(distances.argmin(axis=1)):
        distance = distances[row, nearest]
        if distances[:, nearest].argmin() == row and distance < between[nearest].min() / 2:
            found[row] = ids[nearest]
    return found
