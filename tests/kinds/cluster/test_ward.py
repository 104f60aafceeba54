from __future__ import annotations

from pathlib import Path
from random import Random

import numpy
import psutil
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import AgglomerativeClustering

from goldsmith.errors import InvalidInput
from goldsmith.kinds.cluster import memory, ward
from goldsmith.kinds.cluster.schema import DELTA_SSE

spread = st.builds(
    lambda seed, n, d, doubles: numpy.concatenate([rows := numpy.random.default_rng(seed).normal(size=(n, d)), rows[:doubles]]),
    st.integers(0, 10**6),
    st.integers(2, 60),
    st.integers(1, 8),
    st.integers(0, 3),
)


def on_a_grid(seed: int, n: int, d: int, values: int) -> numpy.ndarray:
    """Points that coincide and tie: few texts with few lists of rules."""
    rng = numpy.random.default_rng(seed)
    texts, rules = rng.normal(size=(values, d)), rng.normal(size=(values, d))
    return numpy.concatenate([texts[rng.integers(values, size=n)], rules[rng.integers(values, size=n)]], axis=1)


def lattice(seed: int, n: int, d: int, values: int) -> numpy.ndarray:
    points = numpy.random.default_rng(seed).integers(values, size=(n, d)).astype(float)
    points[:: values + 1] = 0
    return points


tied = st.builds(
    lambda make, *more: make(*more),
    st.sampled_from([on_a_grid, lattice]),
    st.integers(0, 10**6),
    st.integers(2, 40),
    st.integers(1, 5),
    st.integers(1, 4),
)
heights_of = st.one_of(st.floats(0.05, 12), st.sampled_from([1.0, 2.0, 3.0, 4.0, 2**0.5, 3**0.5]))


def as_partition(labels: numpy.ndarray) -> set[frozenset[int]]:
    return {frozenset(numpy.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


def partition_of_scikit_learn(points: numpy.ndarray, height: float) -> set[frozenset[int]]:
    return as_partition(AgglomerativeClustering(n_clusters=None, distance_threshold=height, linkage="ward").fit(points).labels_)


@settings(max_examples=150, deadline=None)
@given(st.one_of(spread, tied), heights_of)
def test_the_cut_gives_the_same_partition_as_scikit_learn_also_where_points_tie(points: numpy.ndarray, height: float) -> None:
    assert as_partition(ward.cut(ward.tree(points, [height]), height)) == partition_of_scikit_learn(points, height)


@settings(max_examples=50, deadline=None)
@given(spread, st.data())
def test_a_cut_exactly_at_a_merge_is_decided_as_scikit_learn_does(points: numpy.ndarray, data: st.DataObject) -> None:
    height = float(data.draw(st.sampled_from(linkage(points, "ward")[:, 2].tolist())))
    assume(height > 0)
    assert as_partition(ward.cut(ward.tree(points, [height]), height)) == partition_of_scikit_learn(points, height)


@settings(max_examples=50, deadline=None)
@given(spread)
def test_heights_are_those_of_scipy(points: numpy.ndarray) -> None:
    assert numpy.allclose(ward.tree(points)[:, 2], linkage(points, "ward")[:, 2], atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(spread, st.floats(0.05, 12), st.randoms(use_true_random=False))
def test_the_order_of_points_changes_no_cluster(points: numpy.ndarray, height: float, random: Random) -> None:
    order = list(range(len(points)))
    random.shuffle(order)
    moved = ward.cut(ward.tree(points[order], [height]), height)
    there = numpy.empty_like(moved)
    there[order] = moved
    assert as_partition(there) == as_partition(ward.cut(ward.tree(points, [height]), height))


@settings(max_examples=30, deadline=None)
@given(spread, st.floats(0.05, 12), st.sampled_from([0.125, 0.5, 4.0, 32.0]))
def test_scaling_points_and_height_changes_nothing(points: numpy.ndarray, height: float, factor: float) -> None:
    labels = ward.cut(ward.tree(points, [height]), height)
    assert ward.cut(ward.tree(factor * points, [factor * height]), factor * height).tolist() == labels.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(0, 10**6))
def test_fewer_than_eight_sessions_are_one_cluster_at_the_default(n: int, seed: int) -> None:
    rng = numpy.random.default_rng(seed)
    for space in ("unit", "dual"):
        points = ward.dual_features(rng.normal(size=(n, 6)), rng.normal(size=(n, 6)), space)
        height = ward.height_of(DELTA_SSE[space])
        assert set(ward.cut(ward.tree(points, [height]), height)) == {0}


def test_matrix_products_are_used_unless_their_rounding_could_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    points = numpy.random.default_rng(3).normal(size=(ward.COLUMNS + ward.ROWS + 7, 20))
    points[5:40] = points[4]
    asked: list[int] = []
    slow = ward._pair_by_pair
    monkeypatch.setattr(ward, "_pair_by_pair", lambda points: (asked.append(len(points)), slow(points))[1])
    fast = ward.tree(points, [6.0])
    assert asked == []
    assert numpy.allclose(fast[:, 2], linkage(points, "ward")[:, 2], atol=1e-9)
    for height in (2.0, 6.0, 12.0):
        assert as_partition(ward.cut(fast, height)) == partition_of_scikit_learn(points, height)
    ward.tree(points, [float(fast[-3, 2]) * (1 + 1e-13)])
    ward.tree(lattice(0, 20, 2, 3))
    assert asked == [len(points), 20]


def test_a_merge_exactly_at_the_threshold_is_not_made() -> None:
    height = 2**0.5
    merges = ward.tree(numpy.eye(2), [height])
    assert merges[0, 2] == height
    assert ward.cut(merges, height).tolist() == [0, 1]
    assert ward.cut(merges, float(numpy.nextafter(height, 9))).tolist() == [0, 0]


def test_vectors_that_are_not_finite_are_refused() -> None:
    points = numpy.eye(4)
    points[2, 1] = numpy.nan
    with pytest.raises(InvalidInput, match="not finite"):
        ward.tree(points)


@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf])
def test_a_vector_that_is_not_finite_does_not_become_a_zero_vector(bad: float) -> None:
    queries, rules = numpy.eye(3, dtype=numpy.float32), numpy.eye(3, dtype=numpy.float32)
    rules[1, 1] = bad
    for space in ("unit", "dual"):
        with numpy.errstate(invalid="ignore"), pytest.raises(InvalidInput, match="not finite"):
            ward.tree(ward.dual_features(queries, rules, space))


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
    assert numpy.allclose(ward.dual_features(queries, rules, "dual"), [[0.6, 0.8, 0, 1], [0, 1, 0, 0]])
    assert not ward.dual_features(0 * queries, 0 * rules).any()


def test_a_perturbation_moves_each_point_by_its_share() -> None:
    points = numpy.random.default_rng(1).normal(size=(50, 768))
    moved = numpy.linalg.norm(ward.perturbed(points, by=0.001) - points, axis=1) / numpy.linalg.norm(points, axis=1)
    assert numpy.allclose(moved, 0.001)


def test_what_does_not_fit_into_memory_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 10**9)
    memory.check(20_000)
    with pytest.raises(
        InvalidInput, match=r"30,000 sessions need 1\.8 GB .* 1\.0 GB are free: about 21,213 sessions would fit"
    ):
        memory.check(30_000)
    with pytest.raises(InvalidInput, match=r"about 10,607 sessions would fit"):
        memory.check(11_000, per_pair=16)


def test_free_memory_is_what_the_machine_has_or_what_the_container_may_still_take(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\nfile 1500000\ninactive_file 1400000\n")
    assert memory.free_memory(tmp_path) == 3_000_000 - 1_100_000
