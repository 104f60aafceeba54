"""The live comparison in words: plan, assignment, events, decision. Pydantic only, so the SDK imports it too.

`goldsmith.experiments` has the SQL.
"""

from __future__ import annotations

from collections.abc import Sequence

from goldsmith.ab.assignment import BASE, BUCKETS, arm_of, bucket, held
from goldsmith.ab.events import (
    EVENTS,
    MAX_BATCH,
    Event,
    EventBatch,
    Ingested,
    RejectedEvent,
    event_errors,
    parse_event,
)
from goldsmith.ab.experiment import ArmNow, Decision, Experiment, Force, Status, Verdict
from goldsmith.ab.plan import Arm, Eligibility, ExperimentPlan, Id, ModelName, NewExperiment, RampStep, Salt

__all__ = [
    "BASE",
    "BUCKETS",
    "EVENTS",
    "MAX_BATCH",
    "Arm",
    "ArmNow",
    "Decision",
    "Eligibility",
    "Event",
    "EventBatch",
    "Experiment",
    "ExperimentPlan",
    "Force",
    "Id",
    "Ingested",
    "ModelName",
    "NewExperiment",
    "RampStep",
    "RejectedEvent",
    "Salt",
    "Status",
    "Verdict",
    "assign",
    "bounds",
    "bucket",
    "event_errors",
    "parse_event",
]


def bounds(arms: Sequence[Arm]) -> dict[str, range]:
    """The buckets of each arm where there is no ramp; `base` has those behind the others'."""
    weights = {arm.name: arm.weight for arm in arms}
    holding = held(weights, weights)
    return holding | {BASE: range(sum(map(len, holding.values())), BUCKETS)}


def assign(salt: str, unit: str, arms: Sequence[Arm]) -> Arm:
    """The arm of a unit where there is no ramp; `ExperimentPlan.arm_at` knows of ramps."""
    name = arm_of(bucket(salt, unit), bounds(arms))
    return next(arm for arm in arms if arm.name == name)
