from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from goldsmith.errors import GoldsmithError, InvalidInput, JobCancelled
from goldsmith.kinds.cluster import memory
from goldsmith.kinds.cluster.run import run
from goldsmith.kinds.cluster.schema import ClusterConfig
from goldsmith.rules import Rule
from goldsmith.sessions import Session
from goldsmith.student import load_encoder
from tests.fakes import FakeContext

RULES, RUNS = f"job:{uuid4()}", f"job:{uuid4()}"

ANIMALS = ["a fox with a red scarf", "two owls on a branch", "a whale in the harbour", "my dog in the snow"]
HOUSES = ["a tall house of glass", "a castle made of bread", "a tree house by the lake", "our school at night"]
KEEP_ANIMALS = "Keep every animal that the child named."
SAY_MATERIALS = "Name the building materials of each wall."


class Planted:
    """An encoder whose vectors are known: the texts of one list are near to each other and far from the rest."""

    name = "planted"

    def count(self, texts: Sequence[str]) -> int:
        return len(texts)

    def encode(self, texts: Sequence[str]) -> NDArray[numpy.float32]:
        rows = numpy.zeros((len(texts), 8), dtype=numpy.float32)
        for row, text in zip(rows, texts, strict=True):
            topic = 0 if text in ANIMALS else 1 if text in HOUSES else 2 if KEEP_ANIMALS in text else 3
            row[topic], row[4 + len(text) % 4] = 1, 0.05
        return rows / numpy.linalg.norm(rows, axis=1, keepdims=True)


def session(session_id: str, text: str, **more: object) -> Session:
    return Session(0, session_id, "run", text, "an answer", None, "turns", config_id="mosaic", language="en", **more)  # type: ignore[arg-type]


def context(tmp_path: Path, animals: int = 4, houses: int = 4) -> FakeContext:
    ctx = FakeContext(tmp_path, kind="cluster")
    ctx.encoder_factory = lambda name: Planted()
    texts = [(f"a{i}", ANIMALS[i % 4], KEEP_ANIMALS) for i in range(animals)] + [
        (f"h{i}", HOUSES[i % 4], SAY_MATERIALS) for i in range(houses)
    ]
    ctx.configs[RULES] = {"kind": "rules", "runs": RUNS}
    ctx.saved_sessions[RULES] = [session(name, text) for name, text, _ in texts]
    ctx.saved_rules[RULES] = [Rule(i, name, "mosaic", "en", "feedback", rule) for i, (name, _, rule) in enumerate(texts)]
    return ctx


def config(**more: object) -> ClusterConfig:
    return ClusterConfig.model_validate({"rules": RULES, "delta_sse_max": 0.5, "min_cluster_size": 3} | more)


def test_sessions_with_like_texts_and_rules_share_a_cluster(tmp_path: Path) -> None:
    ctx = context(tmp_path, animals=4, houses=2)
    result = run(config(), ctx)
    assert (result.sessions, result.clusters, result.active, result.fallback, result.sizes) == (6, 2, 1, 1, [4, 2])
    assert (result.encoder, result.dimension, result.space, result.delta_sse_max) == ("planted", 8, "unit", 0.5)
    assert result.stability_ari == 1.0
    animals, houses = ctx.saved_clusters[ctx.ref]
    assert (animals.members, animals.status) == (["a0", "a1", "a2", "a3"], "active")
    assert (houses.members, houses.status) == (["h0", "h1"], "fallback")
    assert animals.summary["top_rules"] == [{"rule": KEEP_ANIMALS, "count": 4}]
    assert houses.summary["configs"] == {"mosaic": 2}


def test_a_session_that_is_kept_without_a_rule_is_clustered_and_teaches_nothing(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    ctx.saved_rules[RULES] = [replace(rule, rule="") if rule.session_id == "a1" else rule for rule in ctx.saved_rules[RULES]]
    result = run(config(), ctx)
    assert (result.sessions, result.empty, result.rules) == (8, 1, 7)
    assert "a1" in {name for cluster in ctx.saved_clusters[ctx.ref] for name in cluster.members}
    ctx.saved_rules[RULES] = [replace(rule, rule="") for rule in ctx.saved_rules[RULES]]
    with pytest.raises(InvalidInput, match="has both rules from feedback and a text"):
        run(config(), ctx)


def test_the_centroids_are_the_means_of_the_text_vectors_alone(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    run(config(), ctx)
    with numpy.load(ctx.artifact(f"{ctx.ref}/centroids.npz"), allow_pickle=False) as saved:
        assert saved["sessions"].tolist() == ["a0", "a1", "a2", "a3", "h0", "h1", "h2", "h3"]
        assert saved["labels"].tolist() == [0] * 4 + [1] * 4
        assert saved["centroids"].dtype == numpy.float32
        assert numpy.allclose(
            saved["centroids"], [Planted().encode(ANIMALS).mean(axis=0), Planted().encode(HOUSES).mean(axis=0)]
        )


def test_the_report_lists_members_and_rules_and_no_recorded_text(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    result = run(config(), ctx)
    text = ctx.artifact(f"{ctx.ref}/clusters.json").read_text()
    report = json.loads(text)
    assert [cluster["label"] for cluster in report["clusters"]] == [0, 1]
    assert report["stability_ari"] == result.stability_ari
    assert not any(child in text for child in ANIMALS + HOUSES)


def test_the_scaled_threshold_is_counted_and_used_only_when_asked_for(tmp_path: Path) -> None:
    fixed = run(config(delta_sse_max=20), context(tmp_path / "fixed", animals=20, houses=20))
    assert (fixed.clusters, fixed.clusters_fixed, fixed.clusters_scaled, fixed.delta_sse_max) == (1, 1, 2, 20)
    scaled = run(config(delta_sse_max=20, scale_with_n=True), context(tmp_path / "scaled", animals=20, houses=20))
    assert (scaled.clusters, scaled.clusters_fixed, scaled.clusters_scaled, scaled.delta_sse_max) == (2, 1, 2, 0.8)


def test_a_ring_which_has_no_parts_is_reported_as_unstable(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    ctx.saved_sessions[RULES] = [session(f"s{i}", f"text {i}") for i in range(60)]
    ctx.saved_rules[RULES] = [Rule(i, f"s{i}", None, None, "feedback", f"rule {i}") for i in range(60)]

    class Ring:
        name = "ring"
        count = Planted.count

        def encode(self, texts: Sequence[str]) -> NDArray[numpy.float32]:
            angles = numpy.array([int(text.split()[1]) for text in texts]) * 2 * numpy.pi / 60
            return numpy.stack([numpy.cos(angles), numpy.sin(angles)], axis=1).astype(numpy.float32)

    ctx.encoder_factory = lambda name: Ring()
    result = run(config(), ctx)
    assert 1 < result.clusters < 60
    assert result.stability_ari < 0.8


def test_one_session_is_one_cluster(tmp_path: Path) -> None:
    result = run(config(), context(tmp_path, animals=1, houses=0))
    assert (result.clusters, result.sizes, result.fallback, result.stability_ari) == (1, [1], 1, 1.0)


def test_sessions_without_a_usable_text_are_left_out_and_counted(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    ctx.saved_sessions[RULES][0] = session("a0", ANIMALS[0], status="quarantined", reason="it commands")
    ctx.saved_sessions[RULES][1] = session("a1", "   ")
    del ctx.saved_sessions[RULES][2]
    result = run(config(), ctx)
    assert (result.sessions, result.without_text, result.without_feedback) == (5, 3, 0)


def test_rules_that_are_only_the_teachers_view_do_not_count(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    first, second, *rest = ctx.saved_rules[RULES]
    ctx.saved_rules[RULES] = [replace(first, origin="model"), replace(second, rule="  "), *rest]
    result = run(config(), ctx)
    assert (result.sessions, result.without_text, result.without_feedback) == (6, 0, 2)


def test_rules_of_a_rehearsal_teacher_label_the_result(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    result = run(config(), ctx)
    assert (result.rehearsal, result.label) == (False, "")
    ctx.saved_rules[RULES] = [replace(rule, evidence={"rehearsal": True}) for rule in ctx.saved_rules[RULES]]
    result = run(config(), ctx)
    assert (result.rehearsal, result.label) == (True, "REHEARSAL")
    assert json.loads(ctx.artifact(f"{ctx.ref}/clusters.json").read_text())["label"] == "REHEARSAL"


def test_no_rules_or_no_texts_are_an_error_that_says_which(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    ctx.saved_rules[RULES] = []
    with pytest.raises(InvalidInput, match=rf"no session of {RULES} has both rules from feedback and a text that may be used"):
        run(config(), ctx)
    ctx = context(tmp_path)
    ctx.saved_sessions[RULES] = []
    with pytest.raises(InvalidInput, match="without feedback: 0, without text: 8"):
        run(config(), ctx)


def test_the_sessions_may_lie_with_another_job_than_the_rules(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    elsewhere = f"job:{uuid4()}"
    ctx.configs[RULES] = {"kind": "rules", "sessions": elsewhere}
    ctx.saved_sessions[elsewhere] = ctx.saved_sessions.pop(RULES)
    assert run(config(), ctx).sessions == 8
    with pytest.raises(InvalidInput, match=f"was made from {elsewhere}, not from {RUNS}"):
        run(config(runs=RUNS), ctx)


def test_the_order_of_sessions_and_rules_decides_nothing(tmp_path: Path) -> None:
    def labels(ctx: FakeContext) -> dict[str, tuple[int, str | None]]:
        run(config(), ctx)
        return {name: (one.label, one.cluster_id) for one in ctx.saved_clusters[ctx.ref] for name in one.members}

    first, second = context(tmp_path / "first"), context(tmp_path / "second")
    second.saved_sessions[RULES].reverse()
    second.saved_rules[RULES].reverse()
    assert labels(first) == labels(second)
    assert first.saved_cluster_rules[first.ref][0].session_ids == second.saved_cluster_rules[second.ref][0].session_ids


def test_the_space_is_named_and_its_threshold_is_twice_the_other(tmp_path: Path) -> None:
    unit = run(config(delta_sse_max=None), context(tmp_path / "unit"))
    dual = run(config(delta_sse_max=None, space="dual"), context(tmp_path / "dual"))
    assert (unit.space, unit.delta_sse_max, unit.height) == ("unit", 8.0, 4.0)
    assert (dual.space, dual.delta_sse_max) == ("dual", 16.0)
    fine = [
        run(config(delta_sse_max=at, space=space), context(tmp_path / space / str(at)))
        for space, at in (("unit", 0.001), ("dual", 0.002))
    ]
    assert fine[0].sizes == fine[1].sizes
    assert fine[0].clusters > 2


def test_equal_texts_have_equal_vectors_and_are_encoded_once(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counting(Planted):
        def encode(self, texts: Sequence[str]) -> NDArray[numpy.float32]:
            asked.extend(texts)
            return super().encode(texts)

    ctx = context(tmp_path, animals=12, houses=8)
    ctx.encoder_factory = lambda name: Counting()
    run(config(), ctx)
    assert sorted(asked) == sorted([*ANIMALS, *HOUSES, *[KEEP_ANIMALS, SAY_MATERIALS] * 2])


def test_all_sessions_alike_are_one_cluster(tmp_path: Path) -> None:
    ctx = context(tmp_path, animals=0, houses=0)
    ctx.saved_sessions[RULES] = [session(f"s{i}", ANIMALS[0]) for i in range(40)]
    ctx.saved_rules[RULES] = [Rule(i, f"s{i}", None, "en", "feedback", KEEP_ANIMALS) for i in range(40)]
    result = run(config(delta_sse_max=None), ctx)
    assert (result.sizes, result.stability_ari, result.rules_kept) == ([40], 1.0, 1)


def test_a_very_long_session_and_a_very_long_list_of_rules_count_like_others(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    ctx.saved_sessions[RULES][0] = session("a0", "a fox " * 33_334)
    ctx.saved_rules[RULES] += [Rule(100 + i, "a1", "mosaic", "en", "feedback", f"Rule number {i}.") for i in range(500)]
    result = run(config(), ctx)
    assert result.sessions == 8
    assert result.clusters == 3  # its text is no longer that of an animal
    assert result.rules_kept == 503


def test_vectors_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    ctx = context(tmp_path)

    class Broken(Planted):
        name = "broken"

        def encode(self, texts: Sequence[str]) -> NDArray[numpy.float32]:
            rows = super().encode(texts)
            rows[-1, 0] = numpy.nan
            return rows

    ctx.encoder_factory = lambda name: Broken()
    with pytest.raises(GoldsmithError, match=r"the encoder broken gave a vector that is not finite for number \d of the texts"):
        run(config(), ctx)


def test_too_many_sessions_are_refused_before_anything_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context(tmp_path)
    ctx.encoder_factory = lambda name: pytest.fail("the encoder was loaded")
    monkeypatch.setattr(memory, "free_memory", lambda: 100)
    with pytest.raises(InvalidInput, match="8 sessions need"):
        run(config(), ctx)


def test_a_cancel_stops_it_between_two_steps(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    ctx.cancel_after(3)
    with pytest.raises(JobCancelled):
        run(config(), ctx)
    assert ctx.saved_clusters == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [("delta_sse_max", 0), ("delta_sse_max", float("nan")), ("min_cluster_size", 0), ("encoder", ""), ("space", "v")],
)
def test_a_wrong_config_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        config(**{field: value})


def test_real_sentences_fall_into_their_topics(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    ctx.encoder_factory = lambda name: load_encoder(name, cache=tmp_path)
    result = run(config(delta_sse_max=0.8), ctx)
    assert result.clusters == 2
    assert [cluster.members for cluster in ctx.saved_clusters[ctx.ref]] == [["a0", "a1", "a2", "a3"], ["h0", "h1", "h2", "h3"]]
