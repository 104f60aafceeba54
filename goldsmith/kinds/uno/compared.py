"""The adapters that UNO is compared with in the ablation: one for all sessions, and one for each config. Their jobs may fail
without the rest of the run: the table then says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from goldsmith.job import Job
from goldsmith.kinds.uno import bodies

if TYPE_CHECKING:
    from goldsmith.kinds.uno.schema import UnoConfig
    from goldsmith.kinds.uno.steps import Steps

VARIANTS = bodies.GROUPS  # the cheaper one last: its answers and grades are in the ledger then


@dataclass
class Compared:
    """What the ablation is told: adapters, and why one is not there."""

    adapters: dict[str, Any] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


def wanted(config: UnoConfig) -> list[str]:
    """The variants for which the ablation wants an adapter that nobody has given."""
    options = config.ablation
    if options is None:
        return []
    asked, absent = options.get("variants"), options.get("absent")
    return [
        one
        for one in VARIANTS
        if one not in options
        and (not isinstance(asked, list) or one in asked)
        and (not isinstance(absent, dict) or one not in absent)
    ]


def make_pairs(config: UnoConfig, steps: Steps, plan: Mapping[str, Any], budget_usd: float) -> None:
    """One after the other; `budget_usd` is what both may spend."""
    for row in plan.get("compared", []):
        left = round(budget_usd - sum(job.cost_usd for key, job in steps.jobs.items() if key.startswith("pairs-")), 6)
        if row["absent"] is None and left > 0:
            body = bodies.grouped(config, steps.jobs["cluster"].ref, row["variant"], left)
            steps.start(f"pairs-{row['variant']}", body, stage="pairs", may_fail=True)
            steps.settle()


def train(config: UnoConfig, steps: Steps) -> None:
    for variant in VARIANTS:
        for group in _groups(steps, variant):
            name = f"{config.name}-{group['cluster_id']}"
            body = bodies.compared(config, name, group["pairs"])
            steps.start(f"{variant}-{group['cluster_id']}", body, stage="adapters", may_fail=True)


def told(config: UnoConfig, steps: Steps, plan: Mapping[str, Any]) -> Compared:
    """Once all trainings have ended."""
    found = Compared()
    for row in plan.get("compared", []):
        variant = row["variant"]
        made = {
            group["config_id"]: job.result["adapter"]
            for group in _groups(steps, variant)
            if (job := steps.jobs[f"{variant}-{group['cluster_id']}"]).status == "completed" and job.result
        }
        if made:
            found.adapters[variant] = made if variant == "by_config" else made[None]
        else:
            found.absent[variant] = row["absent"] or _why_not(steps, variant)
    return found


def _groups(steps: Steps, variant: str) -> Sequence[Mapping[str, Any]]:
    """Those with a dataset. Where the budget ended first there is none: an adapter of a part says nothing of the whole."""
    job = steps.jobs.get(f"pairs-{variant}")
    if job is None or job.result is None or job.result["stopped_by"] is not None:
        return []
    return [group for group in job.result["clusters"] if group["pairs"]]


def _why_not(steps: Steps, variant: str) -> str:
    job = steps.jobs.get(f"pairs-{variant}")
    if job is None:
        return "nothing was left of budget_usd to make its pairs"
    if job.status == "completed" and job.result and job.result["stopped_by"] is not None:
        return f"the part of budget_usd that is for it ended before all its pairs were made ({job.ref})"
    trainings = [one for key, one in steps.jobs.items() if key.startswith(f"{variant}-")]
    return _ended(next((one for one in trainings if one.status != "completed"), job))


def _ended(job: Job) -> str:
    said = (job.error or {}).get("detail") or job.message
    return f"{job.ref} was cancelled" if job.status == "cancelled" else f"{job.ref} failed: {said}"[:1000]
