"""How far held-out queries are from the centroids, so that an outlier distance can be judged or chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

from goldsmith.kinds.router.schema import Calibration
from goldsmith.uno.route import OUTLIER_DISTANCE
from goldsmith.uno.split import split

SHARES = (0.01, 0.05, 0.1)


def heldout_distances(
    queries: NDArray[numpy.float32], labels: Sequence[int], sessions: Sequence[str]
) -> NDArray[numpy.float64]:
    """From each held-out query to the nearest of the centroids that the others make.

    A fifth of each cluster is held out, split as for training. Of a cluster of one session nothing would be left: it is
    not measured, nor is its centroid among the others.
    """
    centroids, measured = [], list[int]()
    for label in sorted(set(labels)):
        rows = [int(row) for row in numpy.flatnonzero(numpy.asarray(labels) == label)]
        splits = split(sessions[row] for row in rows)
        train = [row for row in rows if splits[sessions[row]] == "train"]
        if train:
            centroids.append(queries[train].astype(numpy.float64).mean(axis=0))
            measured += [row for row in rows if splits[sessions[row]] == "heldout"]
    if not measured:
        return numpy.empty(0)
    made = numpy.stack(centroids)
    return numpy.array([numpy.linalg.norm(made - queries[row], axis=1).min() for row in measured])


def distance_for(distances: NDArray[numpy.float64], share: float) -> float:
    """The smallest of the measured distances that at most this share of them is beyond."""
    falling = numpy.sort(distances)[::-1]
    return float(falling[int(share * len(falling))])


def report(distances: NDArray[numpy.float64], used: float) -> Calibration:
    if not len(distances):
        return Calibration(
            queries=0, median=None, farthest=None, share_beyond=None, share_beyond_default=None, distance_for_share={}
        )
    return Calibration(
        queries=len(distances),
        median=float(numpy.median(distances)),
        farthest=float(distances.max()),
        share_beyond=float((distances > used).mean()),
        share_beyond_default=float((distances > OUTLIER_DISTANCE).mean()),
        distance_for_share={f"{share:g}": distance_for(distances, share) for share in SHARES},
    )
