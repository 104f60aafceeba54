"""Collect each cluster's sessions, buy and choose better answers, freeze pairs for experts and rows for critics."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from goldsmith.context import JobContext
from goldsmith.datasets import Example
from goldsmith.errors import GoldsmithError
from goldsmith.kinds.pairs import rows
from goldsmith.kinds.pairs.revise import OUT_OF_BUDGET, Revision, revise
from goldsmith.kinds.pairs.schema import Candidates, ClusterPairs, PairsConfig, PairsResult
from goldsmith.kinds.pairs.works import GROUP, Work, works
from goldsmith.teacher import BudgetReached, Teacher
from goldsmith.teacher.bounded import for_each
from goldsmith.uno.taught import lineage, rules_jobs

NOTE = (
    "A model revised and a model graded; nobody checked. What people wrote as feedback is in the prompts: rules that were screened"
    " out or retired are not, but a sentence that passed the screen is."
)


@dataclass(frozen=True)
class Teachers:
    """Who revises and who grades; one object where they are one model, so that they share what they know of each other."""

    revises: Teacher
    judges: Teacher
    spent_before: float

    @property
    def spent_usd(self) -> float:
        """Each counts from what earlier attempts had spent."""
        if self.judges is self.revises:
            return self.revises.spent_usd
        return self.revises.spent_usd + self.judges.spent_usd - self.spent_before

    @property
    def saved_usd(self) -> float:
        return self.revises.saved_usd + (0.0 if self.judges is self.revises else self.judges.saved_usd)

    @property
    def rehearsal(self) -> bool:
        return self.revises.rehearsal or self.judges.rehearsal


async def run(config: PairsConfig, ctx: JobContext) -> PairsResult:
    ctx.progress(0, "reading sessions")
    found = works(config, ctx)
    async with AsyncExitStack() as stack:
        private = any(session.private for work in found for session, _ in work.sessions)
        teachers = await _open(config, ctx, stack, recorded=private)
        await _buy(found, config, teachers, ctx)
        ctx.progress(96, "saving datasets", spent_usd=teachers.spent_usd)
        report = ctx.save_artifact("pairs.json", _report(config, found), "application/json")
        saved = [_save(work, config, teachers, ctx) for work in found]
        if any(work.wants_pairs or work.wants_critic for work in found) and not any(one.pairs or one.critic for one in saved):
            raise GoldsmithError(_nothing(saved, report), clusters=[one.model_dump() for one in saved])
        return _result(config, ctx, found, saved, teachers, report)


async def _open(config: PairsConfig, ctx: JobContext, stack: AsyncExitStack, *, recorded: bool) -> Teachers:
    """Both at once: whoever is opened later would take the other's questions for lost ones of an earlier attempt."""

    async def one(provider: str, model: str | None) -> Teacher:
        teacher = ctx.teacher(provider, model=model, budget_usd=config.budget_usd, recorded=recorded)
        return await stack.enter_async_context(aclosing(teacher))

    revises = await one(config.teacher, config.model)
    judge, judge_model = config.judge or config.teacher, config.judge_model
    if judge == config.teacher and judge_model in (None, config.model, revises.model):
        return Teachers(revises, revises, 0.0)
    return Teachers(revises, await one(judge, judge_model), revises.spent_usd)


async def _buy(works: Iterable[Work], config: PairsConfig, teachers: Teachers, ctx: JobContext) -> None:
    """Cluster by cluster, so that a budget that ends leaves whole clusters rather than a part of each."""
    revisions = [revision for work in works for revision in work.revisions]
    counts = Counter(pairs=0, dropped=0, bad_json=0)
    done = 0

    async def one(revision: Revision) -> bool:
        nonlocal done
        try:
            await revise(revision, config, teachers.revises, teachers.judges)
        except BudgetReached:
            revision.dropped = OUT_OF_BUDGET
        done += 1
        counts.update(
            pairs=revision.chosen is not None,
            dropped=revision.dropped is not None,
            bad_json=sum(grade.bad for grade in revision.grades),
        )
        ctx.progress(95 * done / len(revisions), f"{done} of {len(revisions)} sessions", **counts, spent_usd=teachers.spent_usd)
        return revision.finished

    await for_each(revisions, one, concurrency=config.concurrency)
    for revision in revisions:
        if not revision.finished:
            revision.dropped = OUT_OF_BUDGET


def _save(work: Work, config: PairsConfig, teachers: Teachers, ctx: JobContext) -> ClusterPairs:
    work.dropped.update(one.dropped for one in work.revisions if one.dropped)
    pairs, leaked = rows.pairs([one for one in work.revisions if one.chosen is not None], work.splits)
    work.dropped.update(leaked)
    critics, leaked = rows.critics(work.sessions if work.wants_critic else [], work.splits)
    work.dropped.update({} if work.wants_pairs else leaked)

    refused = []
    versions: dict[str, str | None] = {"pairs": None, "critic": None}
    for what, found, wanted in (("pairs", pairs, work.wants_pairs), ("critic", critics, work.wants_critic)):
        if not wanted and work.decision == GROUP:
            continue
        if not wanted:
            refused.append(f"{what}: {_why_not(work)}")
        elif (missing := _missing(found, config.min_pairs)) is not None:
            refused.append(f"{what}: {missing}{_of_budget(work, what)}")
        else:
            versions[what] = ctx.save_dataset(
                work.name(config, what),
                found,
                manifest=_manifest(config, work, what, teachers, ctx),
                parents=[*([config.gap] if config.gap else []), *lineage(ctx, config.clusters)],
                rehearsal=teachers.rehearsal and what == "pairs",
            ).ref
    gains = [one.gain for one in work.revisions if one.gain is not None]
    return ClusterPairs(
        label=work.cluster.label,
        cluster_id=work.cluster_id,
        config_id=work.config_id,
        size=work.cluster.size,
        decision=work.decision,
        pairs=versions["pairs"],
        critic=versions["critic"],
        pairs_train=sum(row.split == "train" for row in pairs),
        pairs_heldout=sum(row.split == "heldout" for row in pairs),
        critic_rows=len(critics),
        gain=fmean(gains) if gains else None,
        dropped=dict(work.dropped.most_common()),
        refused="; ".join(refused) or None,
    )


def _why_not(work: Work) -> str:
    return {
        "fallback": "the cluster is too small for an adapter",
        "unknown": "its gap is unknown, so nothing is trained",
        "reflective": "its gap is high, so no expert is trained",
        "undecided": "its gap is undecided, so no expert is trained",
    }[work.decision]


def _missing(found: Sequence[Example], least: int) -> str | None:
    """What lacks for a dataset that can be trained on."""
    if len(found) < least:
        return f"{least - len(found)} missing: {len(found)} rows, min_pairs is {least}"
    for which in ("train", "heldout"):
        if not any(row.split == which for row in found):
            return f"1 missing: none of {len(found)} rows is in the split {which} with a prompt of its own"
    return None


def _of_budget(work: Work, what: str) -> str:
    return " (the budget ended first)" if what == "pairs" and work.dropped[OUT_OF_BUDGET] else ""


def _manifest(config: PairsConfig, work: Work, what: str, teachers: Teachers, ctx: JobContext) -> dict[str, Any]:
    bought = {
        "teacher": teachers.revises.provider,
        "model": teachers.revises.model,
        "prices": teachers.revises.prices,
        "judge": teachers.judges.provider,
        "judge_model": teachers.judges.model,
        "require_gain": config.require_gain,
        "keep_equal": config.keep_equal,
        "checked_by": "a model, not by people",
    }
    return {
        "kind": "pairs",
        "what": what,
        "config": config.model_dump(mode="json"),
        GROUP if work.decision == GROUP else "cluster": {
            "label": work.cluster.label,
            "cluster_id": work.cluster_id,
            "size": work.cluster.size,
        },
        "decision": work.decision,
        "rules": list(rules_jobs(ctx, config.clusters)),
        "filters": dict(work.dropped.most_common()),
        **(bought if what == "pairs" else {"checked_by": "nobody: rules as they were extracted"}),
    }


def _report(config: PairsConfig, works: Sequence[Work]) -> bytes:
    """Ids, grades and reasons; no text of anybody."""
    clusters = [
        {
            "label": work.cluster.label,
            "cluster_id": work.cluster_id,
            "decision": work.decision,
            "sessions": [
                {
                    "session_id": one.session.session_id,
                    "logged": one.logged.scores,
                    "candidates": [
                        {"context": each.context, "sample": each.sample, "grades": each.grade.scores} for each in one.candidates
                    ],
                    "chosen": None if one.chosen is None else {"context": one.chosen.context, "sample": one.chosen.sample},
                    "dropped": one.dropped,
                }
                for one in work.revisions
            ],
        }
        for work in works
    ]
    document = {"format_version": 1, "config": config.model_dump(mode="json"), "clusters": clusters}
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def _nothing(saved: Sequence[ClusterPairs], report: str) -> str:
    told = "; ".join(f"{one.cluster_id}: {one.refused}" for one in saved)
    return f"no cluster gave a dataset ({told}); what became of each session is in {report}"


def _result(
    config: PairsConfig, ctx: JobContext, works: Sequence[Work], saved: list[ClusterPairs], teachers: Teachers, report: str
) -> PairsResult:
    revisions = [one for work in works for one in work.revisions]
    grades = [grade for one in revisions for grade in one.grades]
    counts = sum((one.counts for one in revisions), Counter[str]())
    rehearsal = (teachers.rehearsal and bool(revisions)) or any(one.rehearsal for work in works for _, one in work.sessions)
    takes = teachers.revises.takes_temperature
    gap = None if config.gap is None else ctx.config(config.gap)
    return PairsResult(
        clusters=saved,
        sessions=sum(one.finished and bool(one.counts["asked"]) for one in revisions),
        pairs=sum(one.pairs_train + one.pairs_heldout for one in saved if one.pairs),
        candidates=Candidates(**{name: counts[name] for name in Candidates.model_fields}),
        grades=sum(len(grade.scores) for grade in grades),
        bad_json=sum(grade.bad for grade in grades),
        clamped=sum(grade.clamped for grade in grades),
        unanswered=sum(grade.unanswered for grade in grades),
        require_gain=config.require_gain,
        keep_equal=config.keep_equal,
        group_by=config.group_by,
        contexts=config.contexts,
        samples=config.samples,
        judge_samples=config.judge_samples,
        gap_method=None if gap is None else gap["method"],
        space=ctx.config(config.clusters).get("space"),
        sampling="temperature 1.0, top-p 0.9" if takes else f"{teachers.revises.model}'s own: it takes no temperature",
        spent_usd=teachers.spent_usd,
        saved_by_reuse_usd=teachers.saved_usd,
        stopped_by="budget" if any(one.dropped == OUT_OF_BUDGET for one in revisions) else None,
        teacher=teachers.revises.provider,
        model=teachers.revises.model,
        judge=teachers.judges.provider,
        judge_model=teachers.judges.model,
        report=report,
        rehearsal=rehearsal,
        label="REHEARSAL" if rehearsal else "",
        note=NOTE,
    )
