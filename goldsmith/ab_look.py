"""A look at an experiment: every number that is told of it, with the words that go with it. Shapes only.

`goldsmith.ab_analysis` makes one from the units; the report, the page, the job `ab_report` and webhooks show the same one.
What could not be computed is null and has words that say why; it is never 0.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from goldsmith.ab import Verdict

State = Literal["ok", "watch", "breach", "unknown"]
Number = float | int | str | None


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class ArmLook(_Part):
    """What was counted in an arm, by the arm that each unit was given."""

    name: str
    share: float = Field(description="Of the units, at the present step.")
    units: int = Field(description="Exposed.")
    never_exposed: int = Field(description="Units with events and no exposure; they are in no comparison until it comes.")
    gated: int = Field(description="Requests of the arm that base answered, as the arm's model was missing.")
    interceptions: int
    foreign: int = Field(description="Interceptions that another model than the arm's answered.")
    wiki: int = Field(description="Interceptions that went through the look-up loop, in which models can be mixed up.")
    as_treated: float | None = Field(description="Share of the interceptions that the arm's own model answered.")
    attempts: int = Field(description="Generation attempts with the arm's own, unedited text at a level where blocking is on.")
    blocks: int = Field(description="Those of them that a stage after the arm's model blocked.")
    unchecked: int = Field(0, description="Those of them in which the safety check itself failed.")
    edited_attempts: int
    edited_blocks: int
    foreign_attempts: int
    errors: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None


class Value(_Part):
    n: int = Field(description="Observations: units, each at one step of the ramp.")
    value: float | None


class Difference(_Part):
    """An arm minus base."""

    arm: str
    n: int = Field(description="Observations of both.")
    estimate: float | None
    lower: float | None = Field(description="With `upper`: the confidence sequence, which holds over all looks together.")
    upper: float | None
    alpha: float


class MetricLook(_Part):
    name: str
    role: Literal["primary", "secondary", "guardrail"]
    label: str
    kind: Literal["share", "bits"]
    note: str | None = Field(description="What to mind about this number, or why there is none.")
    arms: dict[str, Value]
    differences: list[Difference]


class GuardrailLook(_Part):
    name: str
    label: str
    arm: str
    state: State
    forced: bool = Field(description="A person let it run on all the same; until the cool-down ends it does not act.")
    words: str
    numbers: dict[str, Number] = Field(
        description="`base` and `arm` are the two rates, or entropies; the others as they are named."
    )


class OutputsLook(_Part):
    """How varied what an arm's own model wrote for a config is, from the sketches."""

    arm: str
    config: str | None
    outputs: int = Field(description="With a sketch.")
    entropy: float | None = Field(description="Shannon's, in bits over the sketch's 256 buckets: 8 at most.")
    distinct_pairs: float | None = Field(
        description="distinct-2: different pairs of neighbouring words among all of them, give or take 13 %."
    )
    near_duplicates: float | None = Field(description="Share of outputs nearly the same as one of the 50 before.")


class Srm(_Part):
    """Sample-ratio mismatch: do the arms have the units that their weights promise?"""

    state: Literal["ok", "mismatch", "unknown"]
    words: str
    e_value: float | None
    observed: dict[str, int]
    expected: dict[str, float]


class Contamination(_Part):
    state: Literal["ok", "warning", "unknown"]
    words: str
    share: float | None
    foreign: int
    interceptions: int
    wiki: int


class Rule(_Part):
    name: str
    met: bool
    words: str


class RampLook(_Part):
    step: int
    steps: int
    rules: list[Rule] = Field(description="What must be met before the next step; empty at the last one.")


class VerdictLook(_Part):
    decision: Verdict
    reason: str
    arm: str | None = Field(None, description="The arm that it is about.")


class Look(_Part):
    at: datetime
    events: int
    verdict: VerdictLook
    arms: list[ArmLook]
    metrics: list[MetricLook]
    guardrails: list[GuardrailLook]
    outputs: list[OutputsLook] = Field([], description="The variety of the outputs, by arm and config.")
    srm: Srm
    contamination: Contamination
    ramp: RampLook
    rehearsal: bool = Field(description="An adapter of the experiment learned from the rehearsal teacher.")

    def metric(self, name: str) -> MetricLook | None:
        """None: the plan does not measure it."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def difference(self, metric: str, arm: str) -> Difference | None:
        found = self.metric(metric)
        return next((one for one in found.differences if one.arm == arm), None) if found else None


class PastLook(_Part):
    """A point of the curve."""

    at: datetime
    units: int
    step: int
    differences: dict[str, dict[str, tuple[float, float, float]]] = Field(
        description="By metric and arm: estimate, lower and upper end."
    )
