"""Read the events, judge the arms, write the report, record the verdict."""

from __future__ import annotations

import asyncio
import json

from goldsmith.context import JobContext
from goldsmith.kinds.ab_report.analysis import analyse
from goldsmith.kinds.ab_report.decide import decide
from goldsmith.kinds.ab_report.report import markdown
from goldsmith.kinds.ab_report.schema import AbReportConfig, AbReportResult
from goldsmith.kinds.ab_report.sequence import Interval


async def run(config: AbReportConfig, ctx: JobContext) -> AbReportResult:
    data = await asyncio.to_thread(ctx.experiment, config.experiment)
    plan = data.experiment.plan
    ctx.progress(20, f"{data.events} events of {len(data.units)} units")

    analysis = await asyncio.to_thread(analyse, data, config.alpha or plan.alpha)  # a second for each 50,000 units
    decision = decide(plan, analysis, rehearsal=data.rehearsal)
    ctx.progress(80, decision.decision)

    head = {"experiment": str(data.experiment.id), "name": plan.name, "rehearsal": data.rehearsal}
    body = head | {"plan": plan.model_dump(mode="json")} | decision.model_dump()
    ctx.save_artifact("report.json", json.dumps(body, indent=2, allow_nan=False).encode(), "application/json")
    report = ctx.save_artifact("report.md", markdown(data, analysis, decision).encode(), "text/markdown")
    ctx.record_decision(config.experiment, decision)

    arms = (analysis.base, analysis.treated)
    return AbReportResult(
        decision=decision.decision,
        reason=decision.reason,
        events=data.events,
        units={arm.name: arm.units for arm in arms},
        favorite_rates={arm.name: arm.favorite_rate for arm in arms},
        favorite_difference=_ends(analysis.favorite),
        safety_block_rates={arm.name: arm.block_rate for arm in arms},
        safety_difference=_ends(analysis.safety),
        contamination=analysis.contamination,
        rehearsal=data.rehearsal,
        report=report,
    )


def _ends(interval: Interval | None) -> tuple[float, float, float] | None:
    return (interval.estimate, interval.lower, interval.upper) if interval else None
