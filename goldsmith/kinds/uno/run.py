"""Submit the steps, wait for them, show the plan, and say what came out. Every look begins at the top: a key finds its job again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from goldsmith.context import JobContext
from goldsmith.errors import GoldsmithError, NotFound, Requeue
from goldsmith.kinds.uno import bodies, compared, plan, report
from goldsmith.kinds.uno.schema import UnoConfig, UnoResult
from goldsmith.kinds.uno.steps import Steps

PLAN = "plan.json"
NO_CONFIG = "unknown"  # in a cluster's summary
A_DAY_S = 86_400.0  # nobody is asked again: approval wakes the run at once
LEAST_USD = 0.000001
FOR_COMPARED = 0.2  # of what is left when the pairs are made: for those of the adapters that UNO is compared with
FOR_ABLATION = 0.2  # of what is left then; the rest is the verifications', in equal parts


class BudgetSpent(GoldsmithError):
    title = "Budget reached"


async def run(config: UnoConfig, ctx: JobContext) -> UnoResult:
    return await asyncio.to_thread(_run, config, ctx)


def _run(config: UnoConfig, ctx: JobContext) -> UnoResult:
    steps = Steps(ctx)
    _look_at_the_log(config, steps)
    shown = _show_plan(config, ctx, steps)
    _make_pairs(config, steps, shown)
    _make_adapters(config, steps)
    _route(config, steps, shown)
    result = report.result(config, steps)
    ctx.save_artifact(report.TABLE, report.markdown(config, result).encode(), "text/markdown")
    return result


def _look_at_the_log(config: UnoConfig, steps: Steps) -> None:
    """Sessions, rules, clusters and their gap; all are submitted at once, and each waits for the one before it."""
    sessions = config.sessions or steps.start("sessions", bodies.sessions(config)).ref
    rules = steps.start("rules", bodies.rules(config, sessions, config.budget_usd))
    cluster = steps.start("cluster", bodies.cluster(config, rules.ref))
    spends = config.gap.get("method") == "judge"
    if spends:  # what the rules cost must be known
        steps.settle()
    steps.start("gap", bodies.gap(config, cluster.ref, _left(config, steps) if spends else 0))
    steps.settle()


def _show_plan(config: UnoConfig, ctx: JobContext, steps: Steps) -> dict[str, Any]:
    """Once; then wait until a person approves it, where that was asked for."""
    try:
        made: dict[str, Any] = json.loads(ctx.artifact(f"job:{ctx.job_id}/{PLAN}").read_bytes())
    except NotFound:
        made = _plan(config, ctx, steps)
        ctx.log(f"plan: {plan.in_words(made)}", plan=made)
        ctx.save_artifact(PLAN, json.dumps(made, indent=2, allow_nan=False).encode(), "application/json")
    if config.approve == "plan" and not ctx.approved():
        message = f"waits for approval (`goldsmith uno approve {ctx.job_id}`): {plan.in_words(made)}"
        ctx.progress(steps.percent(), message)
        raise Requeue(A_DAY_S, message[:500])
    return made


def _plan(config: UnoConfig, ctx: JobContext, steps: Steps) -> dict[str, Any]:
    sessions = config.sessions or steps.jobs["sessions"].ref
    prices = judge = asyncio.run(_prices(ctx, config.teacher, config.model, config.budget_usd))
    if config.judge:
        judge = asyncio.run(_prices(ctx, config.judge, config.judge_model, config.budget_usd))
    trained = ctx.last_result("train", base_model=config.base_model)
    return plan.make(
        config,
        steps.result("gap")["clusters"],
        _configs(ctx, steps.jobs["cluster"].ref) if compared.wanted(config) else {},
        plan.Texts.of(ctx.sessions(sessions)),
        prices,
        judge,
        trained["tokens_per_s"] if trained else None,
        spent_usd=_spent(steps),
    )


def _configs(ctx: JobContext, clusters: str) -> dict[str, int]:
    """The clustered sessions of each config."""
    counts = Counter[str]()
    for cluster in ctx.clusters(clusters):
        counts.update(cluster.summary.get("configs", {}))
    return {name: count for name, count in counts.items() if name != NO_CONFIG}


async def _prices(ctx: JobContext, teacher: str, model: str | None, budget_usd: float) -> dict[str, Any]:
    async with aclosing(ctx.teacher(teacher, model=model, budget_usd=budget_usd, recorded=True)) as opened:
        return opened.prices


def _make_pairs(config: UnoConfig, steps: Steps, plan: Mapping[str, Any]) -> None:
    refs = steps.jobs["cluster"].ref, steps.jobs["gap"].ref
    steps.start("pairs", bodies.pairs(config, *refs, _left(config, steps)))
    steps.settle()
    compared.make_pairs(config, steps, plan, FOR_COMPARED * (config.budget_usd - _spent(steps)))


def _make_adapters(config: UnoConfig, steps: Steps) -> None:
    """Experts with their gates, and critics; what one cluster needs does not wait for another."""
    wanted = plan.wanted(config, steps.result("gap")["clusters"])
    learning = steps.result("pairs")["clusters"]
    gated = sum(wanted[cluster["cluster_id"]].expert and cluster["pairs"] is not None for cluster in learning)
    share = _left(config, steps) * (1 if config.ablation is None else 1 - FOR_ABLATION) / gated if gated else 0
    for cluster in learning:
        gets = wanted[cluster["cluster_id"]]
        failed = _expert(config, steps, cluster, share) if gets.expert else False
        if (gets.critic or failed) and cluster["critic"] is not None:
            body = bodies.critic(config, cluster["cluster_id"], cluster["critic"])
            steps.start(f"critic-{cluster['cluster_id']}", body, stage="adapters")
    compared.train(config, steps)
    steps.settle()


def _expert(config: UnoConfig, steps: Steps, cluster: Mapping[str, Any], budget_usd: float) -> bool:
    """Start both the training and the gate that waits for it. Whether this cluster needs a critic instead."""
    if cluster["pairs"] is None:
        return True
    cluster_id = cluster["cluster_id"]
    training = steps.start(f"expert-{cluster_id}", bodies.expert(config, cluster_id, cluster["pairs"]), stage="adapters")
    body = bodies.verify(config, cluster_id, training.ref, budget_usd)
    gate = steps.start(f"verify-{cluster_id}", body, stage="adapters")
    return gate.status == "completed" and not steps.result(f"verify-{cluster_id}")["passed"]


def _route(config: UnoConfig, steps: Steps, plan: Mapping[str, Any]) -> None:
    of = {word: [job.ref for key, job in steps.jobs.items() if key.startswith(f"{word}-")] for word in ("verify", "critic")}
    refs = steps.jobs["cluster"].ref, steps.jobs["gap"].ref
    router = steps.start("router", bodies.router(config, *refs, of["verify"], of["critic"]))
    if config.ablation is not None:
        again = bodies.other_gap(config, refs[0])
        other = steps.start("gap-embedding", again).ref if again else None
        steps.settle("router")
        beside = compared.told(config, steps, plan)
        refs = router.ref, steps.jobs["pairs"].ref
        body = bodies.ablation(config, *refs, _left(config, steps), other, beside.adapters, beside.absent)
        steps.start("ablation", body)
    steps.settle()


def _spent(steps: Steps) -> float:
    return sum(job.cost_usd for job in steps.jobs.values())


def _left(config: UnoConfig, steps: Steps) -> float:
    """What the next job may spend; asked when all that spend have ended. A job that is there already keeps its own budget."""
    left = config.budget_usd - _spent(steps)
    if left < LEAST_USD:
        raise BudgetSpent(
            f"budget_usd {config.budget_usd:g} is spent ({_spent(steps):.6f} USD); nothing is left for what follows"
        )
    return round(left, 6)
