"""Exact Ward clustering of UNO's dual features (arXiv 2602.06470, section 3.2), with scikit-learn's partition.

Heights are scikit-learn's and scipy's: h(A, B) = sqrt(2 * rise of the within-cluster sum of squares when A and B are merged).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from math import sqrt
from typing import Literal

import numpy
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist
from threadpoolctl import ThreadpoolController

from goldsmith.errors import InvalidInput
from goldsmith.kinds.cluster import memory

Points = NDArray[numpy.float64]
Labels = NDArray[numpy.int64]

ROWS, COLUMNS = 256, 2048  # of one matrix product: 2 MB, which stay in the cache until they are in their place

ROUGH = 1e-4
"""Squared distances from products in float32 are off by 5e-7 of the largest squared length, and what is computed from them merge
by merge by 2e-6 (6,000 points of 1,536 numbers). Neighbours that are closer to each other than this are compared in float64; that
is one search in two hundred. Half of it is where float32 is trusted no more."""
ROUNDING = 1e-11
"""The same in float64: what is closer than this, only scikit-learn's own way of rounding decides as scikit-learn does."""
RIVALS = 200  # neighbours to compare; more are no accident, but points that tie


def dual_features(
    queries: NDArray[numpy.float32], rules: NDArray[numpy.float32], space: Literal["unit", "dual"] = "unit"
) -> Points:
    """`[query; rules]`, shape (n, 2d): two sessions are as far apart as their texts and their rules are, each counted half.

    In the dual space each part has length 1, as in the paper; in the unit space the whole is brought to length 1 again, as in
    UNO's code. Sums of squares in the first are twice those in the second. Zero vectors stay zero.
    """
    dual = numpy.concatenate([_unit(queries), _unit(rules)], axis=1)
    return _unit(dual) if space == "unit" else dual


def _unit(rows: NDArray[numpy.floating]) -> Points:
    rows = rows.astype(numpy.float64)
    lengths = numpy.linalg.norm(rows, axis=1, keepdims=True)
    unit: Points = numpy.divide(rows, lengths, out=numpy.zeros_like(rows), where=lengths != 0)
    return unit


def tree(points: Points, heights: Sequence[float] = ()) -> Points:
    """Every merge of n points, by rising height: shape (n - 1, 3), a member of either cluster and the height.

    Cut at one of `heights` it gives scikit-learn's partition, also of points that coincide or tie. Distances come from matrix
    products; where their rounding could decide (two clusters as near as each other, a merge at one of the heights) all is
    computed as scikit-learn does it, at its price. Takes 4 bytes for each pair of different points, 16 in that case.
    """
    points = numpy.ascontiguousarray(points, dtype=numpy.float64)
    if not numpy.isfinite(points).all():
        raise InvalidInput("the vectors to cluster: a number of them is not finite")
    if len(points) < 2:
        return numpy.empty((0, 3))
    which = _numbered(points)
    _, first, counts = numpy.unique(which, return_index=True, return_counts=True)
    repeated = numpy.setdiff1d(numpy.arange(len(points)), first)
    same = numpy.stack([first[which[repeated]], repeated, numpy.zeros(len(repeated))], axis=1)
    if len(first) == 1:
        return same
    different = points if len(first) == len(points) else points[first]
    # A second thread waits busily between products: the same took 1.6 to 3 times the CPU with two on a machine in use.
    with _blas().limit(limits=1, user_api="blas"):
        squared = _squared_distances(different.astype(numpy.float32), counts)
    longest = float(numpy.einsum("ij,ij->i", different, different).max())
    merges = _chain(squared, different * counts[:, None], counts.astype(float), longest)
    if merges is None or any(_near(merges[:, 2] ** 2, height**2, longest) for height in heights):
        return _pair_by_pair(points)
    merges[:, :2] = first[merges[:, :2].astype(int)]
    return numpy.concatenate([same, merges[merges[:, 2].argsort(kind="stable")]])


def _numbered(points: Points) -> Labels:
    """A number for each point, the same for equal ones, from 0 in the order in which they come."""
    numbers: dict[bytes, int] = {}
    return numpy.array([numbers.setdefault(sha256(point.tobytes()).digest(), len(numbers)) for point in points])


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()  # looks for the libraries: 0.1 s


def _near(squared: Points, asked: float, longest: float) -> bool:
    return bool((numpy.abs(squared - asked) <= ROUNDING * (longest + asked)).any())


def _squared_distances(points: NDArray[numpy.float32], counts: Labels) -> NDArray[numpy.float32]:
    """Squared heights at which two of the points would merge, each there `counts` times; in condensed form.

    Matrix products instead of pair by pair: 10 times less CPU at 3,752 points of 1,536 numbers, where the distances and not the
    linkage are what costs.
    """
    n = len(points)
    squares = numpy.einsum("ij,ij->i", points, points)
    condensed = numpy.empty(n * (n - 1) // 2, dtype=numpy.float32)
    repeated = counts.max() > 1
    for top in range(0, n - 1, ROWS):
        for left in range(top, n, COLUMNS):
            mine, theirs = slice(top, top + ROWS), slice(left, left + COLUMNS)
            squared = points[mine] @ points[theirs].T
            squared *= -2
            squared += squares[mine, None]
            squared += squares[None, theirs]
            if repeated:
                squared *= 2 * counts[mine, None] * counts[None, theirs] / (counts[mine, None] + counts[None, theirs])
            for offset, found in enumerate(squared):
                row = top + offset
                first = max(left, row + 1)
                at = row * (n - 1) - row * (row - 1) // 2 + first - row - 1
                condensed[at : at + left + len(found) - first] = found[first - left :]
    return numpy.maximum(condensed, 0, out=condensed)  # rounding leaves about -1e-16 between points that almost coincide


def _chain(squared: NDArray[numpy.float32], sums: Points, sizes: Points, longest: float) -> Points | None:
    """The merges, found by following nearest neighbours until two are each other's (Müllner 2011); uses up what it is given.

    `sums`: of each cluster's points; from these come all heights, and the nearest of neighbours that `squared` cannot tell apart.
    None when a cluster had two neighbours that are equally near within rounding.
    """
    n = len(sizes)
    numbers = numpy.arange(n)
    before = numbers * (n - 1) - numbers * (numbers - 1) // 2 - numbers - 1  # the pair i < j lies at before[i] + j
    live, merges = numbers, numpy.empty((n - 1, 3))
    chain: list[int] = []

    def places(one: int, others: Labels) -> Labels:
        at = int(numpy.searchsorted(others, one))
        return numpy.concatenate([before[others[:at]] + one, before[one] + others[at:]])

    def exactly(one: int, others: Labels) -> Points:
        apart = sums[one] / sizes[one] - sums[others] / sizes[others, None]
        squares: Points = 2 * sizes[one] * sizes[others] / (sizes[one] + sizes[others]) * numpy.einsum("ij,ij->i", apart, apart)
        return squares

    def between(one: int, other: int, others: Labels) -> NDArray[numpy.float32]:
        """From one cluster to the others. What the search found, if it still holds, is not read again."""
        if one not in found:
            return squared.take(places(one, others))
        return numpy.delete(found[one], int(numpy.searchsorted(live, other)) - (other > one))

    for step in range(n - 1):
        found: dict[int, NDArray[numpy.float32]] = {}  # the last two searches since the last merge
        while len(chain) < 3 or chain[-1] != chain[-3]:
            last = chain[-1] if chain else int(live[0])
            chain = chain or [last]
            others = live[live != last]
            distances = squared.take(places(last, others))
            rough = float(distances.min())
            rivals = numpy.flatnonzero(distances <= rough + ROUGH * (longest + rough))
            if len(rivals) > RIVALS:
                return None
            heights = exactly(last, others[rivals]) if len(rivals) > 1 else numpy.zeros(1)
            nearest = int(heights.argmin())
            if numpy.count_nonzero(heights <= heights[nearest] + ROUNDING * (longest + heights[nearest])) > 1:
                return None
            found = {one: found[one] for one in chain[-2:-1] if one in found} | {last: distances}
            chain.append(int(others[rivals[nearest]]))
        gone, kept = sorted(chain[-2:])
        del chain[-3:]
        height = float(exactly(gone, numpy.array([kept]))[0])
        if abs(height - rough) > ROUGH / 2 * (longest + height):  # float32 went astray further than it is trusted
            return None
        merges[step] = gone, kept, sqrt(height)
        others = live[(live != gone) & (live != kept)]
        to_gone, to_kept, theirs = between(gone, kept, others), between(kept, gone, others), sizes[others]
        squared[places(kept, others)] = (
            (theirs + sizes[gone]) * to_gone + (theirs + sizes[kept]) * to_kept - theirs * height
        ) / (theirs + sizes[gone] + sizes[kept])
        sizes[kept] += sizes[gone]
        sums[kept] += sums[gone]
        live = live[live != gone]
    return merges


def _pair_by_pair(points: Points) -> Points:
    """What scikit-learn does, bit for bit."""
    memory.check(len(points), per_pair=16)
    members = list(range(len(points)))
    found = linkage(pdist(points), "ward")
    merges = numpy.empty((len(found), 3))
    for step, (one, other, height, _) in enumerate(found):
        merges[step] = members[int(one)], members[int(other)], height
        members.append(members[int(one)])
    return merges


def cut(merges: Points, height: float) -> Labels:
    """Labels when every merge below `height` is made; one exactly at it is not (as in scikit-learn's `distance_threshold`).

    Numbered from 0 by falling size, of equals the one whose first member comes first.
    """
    n = len(merges) + 1
    made = merges[merges[:, 2] < height]
    ends = made[:, :2].astype(int).T
    _, found = connected_components(coo_array((numpy.ones(len(made)), (ends[0], ends[1])), shape=(n, n)), directed=False)
    _, first, inverse, sizes = numpy.unique(found, return_index=True, return_inverse=True, return_counts=True)
    rank = numpy.empty(len(sizes), dtype=numpy.int64)
    rank[numpy.lexsort((first, -sizes))] = numpy.arange(len(sizes))
    labels: Labels = rank[inverse]
    return labels


def height_of(delta_sse: float) -> float:
    """The height at which merging raises the within-cluster sum of squares by `delta_sse`."""
    return sqrt(2 * delta_sse)


def perturbed(points: Points, by: float = 0.001, seed: int = 0) -> Points:
    """Every point moved by the share `by` of its length, in a random direction."""
    noise = numpy.random.default_rng(seed).standard_normal(points.shape)
    noise *= by * numpy.linalg.norm(points, axis=1, keepdims=True) / numpy.linalg.norm(noise, axis=1, keepdims=True)
    noise += points
    return noise
