"""Cluster the sessions of a rules job and keep the centroids that live texts are sent to."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.kinds.cluster import ward
from goldsmith.kinds.cluster.schema import ClusterConfig, ClusterResult
from goldsmith.kinds.cluster.sessions import Session, join
from goldsmith.kinds.cluster.summary import describe

if TYPE_CHECKING:
    from goldsmith.context import JobContext
    from goldsmith.rules import Cluster
    from goldsmith.student import Encoder

AT_ONCE = 512  # texts between two looks at whether a cancel was asked for
NOTE = (
    "MiniLM was trained on English: German texts land close together and are told apart poorly. "
    "Texts are cut after 256 word pieces."
)


def run(config: ClusterConfig, ctx: JobContext) -> ClusterResult:
    ctx.progress(0, "reading rules")
    joined = join(ctx.rules(config.rules), ctx.runs(config.runs))
    sessions = joined.sessions
    if not sessions:
        raise InvalidInput(
            f"no session of {config.rules} has both rules from feedback and a usable text in {config.runs} "
            f"(without feedback: {joined.without_feedback}, without text: {joined.without_text})",
            errors=[
                {"field": "rules", "value": config.rules, "message": "must be a rules job made from the runs of that import"}
            ],
        )
    ward.check_memory(len(sessions))

    encoder = ctx.encoder(config.encoder)
    queries = encode(encoder, [session.query for session in sessions], ctx, 5, 30, "texts")
    rules = encode(encoder, [session.rules_text for session in sessions], ctx, 30, 55, "rules of each session")
    each_rule = sorted({rule for session in sessions for rule in session.rules})
    rule_vectors = dict(zip(each_rule, encode(encoder, each_rule, ctx, 55, 70, "single rules"), strict=True))

    ctx.progress(70, f"clustering {len(sessions)} sessions")
    points = ward.dual_features(queries, rules)
    scaled = config.delta_sse_max * len(sessions) / 1000
    delta_sse_max = scaled if config.scale_with_n else config.delta_sse_max
    merges = ward.tree(points)
    labels = ward.cut(merges, ward.height_of(delta_sse_max))

    ctx.progress(85, "measuring stability")
    moved = ward.cut(ward.tree(ward.perturbed(points)), ward.height_of(delta_sse_max))
    stability = float(adjusted_rand_score(labels, moved))

    ctx.progress(95, "saving")
    count = int(labels.max()) + 1
    members = [[sessions[index] for index in numpy.flatnonzero(labels == label)] for label in range(count)]
    clusters = [describe(label, members[label], config.min_cluster_size, rule_vectors) for label in range(count)]
    centroids = numpy.stack([queries[labels == label].mean(axis=0) for label in range(count)])
    rehearsal = any(session.rehearsal for session in sessions)
    result = ClusterResult(
        sessions=len(sessions),
        without_feedback=joined.without_feedback,
        without_text=joined.without_text,
        rules=sum(len(session.rules) for session in sessions),
        clusters=count,
        active=sum(cluster.status == "active" for cluster in clusters),
        fallback=sum(cluster.status == "fallback" for cluster in clusters),
        sizes=[cluster.size for cluster in clusters],
        encoder=encoder.name,
        dimension=queries.shape[1],
        delta_sse_max=delta_sse_max,
        clusters_fixed=int(ward.cut(merges, ward.height_of(config.delta_sse_max)).max()) + 1,
        clusters_scaled=int(ward.cut(merges, ward.height_of(scaled)).max()) + 1,
        stability_ari=stability,
        rehearsal=rehearsal,
        label="REHEARSAL" if rehearsal else "",
        note=NOTE,
    )
    save(ctx, result, clusters, sessions, labels, centroids)
    ctx.progress(100, f"{count} clusters, {result.active} of them large enough for an adapter", stability_ari=stability)
    return result


def encode(encoder: Encoder, texts: list[str], ctx: JobContext, start: float, end: float, what: str) -> NDArray[numpy.float32]:
    parts = []
    for done in range(0, len(texts), AT_ONCE):
        ctx.progress(start + (end - start) * done / len(texts), f"embedding {what}: {done} of {len(texts)}")
        parts.append(encoder.encode(texts[done : done + AT_ONCE]))
    vectors = numpy.concatenate(parts)
    if not numpy.isfinite(vectors).all():
        first = int(numpy.flatnonzero(~numpy.isfinite(vectors).all(axis=1))[0])
        raise GoldsmithError(f"the encoder {encoder.name} gave a vector that is not finite for number {first} of the {what}")
    return vectors


def save(
    ctx: JobContext,
    result: ClusterResult,
    clusters: list[Cluster],
    sessions: list[Session],
    labels: NDArray[numpy.int64],
    centroids: NDArray[numpy.float32],
) -> None:
    """`clusters.npz`: `centroids` (clusters, dimension), the mean text vector of each cluster, not brought to length 1;
    `sessions` and their `labels`. Plain arrays: load it with `allow_pickle=False`. `clusters.json`: the same for people."""
    arrays = io.BytesIO()
    numpy.savez_compressed(
        arrays,
        centroids=centroids.astype(numpy.float32),
        labels=labels,
        sessions=numpy.array([session.session_id for session in sessions], dtype=numpy.str_),
    )
    ctx.save_artifact("clusters.npz", arrays.getvalue(), "application/octet-stream")
    described: list[dict[str, Any]] = [
        {"label": cluster.label, "size": cluster.size, "status": cluster.status, **cluster.summary, "members": cluster.members}
        for cluster in clusters
    ]
    document = {**result.model_dump(exclude={"sizes"}), "clusters": described}
    ctx.save_artifact("clusters.json", json.dumps(document, ensure_ascii=False, indent=2).encode(), "application/json")
    ctx.save_clusters(clusters)
