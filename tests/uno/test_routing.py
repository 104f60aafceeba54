"""Routing equals distances measured one by one, and the path of a cluster is what a hand would choose."""

from __future__ import annotations

import io
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from goldsmith.errors import Conflict, GoldsmithError, InvalidInput
from goldsmith.uno.centroids import Centroids, read_centroids
from goldsmith.uno.route import Leg, RoutingTable, choose_path


def table(vectors: Any, *, outlier_distance: float = 1.2, legs: list[Leg] | None = None) -> RoutingTable:
    rows = numpy.asarray(vectors, dtype=numpy.float32)
    ids = [f"c{number}" for number in range(len(rows))]
    legs = legs or [Leg(number, one, 30, "base", "a test") for number, one in enumerate(ids)]
    return RoutingTable("job:test", legs, Centroids(rows, ids, "minilm"), outlier_distance)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 300), st.sampled_from([1e-3, 1.0, 50.0]))
def test_the_decision_is_that_of_distances_measured_one_by_one(seed: int, clusters: int, size: int, scale: float) -> None:
    random = numpy.random.default_rng(seed)
    rows = (random.normal(size=(clusters, size)) * scale).astype(numpy.float32)
    rows[random.integers(clusters)] = rows[0]  # a double
    rows[-1] = rows[0] + 1e-6  # a near one
    query = random.normal(size=size)
    found = table(rows).decide(query)
    measured = cdist([query / numpy.linalg.norm(query)], rows.astype(numpy.float64))[0]
    assert found.distance == pytest.approx(measured.min(), abs=1e-12)
    assert measured[found.label] == pytest.approx(measured.min(), abs=1e-12)
    assert found.second_distance == (pytest.approx(numpy.sort(measured)[1], abs=1e-12) if clusters > 1 else None)


def test_of_equally_near_centroids_the_lowest_label_is_taken() -> None:
    assert table([[0, 1], [0.5, 0.5], [0.5, 0.5]]).decide([1, 1]).label == 1


def test_a_query_at_the_outlier_distance_is_none_and_one_beyond_it_is() -> None:
    at = table([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]], outlier_distance=1.0)
    assert not at.decide([0, 2, 0]).outlier  # its direction counts, not its length: exactly 1 from the first
    found = table([[0.0, -0.25, 0.0]], outlier_distance=1.2).decide([0, 1, 0])
    assert (found.outlier, found.distance, found.path, found.cluster_id) == (True, 1.25, "base", "c0")


def test_an_outlier_gets_no_adapter_and_the_others_their_legs() -> None:
    legs = [
        Leg(0, "c0", 40, "primary", "", expert="adapter:e@1", critic="adapter:k@1"),
        Leg(1, "c1", 40, "reflective", "", expert="adapter:e@2", critic="adapter:k@2"),
    ]
    found = table([[0.5, 0.0], [0.0, 0.5]], legs=legs)
    decisions = [found.decide(query) for query in ([1, 0], [0, 1], [-1, -1])]
    assert [(one.path, one.adapter, one.critic) for one in decisions] == [
        ("primary", "adapter:e@1", None),
        ("reflective", None, "adapter:k@2"),
        ("base", None, None),
    ]
    assert decisions[2].outlier
    assert "1.2" in decisions[2].why


@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_very_long_and_very_short_vectors_have_their_direction(factor: float) -> None:
    assert table([[1, 0], [0, 1]]).decide(numpy.array([1.0, 2.0]) * factor).label == 1


@pytest.mark.parametrize(
    ("vector", "error", "says"),
    [
        ([1.0, 2.0, 3.0], Conflict, "3 numbers; the router's centroids have 2"),
        ([1.0, float("nan")], InvalidInput, "number 1 is not finite"),
        ([float("inf"), 0.0], InvalidInput, "number 0 is not finite"),
        ([0.0, 0.0], InvalidInput, "length 0"),
        ([[1.0, 2.0]], InvalidInput, "one row"),
        (["a", "b"], InvalidInput, "numbers"),
    ],
)
def test_what_is_no_vector_of_this_router_is_refused_in_words(vector: Any, error: type[GoldsmithError], says: str) -> None:
    with pytest.raises(error, match=says):
        table([[1, 0], [0, 1]]).decide(vector)


E_, K = "adapter:expert@1", "adapter:critic@1"


@pytest.mark.parametrize(
    ("status", "gap", "passed", "expert", "critic", "path"),
    [
        ("active", "primary", True, E_, K, "primary"),
        ("active", "primary", True, E_, None, "primary"),
        ("active", "primary", False, E_, K, "reflective"),
        ("active", "primary", False, E_, None, "base"),
        ("active", "primary", None, E_, None, "base"),
        ("active", "primary", True, None, None, "base"),
        ("active", "reflective", True, E_, K, "reflective"),
        ("active", "reflective", True, E_, None, "base"),
        ("active", "undecided", True, E_, K, "reflective"),
        ("active", "undecided", True, E_, None, "base"),
        ("active", "unknown", True, E_, K, "base"),
        ("active", None, True, E_, K, "base"),
        ("active", "fallback", True, E_, K, "base"),
        ("fallback", "primary", True, E_, K, "base"),
    ],
)
def test_the_path_of_a_cluster(
    status: str, gap: str | None, passed: bool | None, expert: str | None, critic: str | None, path: str
) -> None:
    chosen, why = choose_path(status=status, gap=gap, passed=passed, expert=expert, critic=critic)
    assert chosen == path
    assert why


def test_centroids_come_back_as_they_were_written() -> None:
    kept = Centroids(numpy.eye(3, dtype=numpy.float32), ["a", "b", "ü"], "minilm")
    found = read_centroids(kept.to_bytes())
    assert (found.cluster_ids, found.encoder) == (kept.cluster_ids, "minilm")
    assert numpy.array_equal(found.vectors, kept.vectors)


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    numpy.savez(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (npz(format_version=numpy.array(7)), "format version 7"),
        (npz(centroids=numpy.eye(2)), "format_version"),
        (b"no archive at all", "cannot be read"),
        (npz(format_version=numpy.array(1), centroids=numpy.array([{"a": 1}]), encoder="x", cluster_ids=["a"]), "pickle"),
        (npz(format_version=numpy.array(1), centroids=numpy.eye(2), encoder="x", cluster_ids=["a"]), "one row each"),
        (npz(format_version=numpy.array(1), centroids=numpy.full((1, 2), numpy.nan), encoder="x", cluster_ids=["a"]), "finite"),
    ],
)
def test_a_file_of_another_version_or_kind_is_refused(file: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_centroids(file)


def test_a_router_document_of_another_version_or_of_other_clusters_is_refused() -> None:
    kept = Centroids(numpy.eye(2, dtype=numpy.float32), ["a", "b"], "minilm")
    leg = {"label": 0, "size": 1, "path": "base", "why": "", "expert": None, "critic": None}
    document = {"format_version": 1, "router": "job:x", "outlier_distance": 1.2}
    document["clusters"] = [leg | {"cluster_id": "b"}, leg | {"cluster_id": "a"}]
    with pytest.raises(InvalidInput, match="clusters differ"):
        RoutingTable.read(document, kept)
    with pytest.raises(InvalidInput, match="format version 2"):
        RoutingTable.read(document | {"format_version": 2}, kept)
