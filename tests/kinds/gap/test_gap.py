from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from goldsmith.errors import GoldsmithError, InvalidInput, JobCancelled
from goldsmith.kinds.gap.decide import Novelty, decide, gap_of
from goldsmith.kinds.gap.run import run
from goldsmith.kinds.gap.schema import GapConfig, GapResult
from goldsmith.rules import Cluster, Rule
from goldsmith.sessions import Session
from goldsmith.student import Told, load_encoder, load_reranker
from tests.fakes import FakeContext
from tests.rerankers import make_cross_encoder, make_yes_no
from tests.teachers import Asked, Say, ScriptedTeacher

RULES, CLUSTERS = f"job:{uuid4()}", f"job:{uuid4()}"


class Known:
    """A reranker whose probabilities are given by query."""

    name, revision, sha256, device, cut = "known", None, "a" * 64, "cpu", 0
    config: Mapping[str, Any] = {"model_type": "bert"}

    def __init__(self, covered: Mapping[str, float]) -> None:
        self.probabilities = covered
        self.asked: list[tuple[str, str]] = []

    def covered(self, pairs: Sequence[tuple[str, str]], told: Told | None = None) -> list[float]:
        self.asked += pairs
        if told:
            told(0.5)
        return [self.probabilities[query] for query, _ in pairs]


def rule(ordinal: int, session: str, text: str, origin: Any = "feedback", **more: Any) -> Rule:
    return Rule(ordinal, session, None, "en", origin, text, **more)


def context(
    tmp_path: Path, members: Mapping[int, Mapping[str, tuple[list[str], list[str]]]], *, small: Sequence[int] = ()
) -> FakeContext:
    """By cluster and session: the rules from feedback and the model's own."""
    ctx = FakeContext(tmp_path, kind="gap")
    ctx.configs = {CLUSTERS: {"kind": "cluster", "rules": RULES}, RULES: {"kind": "rules"}}
    ctx.saved_sessions[RULES] = [
        Session(number, name, "chat", "q", "a", None, "turns", private=name != "s2")
        for number, name in enumerate(name for sessions in members.values() for name in sessions)
    ]
    ctx.saved_clusters[CLUSTERS] = [
        Cluster(label, len(sessions), "fallback" if label in small else "active", list(sessions), cluster_id=f"c{label}")
        for label, sessions in members.items()
    ]
    every = [
        (name, text, origin)
        for sessions in members.values()
        for name, (rules, own) in sessions.items()
        for origin, texts in (("feedback", rules), ("model", own))
        for text in texts
    ]
    ctx.saved_rules[RULES] = [rule(number, *one) for number, one in enumerate(every)]
    return ctx


def measure(ctx: FakeContext, **more: Any) -> GapResult:
    return run(GapConfig.model_validate({"clusters": CLUSTERS, **more}), ctx)


def by(ctx: FakeContext, covered: Mapping[str, float]) -> Known:
    known = Known(covered)
    ctx.reranker_factory = lambda name: known
    return known


def test_a_clusters_gap_is_the_mean_of_its_sessions_least_novel_rule(tmp_path: Path) -> None:
    ctx = context(tmp_path, {0: {"s1": (["a", "b"], ["x", "y"]), "s2": (["c"], ["z"])}, 1: {"s3": (["d", "e"], ["x"])}})
    known = by(ctx, {"a": 0.9, "b": 0.3, "c": 0.5, "d": 0.4, "e": 0.2})
    result = measure(ctx)
    first, second = result.clusters
    assert (first.mu, first.mu_mean, first.mu_max) == pytest.approx(((0.1 + 0.5) / 2, (0.4 + 0.5) / 2, (0.7 + 0.5) / 2))
    assert (first.decision, first.high, first.scored, first.size, first.cluster_id) == ("primary", False, 2, 2, "c0")
    assert (second.mu, second.decision, second.high) == (pytest.approx(0.6), "reflective", True)
    assert known.asked == [("a", "x\ny"), ("b", "x\ny"), ("c", "z"), ("d", "x"), ("e", "x")]
    assert (result.gap_method, result.lite, result.tau, result.model) == ("reranker", False, 0.45, "known")
    assert result.decisions == {"primary": 1, "reflective": 1}


def test_the_artifact_has_each_sessions_values_and_no_text(tmp_path: Path) -> None:
    ctx = context(tmp_path, {0: {"s1": (["Name the wood.", "b"], ["Own rule."]), "s2": (["c"], [])}})
    by(ctx, {"Name the wood.": 0.9, "b": 0.3})
    result = measure(ctx)
    text = ctx.artifact(result.gap).read_text()
    told = json.loads(text)
    assert told["clusters"] == [one.model_dump() for one in result.clusters]
    assert told["sessions_scored"][0]["novelty"] == pytest.approx({"least": 0.1, "mean": 0.4, "most": 0.7})
    assert told["sessions_scored"][1]["novelty"] is None
    assert (result.scored, result.without_own_rules, result.without_rules) == (1, 1, 0)
    assert "wood" not in text
    assert "Own" not in text


def test_no_scored_session_is_unknown_and_a_small_cluster_is_not_measured(tmp_path: Path) -> None:
    ctx = context(tmp_path, {0: {"s1": (["a"], [])}, 1: {"s2": ([], ["x"])}, 2: {"s3": (["a"], ["x"])}}, small=[2])
    known = by(ctx, {})
    result = measure(ctx)
    assert [(one.decision, one.mu, one.high, one.scored) for one in result.clusters] == [
        ("unknown", None, None, 0),
        ("unknown", None, None, 0),
        ("fallback", None, None, 0),
    ]
    assert known.asked == []
    assert (result.without_own_rules, result.without_rules) == (1, 1)


@pytest.mark.parametrize(
    ("mu", "within", "decision"),
    [
        (0.45, 0.001, "undecided"),
        (0.45, 0.0, "reflective"),
        (0.4491, 0.001, "undecided"),
        (0.4509, 0.001, "undecided"),
        (0.448, 0.001, "primary"),
        (0.452, 0.001, "reflective"),
        (0.44999, 0.0, "primary"),
    ],
)
def test_exactly_tau_is_high_and_nearly_tau_decides_nothing(mu: float, within: float, decision: str) -> None:
    assert decide(mu, 0.45, within) == decision
    gap = gap_of(Cluster(0, 1, "active", ["s"]), [Novelty.of([mu])], 0.45, within)
    assert gap.high is (mu >= 0.45)
    assert gap.cluster_id == "0"


def test_exactly_tau_is_low_as_in_the_paper_where_that_is_chosen() -> None:
    cluster = Cluster(0, 1, "active", ["s"])
    for mu, at_tau, decision in ((0.45, "low", "primary"), (0.45, "high", "reflective"), (0.4501, "low", "reflective")):
        gap = gap_of(cluster, [Novelty.of([mu, 0.9])], 0.45, 0.0, at_tau)
        assert (gap.decision, gap.high) == (decision, decision == "reflective")
        assert gap_of(cluster, [Novelty.of([0.45])], 0.45, 0.001, at_tau).decision == "undecided"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms())
def test_the_order_of_rules_does_not_matter(values: list[float], order: Any) -> None:
    shuffled = list(values)
    order.shuffle(shuffled)
    assert Novelty.of(shuffled) == Novelty.of(values)


def test_rules_are_counted_once_and_blank_ones_not(tmp_path: Path) -> None:
    ctx = context(tmp_path, {0: {"s1": (["a", " a ", "  "], ["x", "x"])}})
    known = by(ctx, {"a": 0.2})
    assert measure(ctx).clusters[0].mu == pytest.approx(0.8)
    assert known.asked == [("a", "x")]


def test_sessions_of_the_clustering_that_it_was_added_to_are_measured_too(tmp_path: Path) -> None:
    older, old_rules = f"job:{uuid4()}", f"job:{uuid4()}"
    ctx = context(tmp_path, {0: {"s1": (["a"], ["x"]), "old": ([], [])}})
    ctx.configs[CLUSTERS]["add_to"] = older
    ctx.configs[older] = {"kind": "cluster", "rules": old_rules}
    ctx.saved_rules[old_rules] = [rule(0, "old", "b"), rule(1, "old", "y", "model")]
    by(ctx, {"a": 0.0, "b": 0.5})
    assert measure(ctx).clusters[0].mu == pytest.approx(0.75)


def test_a_real_yes_no_model_measures(tmp_path: Path) -> None:
    ctx = context(tmp_path, {0: {"s1": (["Name the wood."], ["Be brief.", "Name the size."])}})
    folder = make_yes_no(tmp_path / "tiny")
    ctx.reranker_factory = lambda name: load_reranker(name, cache=tmp_path)
    result = measure(ctx, reranker=str(folder))
    [probability] = load_reranker(str(folder), cache=tmp_path).covered([("Name the wood.", "Be brief.\nName the size.")])
    assert result.clusters[0].mu == pytest.approx(1 - probability)
    assert len(result.model_sha256 or "") == 64
    [(need, advice)] = ctx.needs
    assert need.total > 0
    assert "smaller reranker" in advice


def test_a_cross_encoder_that_cannot_read_it_all_is_said(tmp_path: Path) -> None:
    ctx = context(tmp_path, {0: {"s1": (["Name the wood."], [f"own rule {number}" for number in range(500)])}})
    folder = make_cross_encoder(tmp_path / "cross")
    ctx.reranker_factory = lambda name: load_reranker(name, cache=tmp_path)
    assert measure(ctx, reranker=str(folder)).cut == 1


class Directions:
    name = "directions"

    def encode(self, texts: Sequence[str]) -> NDArray[numpy.float32]:
        angles = numpy.array([float(text) for text in texts]) * numpy.pi / 180
        return numpy.stack([numpy.cos(angles), numpy.sin(angles)], axis=1).astype(numpy.float32)


def test_the_lite_measure_is_the_cosine_to_the_nearest_own_rule(tmp_path: Path) -> None:
    ctx = context(tmp_path, {0: {"s1": (["60", "180"], ["0", "90"])}})
    ctx.encoder_factory = lambda name: Directions()
    result = measure(ctx, method="embedding")
    [gap] = result.clusters
    cosines = [numpy.cos(numpy.pi / 6), 0.0]
    assert gap.mu == pytest.approx(1 - cosines[0], abs=1e-6)
    assert gap.mu_max == pytest.approx(1 - cosines[1], abs=1e-6)
    assert (result.gap_method, result.lite, result.model, result.tau) == ("embedding", True, "directions", 0.5)
    assert result.note.startswith("LITE")


def test_what_tau_of_the_lite_measure_rests_on() -> None:
    """Twelve rules with one that says the same and one of the same trade that does not; docs/uno.md has the numbers."""
    pairs = json.loads(Path("tests/data/covered_rules.json").read_text(encoding="utf-8"))["english"]
    encoder = load_encoder("minilm")
    rule, same, other = (encoder.encode([one[name] for one in pairs]) for name in ("rule", "same", "other"))
    covered, new = (numpy.median(1 - (rule * each).sum(axis=1)) for each in (same, other))
    assert covered < 0.4
    assert new > 0.6


def test_a_vector_that_is_not_finite_ends_it(tmp_path: Path) -> None:
    ctx = context(tmp_path, {0: {"s1": (["1"], ["nan"])}})
    ctx.encoder_factory = lambda name: Directions()
    with pytest.raises(GoldsmithError, match="the encoder directions gave a vector that is not finite"):
        measure(ctx, method="embedding")


def judged(ctx: FakeContext, say: Say, **more: Any) -> tuple[GapResult, list[Asked]]:
    teacher = ScriptedTeacher(say, **more)
    ctx.teacher_factory = lambda *_, **__: teacher
    return measure(ctx, method="judge", teacher="rehearsal", budget_usd=1.0), teacher.asked


TWO = {0: {"s1": (["a", "b"], ["x"]), "s2": (["c"], ["y"])}}


def test_a_judge_says_how_far_each_rule_is_covered(tmp_path: Path) -> None:
    result, asked = judged(context(tmp_path, TWO), lambda one: {"covered": [8, 3] if "1. a" in one.prompt else [12]})
    assert result.clusters[0].mu == pytest.approx((0.2 + 0.0) / 2)
    assert (result.gap_method, result.model, result.spent_usd, result.rehearsal) == ("judge", "scripted-1", 0.002, True)
    assert sorted((one.item, one.recorded, one.temperature) for one in asked) == [("s1/gap", True, 0.0), ("s2/gap", False, 0.0)]
    assert "<demands>\n1. a\n2. b\n</demands>\n\n<own_rules>\nx\n</own_rules>" in asked[0].prompt


@pytest.mark.parametrize("bad", ["?", {"covered": [5]}, {"covered": ["5", 5]}, {"covered": 5}, {"covered": [True, 5]}])
def test_a_judges_bad_answer_is_repaired_once_and_counted(tmp_path: Path, bad: object) -> None:
    def say(one: Asked) -> object:
        return [5] if "1. c" in one.prompt else bad if "<rejected>" not in one.prompt else {"covered": [5, 5]}

    result, asked = judged(context(tmp_path, TWO), say)
    assert (result.bad_json, result.unanswered, result.scored, len(asked)) == (3, 1, 1, 4)


def test_the_budget_ends_and_what_was_measured_stands(tmp_path: Path) -> None:
    ctx = context(tmp_path, TWO)
    teacher = ScriptedTeacher(lambda one: {"covered": [5, 5]}, stop_after=1)
    ctx.teacher_factory = lambda *_, **__: teacher
    result = measure(ctx, method="judge", teacher="rehearsal", budget_usd=1.0, concurrency=1)
    assert (result.stopped_by, result.scored, result.clusters[0].decision) == ("budget", 1, "reflective")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"method": "judge"}, "teacher: method judge needs one"),
        ({"method": "judge", "teacher": "rehearsal"}, "budget_usd: method judge needs one"),
        ({"teacher": "rehearsal"}, "teacher: method reranker takes none"),
        ({"tau": -0.1}, "tau"),
        ({"method": "cosine"}, "method"),
    ],
)
def test_a_wrong_config_is_refused_by_its_field(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        GapConfig.model_validate({"clusters": CLUSTERS, **change})


def test_a_missing_reranker_and_no_clusters_end_it(tmp_path: Path) -> None:
    ctx = context(tmp_path, TWO)
    ctx.reranker_factory = lambda name: load_reranker("/nowhere", cache=tmp_path)
    with pytest.raises(InvalidInput, match="hf download"):
        measure(ctx)
    ctx.saved_clusters[CLUSTERS] = []
    with pytest.raises(InvalidInput, match="has no clusters"):
        measure(ctx)


@pytest.mark.parametrize("method", ["reranker", "judge"])
def test_a_cancel_is_heard(tmp_path: Path, method: str) -> None:
    ctx = context(tmp_path, TWO)
    by(ctx, dict.fromkeys("abc", 0.5))
    ctx.cancel_after(2)
    act: Callable[[], object] = (
        (lambda: measure(ctx)) if method == "reranker" else lambda: judged(ctx, lambda one: {"covered": [5, 5]})
    )
    with pytest.raises(JobCancelled):
        act()


def test_rules_of_a_rehearsal_label_the_result(tmp_path: Path) -> None:
    ctx = context(tmp_path, TWO)
    by(ctx, dict.fromkeys("abc", 0.5))
    assert (measure(ctx).rehearsal, measure(ctx).label) == (False, "")
    ctx.saved_rules[RULES][0] = rule(0, "s1", "a", evidence={"rehearsal": True})
    assert (measure(ctx).rehearsal, measure(ctx).label) == (True, "REHEARSAL")


def test_rules_that_no_teacher_reads_are_not_asked_about(tmp_path: Path) -> None:
    long = [f"rule {number} {'x' * 390}" for number in range(500)]
    result, asked = judged(context(tmp_path, {0: {"s1": (long, ["x"]), "s2": (["c"], ["y"])}}), lambda one: {"covered": [5]})
    assert (result.unanswered, result.scored, len(asked)) == (1, 1, 1)
