"""Give each cluster its path, measure how far held-out queries lie, and leave what a router needs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy

from goldsmith.errors import InvalidInput
from goldsmith.kinds.router import calibrate
from goldsmith.kinds.router.adapters import Trained, gather
from goldsmith.kinds.router.schema import Calibration, RoutedCluster, RouterConfig, RouterResult
from goldsmith.uno.centroids import FORMAT_VERSION, read_centroids
from goldsmith.uno.route import Leg, RoutingTable, choose_path

if TYPE_CHECKING:
    from goldsmith.context import JobContext
    from goldsmith.rules import Cluster


def run(config: RouterConfig, ctx: JobContext) -> RouterResult:
    ctx.progress(0, "reading clusters")
    gap = _gap(config, ctx)
    measured = {one["cluster_id"]: one for one in gap["clusters"]}
    centroids = read_centroids(ctx.artifact(f"{config.clusters}/centroids.npz"))
    clusters = {cluster.cluster_id: cluster for cluster in ctx.clusters(config.clusters)}
    if not clusters or not set(clusters) <= set(centroids.cluster_ids):
        raise InvalidInput("clusters: its rows and its centroids.npz are not of the same clusters; cluster again")
    centroids = centroids.of(clusters)  # without those whose sessions were all erased since
    trained = gather(config, ctx, centroids.cluster_ids)
    found = [_routed(clusters[one], measured.get(one, {}), trained) for one in centroids.cluster_ids]

    ctx.progress(40, "measuring held-out queries")
    with numpy.load(ctx.artifact(f"{config.clusters}/embeddings.npz"), allow_pickle=False) as arrays:
        labels = {session: row for row, one in enumerate(found) for session in clusters[one.cluster_id].members}
        sessions = [str(session) for session in arrays["sessions"]]
        kept = [row for row, session in enumerate(sessions) if session in labels]  # the others were erased since
        names = [sessions[row] for row in kept]
        distances = calibrate.heldout_distances(arrays["queries"][kept], [labels[name] for name in names], names)
    distance = config.outlier_distance
    if config.calibrate_share is not None:
        if not len(distances):
            raise InvalidInput("calibrate_share: no query is held out; a cluster needs two sessions, give outlier_distance")
        distance = calibrate.distance_for(distances, config.calibrate_share)

    ctx.progress(90, "saving")
    legs = [Leg(one.label, one.cluster_id, one.size, one.path, one.why, one.expert, one.critic) for one in found]
    table = RoutingTable(f"job:{ctx.job_id}", legs, centroids, distance)
    result = _result(config, ctx, table, found, gap, trained, calibrate.report(distances, distance))
    ctx.save_artifact("centroids.npz", centroids.to_bytes(), "application/octet-stream")
    ctx.save_artifact("router.json", _document(table, result), "application/json")
    return result


def _gap(config: RouterConfig, ctx: JobContext) -> dict[str, Any]:
    measured = ctx.config(config.gap)["clusters"]
    if measured != config.clusters:
        message = f"{config.gap} measured the clusters of {measured}, not those of {config.clusters}"
        raise InvalidInput(f"gap: {message}", errors=[{"field": "gap", "value": config.gap, "message": message}])
    return ctx.result(config.gap)


def _routed(cluster: Cluster, gap: Mapping[str, Any], trained: Trained) -> RoutedCluster:
    name = cluster.cluster_id
    assert name is not None
    expert, critic = trained.experts.get(name), trained.critics.get(name)
    refs = {"expert": expert.ref if expert else None, "critic": critic.ref if critic else None}
    passed = trained.passed.get(name)
    path, why = choose_path(status=cluster.status, gap=gap.get("decision"), passed=passed, **refs)
    return RoutedCluster(
        label=cluster.label,
        cluster_id=name,
        size=cluster.size,
        path=path,
        why=why,
        gap=gap.get("decision"),
        mu=gap.get("mu"),
        passed=passed,
        win_rate=trained.win_rates.get(name),
        **refs,
    )


def _result(
    config: RouterConfig,
    ctx: JobContext,
    table: RoutingTable,
    found: list[RoutedCluster],
    gap: Mapping[str, Any],
    trained: Trained,
    calibration: Calibration,
) -> RouterResult:
    clustering = ctx.result(config.clusters)
    rehearsal = bool(clustering.get("rehearsal") or gap.get("rehearsal") or any(one.rehearsal for one in trained.every))
    return RouterResult(
        router=f"job:{ctx.job_id}/router.json",
        clusters=found,
        paths=dict(Counter(one.path for one in found)),
        sessions_by_path={path: sum(one.size for one in found if one.path == path) for path in {one.path for one in found}},
        base_model=trained.every[0].base_model if trained.every else None,
        encoder=table.encoder,
        dimension=table.dimension,
        space=clustering.get("space"),
        gap_method=gap["gap_method"],
        tau=gap["tau"],
        outlier_distance=table.outlier_distance,
        calibrated=config.calibrate_share is not None,
        calibration=calibration,
        rehearsal=rehearsal,
        label="REHEARSAL" if rehearsal else "",
    )


def _document(table: RoutingTable, result: RouterResult) -> bytes:
    """`router.json`: the result with the version of its format; the fields of `Leg` are what routing reads."""
    legs = {leg.cluster_id: asdict(leg) for leg in table.legs}
    clusters = [one.model_dump() | legs[one.cluster_id] for one in result.clusters]
    document = {"format_version": FORMAT_VERSION, **result.model_dump(), "router": table.router, "clusters": clusters}
    return json.dumps(document, ensure_ascii=False, indent=2).encode()
