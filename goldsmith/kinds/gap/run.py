"""Collect the rules of each cluster's sessions, measure how new they are, decide."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

from goldsmith.context import JobContext
from goldsmith.errors import InvalidInput
from goldsmith.footprint import CONTEXT, Footprint, Shape
from goldsmith.kinds.gap.decide import gap_of
from goldsmith.kinds.gap.measure import Measured, by_embedding, by_judge, by_reranker
from goldsmith.kinds.gap.schema import TAU, GapConfig, GapResult
from goldsmith.rules import Cluster
from goldsmith.sessions import sessions_ref
from goldsmith.student import RERANKED_AT_ONCE, Reranker, Told
from goldsmith.uno.taught import Taught, rules_jobs, taught

FORMAT_VERSION = 1
NOTES = {
    "reranker": "The minimum over rules asks whether the model knows at least one of them; mu_mean and mu_max often say otherwise.",
    "embedding": "LITE: cosines are not the paper's measure. They say whether two rules speak of the same things, not whether one"
    " covers the other, and MiniLM tells German rules apart no better than a coin; compare with method reranker.",
    "judge": "A teacher's opinion on a scale of ten, at the paper's threshold for another measure; compare with method reranker.",
}


@dataclass(frozen=True)
class _How:
    """What measured, and what it found."""

    model: str
    measured: Measured
    model_sha256: str | None = None
    cut: int = 0
    spent_usd: float = 0.0


def run(config: GapConfig, ctx: JobContext) -> GapResult:
    ctx.progress(0, "reading rules")
    clusters = list(ctx.clusters(config.clusters))
    if not clusters:
        raise InvalidInput(
            f"{config.clusters} has no clusters",
            errors=[{"field": "clusters", "value": config.clusters, "allowed": "a cluster job that found some"}],
        )
    every = {name: one for ref in rules_jobs(ctx, config.clusters) for name, one in taught(ctx.rules(ref)).items()}
    members = [name for cluster in clusters if cluster.status == "active" for name in cluster.members]
    asked = {name: every[name] for name in members if name in every and every[name].rules and every[name].own}
    how = _measure(config, asked, ctx)

    tau = TAU[config.method] if config.tau is None else config.tau
    novelty = how.measured.novelty
    gaps = [
        gap_of(
            cluster, [novelty[name] for name in cluster.members if name in novelty], tau, config.undecided_within, config.at_tau
        )
        for cluster in clusters
    ]
    rehearsal = how.measured.rehearsal or any(one.rehearsal for one in asked.values())
    result = GapResult(
        gap_method=config.method,
        lite=config.method == "embedding",
        model=how.model,
        reranker=how.model if config.method == "reranker" else None,
        model_sha256=how.model_sha256,
        tau=tau,
        undecided_within=config.undecided_within,
        at_tau=config.at_tau,
        clusters=gaps,
        decisions=dict(Counter(gap.decision for gap in gaps)),
        sessions=len(members),
        scored=len(novelty),
        without_rules=sum(name not in every or not every[name].rules for name in members),
        without_own_rules=sum(name in every and bool(every[name].rules) and not every[name].own for name in members),
        cut=how.cut,
        gap=f"job:{ctx.job_id}/gap.json",
        spent_usd=how.spent_usd,
        bad_json=how.measured.bad_json,
        unanswered=how.measured.unanswered,
        stopped_by="budget" if how.measured.out_of_budget else None,
        rehearsal=rehearsal,
        label="REHEARSAL" if rehearsal else "",
        note=NOTES[config.method],
    )
    ctx.save_artifact("gap.json", _document(config, result, clusters, how.measured, every), "application/json")
    ctx.progress(100, ", ".join(f"{count} {decision}" for decision, count in result.decisions.items()))
    return result


def _measure(config: GapConfig, sessions: Mapping[str, Taught], ctx: JobContext) -> _How:
    def told(share: float) -> None:
        ctx.progress(5 + 90 * share, f"measuring {len(sessions)} sessions by {config.method}")

    if config.method == "reranker":
        reranker = ctx.reranker(config.reranker)
        if sessions:
            _make_room(reranker, ctx)
        measured = by_reranker(reranker, sessions, told) if sessions else Measured()
        return _How(reranker.name, measured, reranker.sha256, reranker.cut)
    if config.method == "embedding":
        encoder = ctx.encoder(config.encoder)
        return _How(encoder.name, by_embedding(encoder, sessions, told) if sessions else Measured())
    return asyncio.run(_judged(config, sessions, told, ctx))


async def _judged(config: GapConfig, sessions: Mapping[str, Taught], told: Told, ctx: JobContext) -> _How:
    assert config.teacher is not None
    assert config.budget_usd is not None
    refs = rules_jobs(ctx, config.clusters)
    known = {one.session_id: one.private for ref in refs for one in ctx.sessions(sessions_ref(ref, ctx.config(ref)))}
    private = {name for name, private in known.items() if private}
    async with aclosing(
        ctx.teacher(config.teacher, model=config.model, budget_usd=config.budget_usd, recorded=bool(private))
    ) as teacher:
        measured = await by_judge(
            teacher,
            {name: one for name, one in sessions.items() if name in known},
            private=private,
            concurrency=config.concurrency,
            told=lambda done: told(done / len(sessions)),
        )
        return _How(teacher.model, measured, spent_usd=teacher.spent_usd)


def _make_room(reranker: Reranker, ctx: JobContext) -> None:
    """See `JobContext.make_room`; of a model that is no dense decoder nothing is estimated."""
    shape = Shape.of(reranker.config)
    if shape is None:
        return
    cuda = reranker.device == "cuda"
    number = 2 if cuda else 4
    need = Footprint(
        weights=shape.parameters * number,
        adapters=0,
        gradients=0,
        optimizer=0,
        activations=RERANKED_AT_ONCE
        * number
        * (4 * shape.hidden + 3 * shape.intermediate),  # one block at a time, none is kept
        logits=0,
        context=CONTEXT if cuda else 0,
    )
    ctx.make_room(need, "name a smaller reranker, or choose method embedding (lite) or judge")


def _document(
    config: GapConfig, result: GapResult, clusters: Sequence[Cluster], measured: Measured, every: Mapping[str, Taught]
) -> bytes:
    """Numbers and ids; no text of anybody."""
    sessions: list[dict[str, Any]] = [
        {
            "session_id": name,
            "label": cluster.label,
            "cluster_id": cluster.cluster_id,
            "rules": len(every[name].rules) if name in every else 0,
            "own_rules": len(every[name].own) if name in every else 0,
            "novelty": asdict(measured.novelty[name]) if name in measured.novelty else None,
        }
        for cluster in clusters
        for name in cluster.members
    ]
    document = {
        "format_version": FORMAT_VERSION,
        "config": config.model_dump(mode="json"),
        **result.model_dump(mode="json"),
        "sessions_scored": sessions,
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode()
