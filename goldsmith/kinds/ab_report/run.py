"""Read the units, look at them as the guard does, write the report, record the verdict."""

from __future__ import annotations

import asyncio
import json

from goldsmith.ab import Decision
from goldsmith.ab_look import Difference, Look
from goldsmith.ab_verdict import look
from goldsmith.context import JobContext
from goldsmith.kinds.ab_report.report import markdown
from goldsmith.kinds.ab_report.schema import AbReportConfig, AbReportResult


async def run(config: AbReportConfig, ctx: JobContext) -> AbReportResult:
    data = await asyncio.to_thread(ctx.experiment, config.experiment)
    plan = data.experiment.plan
    ctx.progress(20, f"{data.events} events of {len(set(data.units.unit))} units")

    found = await asyncio.to_thread(look, data, alpha=config.alpha)
    decision = Decision(
        decision=found.verdict.decision, reason=found.verdict.reason[:2000], statistics=found.model_dump(mode="json")
    )
    ctx.progress(80, decision.decision)

    head = {"experiment": str(data.experiment.id), "name": plan.name, "rehearsal": data.rehearsal}
    body = head | {"plan": plan.model_dump(mode="json")} | decision.model_dump()
    ctx.save_artifact("report.json", json.dumps(body, indent=2, allow_nan=False).encode(), "application/json")
    report = ctx.save_artifact("report.md", markdown(data.experiment, found).encode(), "text/markdown")
    ctx.record_decision(config.experiment, decision)

    arm = found.verdict.arm or plan.treated.name
    return AbReportResult(
        decision=decision.decision,
        reason=decision.reason,
        arm=arm,
        events=data.events,
        units={one.name: one.units for one in found.arms},
        favorite_rates=_rates(found, "favorite"),
        favorite_difference=_ends(found.difference("favorite", arm)),
        safety_block_rates={one.name: one.blocks / one.attempts if one.attempts else None for one in found.arms},
        safety_difference=_ends(found.difference("safety_block", arm)),
        contamination=found.contamination.share,
        guardrails={f"{one.name} {one.arm}": one.state for one in found.guardrails},
        rehearsal=data.rehearsal,
        report=report,
    )


def _rates(found: Look, name: str) -> dict[str, float | None]:
    metric = found.metric(name)
    return {arm: value.value for arm, value in metric.arms.items()} if metric else {arm.name: None for arm in found.arms}


def _ends(difference: Difference | None) -> tuple[float, float, float] | None:
    if difference is None or difference.estimate is None or difference.lower is None or difference.upper is None:
        return None
    return difference.estimate, difference.lower, difference.upper
