from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.uno.centroids import means, moved_on, nearest


def vectors(*rows: tuple[float, ...]) -> numpy.ndarray:
    return numpy.array(rows, dtype=numpy.float32)


def test_a_centroid_is_the_mean_and_is_not_brought_to_length_one() -> None:
    found = means(vectors((1, 0), (0, 1), (-1, 0)), numpy.array([0, 0, 1]))
    assert found.tolist() == [[0.5, 0.5], [-1, 0]]
    assert numpy.linalg.norm(found[0]) == pytest.approx(0.5**0.5)


def test_the_nearest_and_of_equals_the_first() -> None:
    assert nearest(vectors((1, 0), (0, 1)), vectors((0, 1), (0, 1), (1, 0))).tolist() == [2, 0]


def test_two_queries_are_added_one_after_the_other() -> None:
    centroids, sizes = vectors((0.5, 0.5), (-1, 0)), numpy.array([2, 1])
    found = moved_on(centroids, sizes, vectors((1, 0), (0, 1)), numpy.array([0, 0]))
    # (0.5 * 2 + 1) / 3 = 2/3, (2/3 * 3 + 0) / 4 = 0.5; 1/3, then (1 + 1) / 4
    assert found == pytest.approx(vectors((0.5, 0.5), (-1, 0)))
    assert sizes.tolist() == [2, 1]  # what was given stays


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(-1, 1, width=32)), min_size=1, max_size=30), st.integers(1, 29))
def test_adding_later_gives_the_same_mean_as_all_at_once(each: list[tuple[int, float]], first: int) -> None:
    each = [(label, 0.0) for label in range(3)] + each
    labels, queries = numpy.array([label for label, _ in each]), vectors(*((value, 1.0) for _, value in each))
    cut = min(len(each), 3 + first)
    before = means(queries[:cut], labels[:cut])
    found = moved_on(before, numpy.bincount(labels[:cut], minlength=3), queries[cut:], labels[cut:])
    assert numpy.allclose(found, means(queries, labels), atol=1e-5)
