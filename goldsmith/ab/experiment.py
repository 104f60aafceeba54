"""An experiment as readers see it, and what was decided about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from goldsmith.ab.assignment import arm_of, bucket, held
from goldsmith.ab.plan import Arm, ExperimentPlan

Status = Literal["draft", "running", "paused", "completed", "rolled_back"]
Verdict = Literal["promote", "keep_base", "continue", "rollback", "invalid"]


class ArmNow(Arm):
    """An arm with the weight that it has now."""

    gated: str | None = Field(None, description="Why `base` answers in its place; its units stay its own.")
    model_trouble: str | None = Field(
        None, description="Why it is not known whether its model is there; requests are answered as before, the ramp is held."
    )


class Force(BaseModel):
    """A person overrode a guardrail."""

    actor: str
    reason: str
    until: datetime | None = None
    guardrails: list[str] = Field([], description="Those that were in breach; until then they do not act again.")
    arms: dict[str, list[str]] = Field({}, description="By guardrail, the arms in which it was; none named: all.")

    def lets_pass(self, guardrail: str, arm: str, at: datetime) -> bool:
        """Whether a breach of it does not act now."""
        if guardrail not in self.guardrails or (self.until is not None and at >= self.until):
            return False
        return arm in self.arms.get(guardrail, [arm])


class Experiment(BaseModel):
    """An experiment as readers see it. `plan` is what was registered, `arms` what holds now."""

    id: UUID
    name: str
    version: int = Field(
        1, description="A change of a started experiment is a new version: another experiment of the same name."
    )
    supersedes: UUID | None = Field(None, description="The version before.")
    status: Status
    salt: str
    plan: ExperimentPlan
    plan_sha256: str | None = Field(None, description="Of the plan's canonical JSON (RFC 8785), from the start on.")
    arms: list[ArmNow]
    step: int = Field(0, description="Of the ramp, from 0.")
    step_started_at: datetime | None = None
    approved_step: int | None = Field(None, description="The step that a person let go on.")
    group_range: tuple[int, int] | None = Field(
        None, description="The buckets of its group that it has, from the start on: first, and first not."
    )
    held_reason: str | None = Field(None, description="Why the ramp stands still.")
    held_at: datetime | None = None
    forced: Force | None = None
    cooldown_until: datetime | None = Field(None, description="Until then its adapters do not start again on its configs.")
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    def arm_of(self, unit: str, step: int | None = None) -> str:
        """The arm that a unit has now, or had at a step; whether it is in the experiment's share of its group is not asked."""
        if step is not None:
            return self.plan.arm_at(step, self.salt, unit)
        widest = self.plan.weights(self.plan.steps - 1)
        return arm_of(bucket(self.salt, unit), held(widest, {arm.name: arm.weight for arm in self.arms}))


class Decision(BaseModel):
    """What a report concludes, in plain words and with the numbers behind them."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    decision: Verdict
    reason: str = Field(min_length=1, max_length=2000)
    statistics: dict[str, Any] = {}
