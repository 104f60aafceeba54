from __future__ import annotations

from pathlib import Path

import numpy
import psutil
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import AgglomerativeClustering

from goldsmith.errors import InvalidInput
from goldsmith.kinds.cluster import ward

points_of = st.builds(
    lambda seed, n, d, doubles: numpy.concatenate([rows := numpy.random.default_rng(seed).normal(size=(n, d)), rows[:doubles]]),
    st.integers(0, 10**6),
    st.integers(2, 60),
    st.integers(1, 8),
    st.integers(0, 3),
)


def as_partition(labels: numpy.ndarray) -> set[frozenset[int]]:
    return {frozenset(numpy.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


@settings(max_examples=150, deadline=None)
@given(points_of, st.floats(0.05, 12))
def test_the_cut_gives_the_same_partition_as_scikit_learn(points: numpy.ndarray, height: float) -> None:
    merges = ward.tree(points)
    assume(abs(merges[:, 2] - height).min() > 1e-6)  # nearer than rounding, either answer is right
    reference = AgglomerativeClustering(n_clusters=None, distance_threshold=height, linkage="ward").fit(points)
    labels = ward.cut(merges, height)
    assert as_partition(labels) == as_partition(reference.labels_)


@settings(max_examples=50, deadline=None)
@given(points_of)
def test_heights_are_those_of_scipy(points: numpy.ndarray) -> None:
    assert numpy.allclose(ward.tree(points)[:, 2], linkage(points, "ward")[:, 2], atol=1e-6)


def test_more_points_than_a_block_of_distances_make_the_same_tree() -> None:
    points = numpy.random.default_rng(3).normal(size=(2 * ward.BLOCK + 7, 20))
    assert numpy.allclose(ward.tree(points)[:, 2], linkage(points, "ward")[:, 2], atol=1e-9)


def test_a_merge_exactly_at_the_threshold_is_not_made() -> None:
    merges = ward.tree(numpy.eye(2))
    height = float(merges[0, 2])
    reference = AgglomerativeClustering(n_clusters=None, distance_threshold=height, linkage="ward").fit(numpy.eye(2))
    assert reference.n_clusters_ == 2
    assert ward.cut(merges, height).tolist() == [0, 1]
    assert ward.cut(merges, float(numpy.nextafter(height, 9))).tolist() == [0, 0]


def test_the_height_says_by_how_much_a_merge_raises_the_sum_of_squares() -> None:
    points = numpy.random.default_rng(0).normal(size=(30, 4))
    merges = ward.tree(points)
    total = ((points - points.mean(axis=0)) ** 2).sum()
    assert (merges[:, 2] ** 2 / 2).sum() == pytest.approx(total)
    assert ward.height_of(8.0) == 4.0


def test_labels_count_from_the_largest_cluster() -> None:
    points = numpy.array([[9.0], [0.0], [0.1], [5.0], [0.2], [5.1]])
    assert ward.cut(ward.tree(points), 1.0).tolist() == [2, 0, 0, 1, 0, 1]


def test_one_point_is_one_cluster() -> None:
    assert ward.cut(ward.tree(numpy.ones((1, 4))), 4.0).tolist() == [0]


def test_dual_features_have_length_one_and_count_both_parts_half() -> None:
    queries = numpy.array([[3.0, 4.0], [0.0, 2.0]], dtype=numpy.float32)
    rules = numpy.array([[0.0, 10.0], [0.0, 0.0]], dtype=numpy.float32)
    dual = ward.dual_features(queries, rules)
    assert numpy.allclose(dual[0], numpy.array([0.6, 0.8, 0, 1]) / numpy.sqrt(2))
    assert numpy.allclose(dual[1], [0, 1, 0, 0])


def test_a_perturbation_moves_each_point_by_its_share() -> None:
    points = numpy.random.default_rng(1).normal(size=(50, 768))
    moved = numpy.linalg.norm(ward.perturbed(points, by=0.001) - points, axis=1) / numpy.linalg.norm(points, axis=1)
    assert numpy.allclose(moved, 0.001)


def test_what_does_not_fit_into_memory_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ward, "free_memory", lambda: 10**9)
    ward.check_memory(10_000)
    with pytest.raises(InvalidInput, match=r"20,000 sessions need 1\.7 GB for their distances and 1\.0 GB are free"):
        ward.check_memory(20_000)


def test_free_memory_is_what_the_machine_has_or_what_the_container_may_still_take(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert ward.free_memory(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\nfile 1500000\ninactive_file 1400000\n")
    assert ward.free_memory(tmp_path) == 3_000_000 - 1_100_000
