"""The metrics of an experiment, each with its role: the primary one decides, secondary ones are told, guardrails roll back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

OutcomeName = Literal["favorite", "regeneration", "user_edit", "export", "abandon"]
LESS_IS_BETTER: frozenset[str] = frozenset({"regeneration", "user_edit", "abandon"})


class _Metric(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Outcome(_Metric):
    """A mean over units. `regeneration` is weak: a child asks again out of joy as well as out of disappointment."""

    name: OutcomeName
    role: Literal["primary", "secondary"] = "secondary"


class _Guardrail(_Metric):
    role: Literal["guardrail"] = "guardrail"
    alpha: float = Field(0.01, ge=1e-6, le=0.2, description="Chance of a false alarm, however often one looks.")


class SafetyBlock(_Guardrail):
    """The share of generation attempts that a safety stage after the arm's model blocked."""

    name: Literal["safety_block"]
    max_rise: float | None = Field(
        None, ge=0, le=0.5, description="Over base; 0.05 = 5 percentage points. Empty: `safety_margin`."
    )
    min_attempts: int | None = Field(None, ge=10, le=1_000_000, description="In the arm. Empty: the plan's `min_attempts`.")
    ceiling: float | None = Field(0.25, gt=0, le=1, description="Rate that no arm but base may have, whatever base has.")


class Entropy(_Guardrail):
    """The variety of an arm's outputs: below it the arm says the same to everybody."""

    name: Literal["entropy"]
    max_drop: float = Field(0.05, gt=0, lt=1, description="Largest tolerated fall below base, as a share of base's entropy.")
    min_outputs: int = Field(50, ge=10, le=1_000_000, description="With a sketch, in the arm.")


class Latency(_Guardrail):
    """The share of interceptions that took longer than a limit."""

    name: Literal["latency"]
    limit_ms: int = Field(10_000, ge=1, le=86_400_000)
    max_rise: float = Field(0.1, ge=0, le=1, description="Of that share over base.")
    min_units: int = Field(50, ge=10, le=1_000_000)


class ErrorRate(_Guardrail):
    """The share of interceptions in which the arm's model failed."""

    name: Literal["error"]
    max_rise: float = Field(0.05, ge=0, le=1, description="Over base.")
    ceiling: float | None = Field(0.25, gt=0, le=1, description="Rate that no arm but base may have, whatever base has.")
    min_units: int = Field(50, ge=10, le=1_000_000)


Guardrail = SafetyBlock | Entropy | Latency | ErrorRate
GUARDRAILS = (SafetyBlock, Entropy, Latency, ErrorRate)
Metric = Annotated[Outcome | SafetyBlock | Entropy | Latency | ErrorRate, Field(discriminator="name")]


def default_metrics() -> list[Outcome | Guardrail]:
    return [
        Outcome(name="favorite", role="primary"),
        *(Outcome(name=name) for name in ("regeneration", "user_edit", "export", "abandon")),
        SafetyBlock(name="safety_block"),
        Entropy(name="entropy"),
        Latency(name="latency"),
        ErrorRate(name="error"),
    ]
