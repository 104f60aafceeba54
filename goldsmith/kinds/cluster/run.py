"""Cluster the sessions of a rules job, keep the centroids that live texts are sent to, and what each cluster teaches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from goldsmith.errors import GoldsmithError
from goldsmith.kinds.cluster import identity, memory, saved, ward
from goldsmith.kinds.cluster.distinct import distinct_rules
from goldsmith.kinds.cluster.saved import Clustering
from goldsmith.kinds.cluster.schema import ClusterConfig, ClusterResult, ClusterSummary
from goldsmith.kinds.cluster.sessions import Joined, Taught, of_earlier, read
from goldsmith.kinds.cluster.summary import describe, input_patterns
from goldsmith.uno.centroids import means

if TYPE_CHECKING:
    from goldsmith.cluster_rules import ClusterRule
    from goldsmith.context import JobContext
    from goldsmith.rules import Cluster
    from goldsmith.student import Encoder

AT_ONCE = 512  # texts between two looks at whether a cancel was asked for
NOTES = {
    "minilm": "MiniLM was trained on English: German texts land close together and are told apart poorly. "
    "Texts are cut after 256 word pieces.",
}


@dataclass
class Found:
    """A clustering, how it came about, and which of the earlier one's clusters it found again."""

    clustering: Clustering
    how: dict[str, Any]
    """Fields of the result."""
    known: dict[int, str]
    """Cluster ids of the earlier clustering, by the label here."""
    earlier: list[str]
    """All cluster ids of it."""


def run(config: ClusterConfig, ctx: JobContext) -> ClusterResult:
    ctx.progress(0, "reading rules")
    base = _load(config.add_to, ctx) if config.add_to else None
    joined = read(config, ctx, known=set(base.sessions) if base else ())
    if base is None:
        memory.check(len(joined.sessions))
    encoder = ctx.encoder(config.encoder)
    queries, rules = _embed(joined.sessions, encoder, ctx)
    ctx.progress(60, f"clustering {len(joined.sessions)} sessions")
    found = (
        _cluster(config, joined, queries, rules, encoder, ctx)
        if base is None
        else _add(base, joined, queries, rules, encoder.name)
    )

    members = [*joined.sessions, *(of_earlier(config.add_to, ctx, set(base.sessions)) if config.add_to and base else ())]
    kept = _teach(found.clustering, members, encoder, config.rules, ctx)
    clusters = _describe(found.clustering, members, kept, config.min_cluster_size)
    result = _result(config, joined, found, clusters, kept)
    ctx.progress(95, "saving")
    _save(ctx, result, clusters, found.clustering, kept)
    ctx.progress(100, f"{result.clusters} clusters, {result.active} of them large enough for an adapter")
    return result


def _load(job_ref: str, ctx: JobContext) -> Clustering:
    return saved.load(ctx.artifact(f"{job_ref}/centroids.npz"), ctx.artifact(f"{job_ref}/embeddings.npz"))


def _embed(sessions: Sequence[Taught], encoder: Encoder, ctx: JobContext) -> tuple[saved.Vectors, saved.Vectors]:
    queries = encode(encoder, [one.query for one in sessions], ctx, 5, 30, "texts")
    rules = encode(encoder, [one.rules_text for one in sessions], ctx, 30, 60, "rules of each session")
    return queries, rules


def _cluster(
    config: ClusterConfig, joined: Joined, queries: saved.Vectors, rules: saved.Vectors, encoder: Encoder, ctx: JobContext
) -> Found:
    n = len(joined.sessions)
    points = ward.dual_features(queries, rules, config.space)
    fixed, scaled = config.delta_sse, config.delta_sse * n / 1000
    used = scaled if config.scale_with_n else fixed
    heights = {threshold: ward.height_of(threshold) for threshold in (fixed, scaled)}
    merges = ward.tree(points, list(heights.values()))
    labels = ward.cut(merges, heights[used])

    ctx.progress(70, "measuring stability")
    moved = ward.cut(ward.tree(ward.perturbed(points)), heights[used])
    how = {
        "method": "ward",
        "delta_sse_max": used,
        "height": heights[used],
        "scaled": config.scale_with_n,
        "clusters_fixed": int(ward.cut(merges, heights[fixed]).max()) + 1,
        "clusters_scaled": int(ward.cut(merges, heights[scaled]).max()) + 1,
        "stability_ari": float(adjusted_rand_score(labels, moved)),
    }
    session_ids = [one.session_id for one in joined.sessions]
    centroids = means(queries, labels)
    clustering = Clustering(encoder.name, centroids, [], session_ids, labels, queries, rules)
    members = [[session_ids[index] for index in numpy.flatnonzero(labels == label)] for label in range(len(centroids))]
    known, earlier = _known(config.previous, members, clustering, ctx) if config.previous else ({}, [])
    clustering.cluster_ids = [known.get(label) or identity.name(one) for label, one in enumerate(members)]
    return Found(clustering, how, known, earlier)


def _known(previous: str, members: list[list[str]], new: Clustering, ctx: JobContext) -> tuple[dict[int, str], list[str]]:
    old = {cluster.cluster_id: cluster.members for cluster in ctx.clusters(previous) if cluster.cluster_id}
    found = identity.by_members(members, old) if old else {}
    if found is None:
        centroids = _load(previous, ctx)
        centroids.check_encoder(new.encoder, new.centroids.shape[1])
        found = identity.by_centroids(new.centroids, centroids.centroids, centroids.cluster_ids)
    return found, list(old)


def _add(base: Clustering, joined: Joined, queries: saved.Vectors, rules: saved.Vectors, encoder: str) -> Found:
    base.check_encoder(encoder, queries.shape[1])
    clustering = saved.added(base, [one.session_id for one in joined.sessions], queries, rules)
    how: dict[str, Any] = dict.fromkeys(("delta_sse_max", "height", "clusters_fixed", "clusters_scaled", "stability_ari"))
    return Found(
        clustering, how | {"method": "nearest", "scaled": False}, dict(enumerate(base.cluster_ids)), list(base.cluster_ids)
    )


def _teach(
    clustering: Clustering, members: Sequence[Taught], encoder: Encoder, source: str, ctx: JobContext
) -> list[list[ClusterRule]]:
    """By label."""
    texts = sorted({rule.rule.strip() for one in members for rule in one.rules})
    vectors = dict(zip(texts, encode(encoder, texts, ctx, 75, 90, "single rules"), strict=True))
    ctx.progress(90, f"finding what {len(texts)} rules have in common")
    kept, ordinal = [], 0
    for label, group in enumerate(_by_label(clustering, members)):
        found = distinct_rules(label, group, vectors, source) if group else []
        kept.append([replace(rule, ordinal=ordinal + rule.ordinal) for rule in found])
        ordinal += len(found)
    return kept


def _by_label(clustering: Clustering, members: Sequence[Taught]) -> list[list[Taught]]:
    label_of = dict(zip(clustering.sessions, clustering.labels.tolist(), strict=True))
    groups: list[list[Taught]] = [[] for _ in clustering.cluster_ids]
    for one in members:
        groups[label_of[one.session_id]].append(one)
    return groups


def _describe(
    clustering: Clustering, members: Sequence[Taught], kept: Sequence[Sequence[ClusterRule]], min_cluster_size: int
) -> list[Cluster]:
    groups = _by_label(clustering, members)
    ids: list[list[str]] = [[] for _ in groups]
    for session_id, label in zip(clustering.sessions, clustering.labels.tolist(), strict=True):
        ids[label].append(session_id)
    return [
        describe(label, clustering.cluster_ids[label], ids[label], groups[label], kept[label], min_cluster_size, pattern)
        for label, pattern in enumerate(input_patterns(groups))
    ]


def _result(
    config: ClusterConfig, joined: Joined, found: Found, clusters: Sequence[Cluster], kept: Sequence[Sequence[ClusterRule]]
) -> ClusterResult:
    rules = [rule for one in joined.sessions for rule in one.rules]
    rehearsal = any(rule.evidence.get("rehearsal") for rule in rules)
    earlier = set(found.earlier)
    return ClusterResult(
        sessions=len(joined.sessions),
        without_feedback=joined.without_feedback,
        without_text=joined.without_text,
        empty=joined.empty,
        already=joined.already,
        rules=len(rules),
        rules_kept=sum(map(len, kept)),
        clusters=len(clusters),
        active=sum(cluster.status == "active" for cluster in clusters),
        fallback=sum(cluster.status == "fallback" for cluster in clusters),
        sizes=[cluster.size for cluster in clusters],
        by_label=[
            ClusterSummary(
                label=cluster.label,
                cluster_id=found.clustering.cluster_ids[cluster.label],
                size=cluster.size,
                status=cluster.status,
                rules=len(kept[cluster.label]),
            )
            for cluster in clusters
        ],
        encoder=found.clustering.encoder,
        dimension=found.clustering.queries.shape[1],
        space=config.space,
        kept_ids=len(found.known),
        new_ids=len(clusters) - len(found.known),
        lost_ids=sorted(earlier - set(found.known.values())),
        rehearsal=rehearsal,
        label="REHEARSAL" if rehearsal else "",
        note=NOTES.get(config.encoder, ""),
        **found.how,
    )


def encode(encoder: Encoder, texts: list[str], ctx: JobContext, start: float, end: float, what: str) -> NDArray[numpy.float32]:
    """A row for each text. Equal texts are encoded once, so that their vectors are equal to the last bit; texts of like length
    share a pass."""
    different = sorted(set(texts), key=lambda text: (len(text), text))
    parts = []
    for done in range(0, len(different), AT_ONCE):
        ctx.progress(start + (end - start) * done / len(different), f"embedding {what}: {done} of {len(different)}")
        parts.append(encoder.encode(different[done : done + AT_ONCE]))
    row_of = {text: row for row, text in enumerate(different)}
    vectors = numpy.concatenate(parts)[[row_of[text] for text in texts]]
    if not numpy.isfinite(vectors).all():
        first = int(numpy.flatnonzero(~numpy.isfinite(vectors).all(axis=1))[0])
        raise GoldsmithError(f"the encoder {encoder.name} gave a vector that is not finite for number {first} of the {what}")
    return vectors


def _save(
    ctx: JobContext,
    result: ClusterResult,
    clusters: list[Cluster],
    clustering: Clustering,
    kept: Sequence[Sequence[ClusterRule]],
) -> None:
    """`centroids.npz` and `embeddings.npz` for what goes on with it; `clusters.json`: the same for people."""
    for name, content in clustering.arrays().items():
        ctx.save_artifact(name, content, "application/octet-stream")
    described: list[dict[str, Any]] = [
        {
            "label": cluster.label,
            "cluster_id": cluster.cluster_id,
            "size": cluster.size,
            "status": cluster.status,
            **cluster.summary,
            "members": cluster.members,
        }
        for cluster in clusters
    ]
    document = {**result.model_dump(exclude={"sizes", "by_label"}), "clusters": described}
    ctx.save_artifact("clusters.json", json.dumps(document, ensure_ascii=False, indent=2).encode(), "application/json")
    ctx.save_clusters(clusters)
    ctx.save_cluster_rules([rule for rules in kept for rule in rules])
