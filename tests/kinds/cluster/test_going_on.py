"""A clustering that goes on from an earlier one: the same clusters keep their names, new sessions join them."""

from __future__ import annotations

import io
from pathlib import Path
from uuid import uuid4

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.errors import Conflict, InvalidInput
from goldsmith.kinds.cluster import identity, saved
from goldsmith.kinds.cluster.run import run
from goldsmith.kinds.cluster.saved import Clustering
from goldsmith.rules import Rule
from tests.fakes import FakeContext
from tests.kinds.cluster.test_cluster import (
    ANIMALS,
    HOUSES,
    KEEP_ANIMALS,
    RULES,
    SAY_MATERIALS,
    Planted,
    config,
    context,
    session,
)


def after(ctx: FakeContext) -> FakeContext:
    """The next job's context, which sees what that one saved."""
    ctx.configs[ctx.ref] = {"kind": "cluster", "rules": RULES}
    new = FakeContext(ctx.root, kind="cluster")
    new.encoder_factory = lambda name: Planted()
    for attribute in ("configs", "saved_sessions", "saved_rules", "saved_clusters"):
        setattr(new, attribute, getattr(ctx, attribute))
    return new


def more(ctx: FakeContext, *taught: tuple[str, str, str]) -> str:
    """A rules job over other sessions: id, text and rule of each."""
    ref = f"job:{uuid4()}"
    ctx.configs[ref] = {"kind": "rules", "runs": "job:import"}
    ctx.saved_sessions[ref] = [session(name, text) for name, text, _ in taught]
    ctx.saved_rules[ref] = [Rule(i, name, "mosaic", "en", "feedback", rule) for i, (name, _, rule) in enumerate(taught)]
    return ref


def ids(ctx: FakeContext) -> dict[str, str | None]:
    return {name: cluster.cluster_id for cluster in ctx.saved_clusters[ctx.ref] for name in cluster.members}


def test_a_cluster_is_called_the_same_when_it_is_made_of_the_same_sessions(tmp_path: Path) -> None:
    first, second = context(tmp_path / "a"), context(tmp_path / "b")
    run(config(), first)
    run(config(), second)
    assert ids(first) == ids(second)
    assert ids(first)["a0"] != ids(first)["h0"]
    assert all(len(name or "") == 9 for name in ids(first).values())


def test_clusters_that_are_found_again_keep_their_ids_though_their_labels_change(tmp_path: Path) -> None:
    first = context(tmp_path, animals=4, houses=3)
    run(config(), first)
    second = after(first)
    grown = more(
        second,
        *((f"a{i}", ANIMALS[i % 4], KEEP_ANIMALS) for i in range(3)),
        *((f"h{i}", HOUSES[i % 4], SAY_MATERIALS) for i in range(7)),
    )
    result = run(config(rules=grown, previous=first.ref), second)
    assert (result.kept_ids, result.new_ids, result.lost_ids) == (2, 0, [])
    assert second.saved_clusters[second.ref][0].members[0] == "h0"
    assert (ids(second)["a0"], ids(second)["h6"]) == (ids(first)["a0"], ids(first)["h0"])


def test_a_cluster_that_is_gone_is_named_and_a_new_one_gets_its_own_id(tmp_path: Path) -> None:
    first = context(tmp_path)
    run(config(), first)
    second = after(first)
    halves = more(
        second,
        *((f"a{i}", text, rule) for i, (text, rule) in enumerate([(ANIMALS[0], KEEP_ANIMALS), (HOUSES[0], SAY_MATERIALS)] * 2)),
    )
    result = run(config(rules=halves, previous=first.ref, min_cluster_size=1), second)
    assert (result.kept_ids, result.new_ids) == (1, 1)
    assert result.lost_ids == [ids(first)["h0"]]


def test_without_a_common_session_centroids_are_compared(tmp_path: Path) -> None:
    first = context(tmp_path)
    run(config(), first)
    second = after(first)
    others = more(second, *((f"x{i}", ANIMALS[i], KEEP_ANIMALS) for i in range(4)))
    result = run(config(rules=others, previous=first.ref), second)
    assert (result.kept_ids, result.lost_ids) == (1, [ids(first)["h0"]])
    assert ids(second)["x0"] == ids(first)["a0"]


def test_a_half_of_a_cluster_that_fell_apart_is_another_one() -> None:
    old = {"c1": ["a", "b", "c", "d"], "c2": ["e", "f"]}
    assert identity.by_members([["a", "b", "c", "x"], ["d", "y"], ["e", "f", "z"]], old) == {0: "c1", 2: "c2"}
    assert identity.by_members([["a"], ["b"], ["c", "d"]], old) == {2: "c1"}
    assert identity.by_members([["x"]], old) is None


def test_added_sessions_go_to_the_nearest_centroids_and_move_them(tmp_path: Path) -> None:
    first = context(tmp_path)
    run(config(), first)
    second = after(first)
    new = more(second, ("x1", ANIMALS[1], KEEP_ANIMALS), ("x2", HOUSES[2], "Name the roof."), ("a0", ANIMALS[0], KEEP_ANIMALS))
    result = run(config(rules=new, add_to=first.ref), second)
    assert (result.method, result.sessions, result.already, result.sizes) == ("nearest", 2, 1, [5, 5])
    assert (result.delta_sse_max, result.stability_ari, result.clusters_fixed) == (None, None, None)
    with pytest.raises(InvalidInput, match=rf"{first.ref} has all .* sessions of .* already; nothing is to be added"):
        run(config(add_to=first.ref), after(first))
    assert ids(second) == ids(first) | {"x1": ids(first)["a0"], "x2": ids(first)["h0"]}
    before, now = (
        saved.load(*(ctx.artifact(f"{ctx.ref}/{name}.npz") for name in ("centroids", "embeddings"))) for ctx in (first, second)
    )
    expected = (before.centroids[0] * 4 + Planted().encode([ANIMALS[1]])[0]) / 5
    assert numpy.allclose(now.centroids[0], expected)
    assert now.sessions == ["a0", "a1", "a2", "a3", "h0", "h1", "h2", "h3", "x1", "x2"]
    rules = {rule.rule: (rule.support, rule.rule_ordinals) for rule in second.saved_cluster_rules[second.ref]}
    assert rules == {KEEP_ANIMALS: (5, [0]), SAY_MATERIALS: (4, []), "Name the roof.": (1, [1])}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 20))
def test_labels_of_a_batch_are_those_of_the_centroids_before_it(seed: int, clusters: int, n: int) -> None:
    rng = numpy.random.default_rng(seed)
    vectors = rng.normal(size=(clusters + n, 3)).astype(numpy.float32)
    names = [f"c{i}" for i in range(clusters)]
    first = vectors[:clusters]
    base = Clustering("planted", first, names, names, numpy.arange(clusters), first, first)
    new = vectors[clusters:]
    grown = saved.added(base, [f"n{i}" for i in range(n)], new, new)
    for query, label in zip(new, grown.labels[clusters:], strict=True):
        assert label == numpy.linalg.norm(base.centroids - query, axis=1).argmin()
    for label in range(clusters):
        assert numpy.allclose(grown.centroids[label], vectors[grown.labels == label].mean(axis=0), atol=1e-5)


def test_another_dimension_than_the_centroids_is_a_conflict_that_says_both(tmp_path: Path) -> None:
    first = context(tmp_path)
    run(config(), first)

    class Wider(Planted):
        def encode(self, texts: object) -> numpy.ndarray:
            return numpy.pad(super().encode(texts), ((0, 0), (0, 4)))  # type: ignore[arg-type]

    for key in ("add_to", "previous"):
        second = after(first)
        second.encoder_factory = lambda name: Wider()
        others = more(second, ("x0", ANIMALS[0], KEEP_ANIMALS))
        with pytest.raises(Conflict, match="planted gives 12 numbers a text, the stored centroids have 8") as refusal:
            run(config(rules=others, **{key: first.ref}), second)
        assert refusal.value.status == 409


def test_a_file_of_another_version_or_of_no_arrays_is_refused(tmp_path: Path) -> None:
    first = context(tmp_path)
    run(config(), first)
    path = first.artifact(f"{first.ref}/centroids.npz")
    with numpy.load(path) as arrays:
        kept = dict(arrays)
    for content, says in (
        (packed(kept | {"format_version": numpy.array(99)}), "format version 99; this Goldsmith reads 1"),
        (packed({name: array for name, array in kept.items() if name != "labels"}), "labels"),
        (packed(kept | {"sessions": kept["sessions"][::-1]}), "not of the same sessions"),
        (b"no archive", "cannot be read"),
    ):
        path.write_bytes(content)
        second = after(first)
        with pytest.raises(InvalidInput, match=says):
            run(config(rules=more(second, ("x0", ANIMALS[0], KEEP_ANIMALS)), add_to=first.ref), second)


def packed(arrays: dict[str, numpy.ndarray]) -> bytes:
    out = io.BytesIO()
    numpy.savez(out, **arrays)
    return out.getvalue()


def test_one_goes_on_in_one_way() -> None:
    with pytest.raises(ValueError, match="add_to: give this or previous, not both"):
        config(previous=RULES, add_to=RULES)
