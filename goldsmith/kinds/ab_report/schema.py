"""AB report: which arm of an experiment is better, whether it is safe, and what follows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from goldsmith.ab import Verdict
from goldsmith.ab_look import State
from goldsmith.kinds.base import ExperimentId, JobConfig, JobResult


class AbReportConfig(JobConfig):
    kind: Literal["ab_report"] = "ab_report"
    experiment: ExperimentId = Field(description="The experiment to judge, in any state; the verdict goes into its history.")
    alpha: float | None = Field(
        None, ge=1e-6, le=0.2, description="Chance of a wrong winner over all looks together; empty: the plan's."
    )


class AbReportResult(JobResult):
    decision: Verdict
    reason: str
    arm: str = Field(description="The arm that the verdict and the differences are about.")
    events: int = Field(description="Events received so far.")
    units: dict[str, int] = Field(description="Exposed units by arm.")
    favorite_rates: dict[str, float | None] = Field(description="Share of the exposed units with a favourite, by arm.")
    favorite_difference: tuple[float, float, float] | None = Field(
        description="Estimate, lower and upper end of the confidence sequence: other arm minus base."
    )
    safety_block_rates: dict[str, float | None] = Field(description="Blocked attempts over attempts, by arm; null: no attempt.")
    safety_difference: tuple[float, float, float] | None = Field(
        description="Estimate, lower and upper end, of the mean share of blocked attempts per unit."
    )
    contamination: float | None = Field(description="Share of interceptions that another model than the arm's answered.")
    guardrails: dict[str, State] = Field(description="By guardrail and arm: ok, watch, breach or unknown.")
    rehearsal: bool = Field(description="The adapter learned from the rehearsal teacher.")
    report: str = Field(description="Reference of the readable report.")
