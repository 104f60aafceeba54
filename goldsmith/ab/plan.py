"""What is compared, on whom, in which steps, and when it counts as decided. Pydantic only, so the SDK imports it too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from goldsmith.ab.assignment import BASE, BUCKETS, arm_of, bucket, held
from goldsmith.ab.metrics import GUARDRAILS, Guardrail, Metric, OutcomeName, SafetyBlock, default_metrics
from goldsmith.kinds.base import AdapterRef, Name

# No spaces anywhere: an event has no field that a sentence fits into.
ID = r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}"
Id = Annotated[str, StringConstraints(pattern=rf"^{ID}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$")]
Salt = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{8,64}$")]
Alias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,63}$")]
ConfigId = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ContextHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
"""A language as ISO 639 writes it: `en`, `de`, `gsw`."""

LATE_LIMIT_HOURS = 168.0  # a week: so long the SDK's spool keeps an event that cannot be delivered

CLOSE = 1e-9  # by which a sum of weights may miss 1: rounding of the caller's floats


def plain_model(name: str) -> str:
    """Two spellings of one model come to the same: the devserver's `local/qwen3` is Ollama's `qwen3:latest`."""
    return name.removeprefix("local/").removesuffix(":latest")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Arm(_Part):
    """One side of the comparison. `base` answers with the base model, every other arm with its adapter."""

    name: Name
    weight: float = Field(
        default_factory=lambda arm: 0.9 if arm.get("name") == BASE else 0.1,
        ge=0,
        le=1,
        description="Share of the units at the first step, in steps of 1/10,000; 0.9 for `base` and 0.1 for another arm when empty.",
    )
    adapter: AdapterRef | None = Field(None, description="What the arm answers with; none for `base`. Pinned to its version.")
    alias: Alias | None = Field(None, description="The alias that `adapter` named before it was pinned.")
    model: ModelName | None = Field(
        None, description="What `model_used` reads when this arm answered; empty: any model that is no other arm's."
    )


class Eligibility(_Part):
    """Which requests take part. One that does not is in no arm: it is answered by the base model and sends no exposure."""

    configs: list[ConfigId] | None = Field(None, min_length=1, max_length=200, description="The same as the plan's `configs`.")
    context_sha256: list[ContextHash] | None = Field(
        None, min_length=1, max_length=1000, description="Contexts that the adapter was trained on; an edited one is left out."
    )
    input_languages: list[Language] | None = Field(None, min_length=1, max_length=50)
    context_languages: list[Language] | None = Field(None, min_length=1, max_length=50)
    model_present: bool = Field(
        False, description="An arm is gated to base unless the caller names the arm's model among those that it has at hand."
    )


class RampStep(_Part):
    """One step of a ramp, and what must hold before the next begins: these minimums, and every guardrail computable and closed."""

    weights: dict[Name, Annotated[float, Field(ge=0, le=1)]] = Field(
        min_length=1, max_length=10, description="Share of the units by arm; `base` may be left out and has the rest."
    )
    min_units: int = Field(50, ge=0, le=1_000_000, description="Exposed units in each arm but `base`.")
    min_hours: float = Field(0, ge=0, le=8760)
    max_hours: float | None = Field(None, gt=0, le=8760, description="After so long without going on, the step is held.")
    approval: bool = Field(False, description="A person must approve the next step.")


class ExperimentPlan(_Part):
    """What is compared, on whom, and when it counts as decided. Frozen and hashed once the experiment has started."""

    name: Name
    arms: list[Arm] = Field(
        min_length=2, max_length=10, description="`base` and the arms it is compared with; usually 0.9 and 0.1."
    )
    unit: Literal["device_id", "run_id"] = Field(
        "device_id", description="What is assigned, and what counts as one observation."
    )
    configs: list[ConfigId] | None = Field(
        None, min_length=1, max_length=200, description="Config ids that take part; empty: all."
    )
    eligibility: Eligibility = Eligibility()
    group: Name | None = Field(None, description="Experiments of one group never have a unit in common.")
    group_share: float | None = Field(
        None, ge=1 / BUCKETS, le=1, description="Share of the group's units that this experiment takes; 1 when empty."
    )
    ramp: list[RampStep] = Field([], max_length=20, description="Empty: one step, with the arms' weights.")
    metrics: list[Metric] = Field(
        default_factory=default_metrics, min_length=1, max_length=20, description="What is measured, each with its role."
    )
    primary_metric: OutcomeName = Field("favorite", description="The metric of the role `primary`.")
    minimum_effect: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Smallest lift of the primary metric that matters; tunes the sequence, changes no guarantee.",
    )
    min_units: int = Field(50, ge=10, le=1_000_000, description="Exposed units per arm before favourites decide anything.")
    min_attempts: int = Field(
        50, ge=10, le=1_000_000, description="Generation attempts per arm before safety decides anything."
    )
    alpha: float = Field(0.05, ge=1e-6, le=0.2, description="Chance of a wrong winner, however often one looks.")
    safety_margin: float = Field(
        0.05, ge=0, le=0.5, description="Largest tolerated rise of the safety-block rate over base, 0.05 = 5 percentage points."
    )
    horizon_days: float | None = Field(None, gt=0, le=3650, description="Then it is completed, with or without a verdict.")
    horizon_units: int | None = Field(None, ge=20, le=100_000_000, description="The same, counted in exposed units.")
    late_limit_hours: float | None = Field(
        LATE_LIMIT_HOURS,
        ge=0,
        le=87_600,
        description="An event that comes later than this is refused, before the end and after it; null: none, for recorded events.",
    )
    cooldown_minutes: float = Field(
        30,
        ge=0,
        le=10_080,
        description="So long after a rollback nothing of its adapters starts on these configs, unless forced.",
    )

    @model_validator(mode="before")
    @classmethod
    def _say_once(cls, data: Any) -> Any:
        """What may be said in two places is said in both; what a ramp says of the first step, the arms need not repeat."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        eligibility = data.get("eligibility")
        if isinstance(eligibility, dict):
            configs = [place for place in (data.get("configs"), eligibility.get("configs")) if place is not None]
            if len(configs) == 2 and configs[0] != configs[1]:
                raise ValueError("eligibility.configs: differs from configs; name them in one of the two places")
            data["configs"] = configs[0] if configs else None
        if data.get("configs") is not None and isinstance(eligibility, dict | None):
            data["eligibility"] = (eligibility or {}) | {"configs": data["configs"]}
        metrics = data.get("metrics")
        if isinstance(metrics, list) and "primary_metric" not in data:
            primary = [one for one in metrics if isinstance(one, dict) and one.get("role") == "primary"]
            if len(primary) == 1:
                data["primary_metric"] = primary[0].get("name")
        arms, ramp = data.get("arms"), data.get("ramp")
        first = ramp[0].get("weights") if isinstance(ramp, list) and ramp and isinstance(ramp[0], dict) else None
        if (
            isinstance(arms, list)
            and isinstance(first, dict)
            and all(isinstance(value, int | float) for value in first.values())
        ):
            rest = {BASE: max(0, 1 - sum(share for name, share in first.items() if name != BASE))}
            data["arms"] = [
                {"weight": (rest | first)[arm["name"]]} | arm
                if isinstance(arm, dict) and isinstance(arm.get("name"), str) and arm["name"] in (rest | first)
                else arm
                for arm in arms
            ]
        return data

    @model_validator(mode="after")
    def _arms_fit(self) -> Self:
        names = [arm.name for arm in self.arms]
        if names.count(BASE) != 1 or len(set(names)) != len(names):
            raise ValueError(f"arms: exactly one must be named {BASE!r} and names must differ, not {names}")
        for index, arm in enumerate(self.arms):
            if (arm.adapter is None) != (arm.name == BASE):
                what = "has no adapter" if arm.name == BASE else "needs an adapter"
                raise ValueError(f"arms.{index}.adapter: the arm {arm.name} {what}")
        models = [arm.model for arm in self.arms if arm.model is not None]
        if len(set(models)) != len(models):
            raise ValueError(f"arms: `model` must tell the arms apart, not {models}")
        if self.group_share is not None and self.group is None:
            raise ValueError(f"group_share: {self.group_share:g} of which group? name it in `group`")
        return self

    @model_validator(mode="after")
    def _ramp_fits(self) -> Self:
        names = {arm.name for arm in self.arms}
        for number, step in enumerate(self.ramp):
            if unknown := sorted(step.weights.keys() - names):
                raise ValueError(f"ramp.{number}.weights: unknown arms {unknown}; the plan's are {sorted(names)}")
            if missing := sorted(names - {BASE} - step.weights.keys()):
                raise ValueError(f"ramp.{number}.weights: the arms {missing} are missing; every arm but {BASE!r} must be named")
            given = list(step.weights.values())
            if BASE in step.weights or sum(given) > 1:
                _sum_to_1(f"ramp.{number}.weights", given)
            if step.max_hours is not None and step.max_hours <= step.min_hours:
                raise ValueError(f"ramp.{number}.max_hours: {step.max_hours:g} must be more than min_hours, {step.min_hours:g}")
        for number, (before, after) in enumerate(zip(self.ramp, self.ramp[1:], strict=False), start=1):
            for name in sorted(names - {BASE}):
                if after.weights[name] < before.weights[name]:
                    raise ValueError(
                        f"ramp.{number}.weights.{name}: {after.weights[name]:g} is less than {before.weights[name]:g} of the step"
                        " before; a step may only grow, as no unit may go back to base"
                    )
        if not self.ramp:
            _sum_to_1("arms", [arm.weight for arm in self.arms])
        else:
            for index, arm in enumerate(self.arms):
                if abs(arm.weight - self.weights(0)[arm.name]) > CLOSE:
                    raise ValueError(
                        f"arms.{index}.weight: {arm.weight:g}, but the ramp's first step gives {arm.name}"
                        f" {self.weights(0)[arm.name]:g}; leave one of the two out"
                    )
        for number in range(self.steps):
            self._refuse_empty_arms(number)
        return self

    def _refuse_empty_arms(self, step: int) -> None:
        """Base always has units; another arm may wait for a later step, but not for ever, and not all of them at once."""
        where = f"ramp.{step}.weights" if self.ramp else "arms"
        holding, last = self.holding(step), step == self.steps - 1
        for index, arm in enumerate(self.arms):
            must = arm.name == BASE or last
            if must and not round(self.share(step, arm.name) * BUCKETS):
                field = f"{where}.{arm.name}" if self.ramp else f"arms.{index}.weight"
                raise ValueError(f"{field}: {self.weights(step)[arm.name]:g} is below 1/{BUCKETS}; no unit would get it")
        if not any(holding.values()):
            raise ValueError(f"{where}: at least one arm but {BASE!r} needs a weight above 0")

    @model_validator(mode="after")
    def _metrics_fit(self) -> Self:
        names = [metric.name for metric in self.metrics]
        if len(set(names)) != len(names):
            raise ValueError(f"metrics: each may be named once, not {names}")
        primary = [metric.name for metric in self.metrics if metric.role == "primary"]
        if len(primary) != 1:
            raise ValueError(f"metrics: exactly one must have the role 'primary', not {primary}")
        if primary[0] != self.primary_metric:
            raise ValueError(f"primary_metric: {self.primary_metric!r}, but `metrics` gives the role to {primary[0]!r}")
        if "safety_block" not in names:
            raise ValueError("metrics: safety_block must be among them; its limits may be set, it cannot be left out")
        return self

    @property
    def base(self) -> Arm:
        return next(arm for arm in self.arms if arm.name == BASE)

    @property
    def treated(self) -> Arm:
        """The first arm but `base`."""
        return self.others[0]

    @property
    def others(self) -> list[Arm]:
        """Every arm but `base`, in the plan's order."""
        return [arm for arm in self.arms if arm.name != BASE]

    @property
    def steps(self) -> int:
        return max(1, len(self.ramp))

    def weights(self, step: int) -> dict[str, float]:
        """Of every arm at this step, in the plan's order."""
        if not self.ramp:
            return {arm.name: arm.weight for arm in self.arms}
        given = self.ramp[step].weights
        rest = 1 - sum(share for name, share in given.items() if name != BASE)
        return {arm.name: given.get(arm.name, rest) for arm in self.arms}

    @cached_property
    def _holdings(self) -> list[dict[str, range]]:
        widest = self.weights(self.steps - 1)
        return [held(widest, self.weights(step)) for step in range(self.steps)]

    def holding(self, step: int) -> dict[str, range]:
        """The buckets of each arm but `base` at this step."""
        return self._holdings[step]

    def share(self, step: int, arm: str) -> float:
        """The share of the units that the arm really gets at this step: its buckets, counted."""
        holding = self.holding(step)
        count = BUCKETS - sum(map(len, holding.values())) if arm == BASE else len(holding[arm])
        return count / BUCKETS

    def arm_at(self, step: int, salt: str, unit: str) -> str:
        """The arm that a unit has at this step."""
        return arm_of(bucket(salt, unit), self.holding(step))

    @property
    def guardrails(self) -> list[Guardrail]:
        """Those that are watched, with every limit filled in."""
        found: list[Guardrail] = []
        for metric in self.metrics:
            if isinstance(metric, SafetyBlock):
                limits = {"max_rise": self.safety_margin, "min_attempts": self.min_attempts}
                metric = metric.model_copy(update={key: value for key, value in limits.items() if getattr(metric, key) is None})
            if isinstance(metric, GUARDRAILS):
                found.append(metric)
        return found


def _sum_to_1(field: str, weights: Sequence[float]) -> None:
    if abs(sum(weights) - 1) > CLOSE:
        given = " + ".join(f"{weight:g}" for weight in weights)
        raise ValueError(f"{field}: weights must sum to 1, not {sum(weights):.6g} ({given})")


class NewExperiment(ExperimentPlan):
    """The body of `POST /v1/experiments`."""

    salt: Salt | None = Field(None, description="Fixes the assignment, for replaying recorded events; empty: drawn at random.")

    @model_validator(mode="after")
    def _spellings_differ(self) -> Self:
        models = [arm.model for arm in self.arms if arm.model is not None]
        if len(set(map(plain_model, models))) != len(models):
            raise ValueError(f"arms: `model` must tell the arms apart, and some of {models} are spellings of one")
        return self

    @property
    def plan(self) -> ExperimentPlan:
        return ExperimentPlan.model_validate(self.model_dump(exclude={"salt"}))
