"""From the units of an experiment to its numbers. Pure: the same data give the same numbers.

Every comparison is an arm against base by intention to treat: a unit counts for the arm that it was given, whatever answered it.
One observation is a unit at a step of the ramp. It went to the arm with a chance that the plan fixes, given where the unit had been
before; a unit that could not have gone either way is in no comparison. With several arms alpha is shared out evenly among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from goldsmith import abstats
from goldsmith.ab import BASE, BUCKETS, Experiment, ExperimentPlan
from goldsmith.ab_look import ArmLook, Contamination, Difference, MetricLook, OutputsLook, Srm, Value
from goldsmith.abstats import Observations

if TYPE_CHECKING:
    from goldsmith.ab_units import Units
    from goldsmith.ab_variety import Variety

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Role = Literal["primary", "secondary", "guardrail"]

CONTAMINATION_WARNING = 0.02


@dataclass(frozen=True)
class Data:
    """All that a look needs."""

    experiment: Experiment
    units: Units
    events: int
    latencies: Mapping[str, tuple[float, float]]
    """p50 and p95 in ms, by arm."""
    varieties: Mapping[str, Variety]
    """What the outputs' sketches say, by arm but `base`."""
    at: datetime
    rehearsal: bool = False
    outputs: Sequence[OutputsLook] = ()
    behind: bool = False
    """There are outputs that were not read yet."""


@dataclass(frozen=True)
class Outcome:
    """What is measured of a unit, in [0, 1], and of which units."""

    name: str
    label: str
    of: Callable[[Units], tuple[Floats, Mask]]
    note: str | None = None


def _any(column: str) -> Callable[[Units], tuple[Floats, Mask]]:
    """Whether it ever happened to the unit."""

    def of(units: Units) -> tuple[Floats, Mask]:
        return (getattr(units, column) > 0).astype(float), units.exposed

    return of


def _share(part: str, *whole: str) -> Callable[[Units], tuple[Floats, Mask]]:
    """The unit's share of one count in others (the largest of them); units that have none of those are left out."""

    def of(units: Units) -> tuple[Floats, Mask]:
        all_ = np.maximum.reduce([getattr(units, name).astype(float) for name in whole])
        y: Floats = np.minimum(1.0, getattr(units, part) / np.maximum(all_, 1.0))
        return y, units.exposed & (all_ > 0)

    return of


OUTCOMES = {
    outcome.name: outcome
    for outcome in (
        Outcome("favorite", "Units that kept a favourite", _any("favorites")),
        Outcome(
            "regeneration",
            "Answers asked for again",
            _share("regenerations", "interceptions"),
            "Weak: one asks again out of joy as well as out of disappointment.",
        ),
        Outcome("user_edit", "Share of the text that users changed", _share("edit_share", "interceptions")),
        Outcome("export", "Units that exported something", _any("exports")),
        Outcome("abandon", "Units that gave up", _any("abandons")),
        Outcome(
            "safety_block",
            "Generation attempts blocked by a safety stage",
            _share("blocks", "attempts"),
            "The arms' rates are in attempts; the difference is one of units, each with the share of its own attempts.",
        ),
        Outcome("latency", "Answers slower than the limit", _share("slow", "interceptions")),
        Outcome("error", "Answers in which the arm's model failed", _share("errors", "interceptions", "errors")),
    )
}


class Comparison:
    """One arm against base."""

    def __init__(self, data: Data, arm: str) -> None:
        self.arm, self._units = arm, data.units
        units, plan = data.units, data.experiment.plan
        self.treated: Mask = units.arm == arm
        chance = _chances(plan, arm)[units.step, units.former_step]
        open_ = (chance > 0) & (chance < 1)
        self._chance = chance
        self._compared = (self.treated | (units.arm == BASE)) & open_ & ~units.known

    def observations(self, outcome: Outcome) -> Observations:
        y, has = outcome.of(self._units)
        rows = has & self._compared
        return Observations(self.treated[rows], self._chance[rows], y[rows])

    def outcomes(self, outcome: Outcome, arm: str) -> Floats:
        """Of one side alone."""
        y, has = outcome.of(self._units)
        mine: Floats = y[has & (self._units.arm == arm)]
        return mine

    def rise(self, part: str, whole: str) -> float | None:
        """Difference of the rates in counts, the arm minus base: within each step, weighted by the arm's counts there.

        None while no step has counts in both.
        """
        units, base = self._units, self._units.arm == BASE
        total, weight = 0.0, 0.0
        for step in np.unique(units.step):
            here = (units.step == step) & units.exposed
            mine, theirs = here & self.treated, here & base
            n, m = float(getattr(units, whole)[mine].sum()), float(getattr(units, whole)[theirs].sum())
            if n and m:
                total += n * (getattr(units, part)[mine].sum() / n - getattr(units, part)[theirs].sum() / m)
                weight += n
        return float(total / weight) if weight else None


def _chances(plan: ExperimentPlan, arm: str) -> Floats:
    """[step, former step]: the chance that a unit of the arm or of base went to the arm. The last column: not seen before.

    A unit that was in base when the arm held r buckets, and is in either when it holds w, came from the w - r new ones or from base.
    """
    steps = range(plan.steps)
    width = [len(plan.holding(step)[arm]) for step in steps]
    base = [BUCKETS - sum(map(len, plan.holding(step).values())) for step in steps]
    rows = [
        [max(0, width[step] - former) / (max(0, width[step] - former) + base[step]) for former in [*width, 0]] for step in steps
    ]
    return np.array(rows, dtype=float)


def share_of_alpha(plan: ExperimentPlan, alpha: float) -> float:
    return alpha / len(plan.others)


def effect_of(plan: ExperimentPlan, name: str) -> float | None:
    """The surplus that the bets on a metric are tuned to."""
    return plan.minimum_effect if name == plan.primary_metric else None


def metric_looks(data: Data, comparisons: Mapping[str, Comparison], alpha: float) -> list[MetricLook]:
    plan = data.experiment.plan
    found = []
    for metric in plan.metrics:
        role: Role = metric.role
        if metric.name == "entropy":
            found.append(_entropy(data))
            continue
        outcome = OUTCOMES[metric.name]
        y, has = outcome.of(data.units)
        arms = {}
        for arm in plan.arms:
            mine = y[has & (data.units.arm == arm.name)]
            arms[arm.name] = Value(n=mine.size, value=float(mine.mean()) if mine.size else None)
        if metric.name == "safety_block":  # in attempts, as the rate is defined; the difference is one of units
            for look in arm_looks(data):
                rate = look.blocks / look.attempts if look.attempts else None
                arms[look.name] = Value(n=look.attempts, value=rate)
        differences = []
        for name, comparison in comparisons.items():
            observations = comparison.observations(outcome)
            own = share_of_alpha(plan, metric.alpha if metric.role == "guardrail" else alpha)
            found_ = abstats.sequence(observations, own, effect_of(plan, metric.name))
            ends = (found_.estimate, found_.lower, found_.upper) if found_ else (None, None, None)
            differences.append(
                Difference(arm=name, n=len(observations), estimate=ends[0], lower=ends[1], upper=ends[2], alpha=own)
            )
        missing = [name for name, value in arms.items() if value.value is None]
        note = f"Not known yet: nothing was counted in {' and '.join(missing)}." if missing else outcome.note
        found.append(
            MetricLook(
                name=metric.name, role=role, label=outcome.label, kind="share", note=note, arms=arms, differences=differences
            )
        )
    return found


def _entropy(data: Data) -> MetricLook:
    arms = {arm.name: Value(n=0, value=None) for arm in data.experiment.plan.arms}
    note: str | None = "Not known yet: no outputs came with a sketch."
    for variety in data.varieties.values():
        arms |= {BASE: Value(n=variety.base_outputs, value=variety.base_entropy)}
        arms |= {variety.arm: Value(n=variety.outputs, value=variety.entropy)}
        note = variety.note
    return MetricLook(
        name="entropy", role="guardrail", label="Variety of the outputs", kind="bits", note=note, arms=arms, differences=[]
    )


def arm_looks(data: Data) -> list[ArmLook]:
    units, experiment = data.units, data.experiment
    told = _names_models(experiment.plan)

    def looked(name: str) -> ArmLook:
        mine = units.arm == name
        exposed = mine & units.exposed

        def total(column: str) -> int:
            return int(getattr(units, column)[exposed].sum())

        interceptions, foreign = total("interceptions"), total("foreign_")
        p50, p95 = data.latencies.get(name, (None, None))
        return ArmLook(
            name=name,
            share=experiment.plan.share(experiment.step, name),
            units=int(np.unique(units.unit[exposed]).size),
            never_exposed=int((mine & ~units.exposed).sum()),
            gated=total("gated"),
            interceptions=interceptions,
            foreign=foreign,
            wiki=total("wiki"),
            as_treated=1 - (foreign + total("gated")) / interceptions if interceptions and told else None,
            attempts=total("attempts"),
            blocks=total("blocks"),
            unchecked=total("unchecked"),
            edited_attempts=total("edited_attempts"),
            edited_blocks=total("edited_blocks"),
            foreign_attempts=total("foreign_attempts"),
            errors=total("errors"),
            latency_p50_ms=p50,
            latency_p95_ms=p95,
        )

    return [looked(arm.name) for arm in experiment.plan.arms]


def srm(data: Data) -> Srm:
    """Units that had the same chances are a stratum: those of a step that were not seen before, and those seen in base at one step."""
    units, plan = data.units, data.experiment.plan
    names = [arm.name for arm in plan.arms]
    strata: list[tuple[list[int], list[float]]] = []
    observed, expected = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
    counted = units.exposed & ~units.known
    pairs = np.unique(np.stack([units.step[counted], units.former_step[counted]]), axis=1)
    for step, former in ((int(step), int(former)) for step, former in pairs.T):
        rows = counted & (units.step == step) & (units.former_step == former)
        counts = [int((units.arm[rows] == name).sum()) for name in names]
        shares = [plan.share(step, name) - (plan.share(former, name) if former >= 0 and name != BASE else 0) for name in names]
        shares = [share / sum(shares) for share in shares]
        strata.append((counts, shares))
        for name, count, share in zip(names, counts, shares, strict=True):
            observed[name] += count
            expected[name] += share * sum(counts)
    if not strata:
        words = "No unit was exposed yet."
        return Srm(state="unknown", words=words, e_value=None, observed=observed, expected=expected)
    evidence = abstats.mismatch(strata)
    e_value = float(np.exp(min(evidence, 700.0)))
    if evidence < abstats.MISMATCH_LIMIT:
        words = "The arms have the units that their weights promise."
        return Srm(state="ok", words=words, e_value=e_value, observed=observed, expected=expected)
    worst = max(names, key=lambda name: abs(observed[name] - expected[name]) / max(expected[name], 1.0) ** 0.5)
    words = (
        f"{worst} has {observed[worst]:,} of {sum(observed.values()):,} units, where {expected[worst]:,.0f} are expected:"
        " units are missing from an arm, so the arms cannot be compared."
    )
    return Srm(state="mismatch", words=words, e_value=e_value, observed=observed, expected=expected)


def _names_models(plan: ExperimentPlan) -> bool:
    """Otherwise `model_used` tells nothing about arms."""
    return any(arm.model is not None for arm in plan.arms)


def contamination(arms: list[ArmLook], plan: ExperimentPlan) -> Contamination:
    """How many interceptions another model than the arm's answered, silently or in the look-up loop."""
    whole, foreign, wiki = (sum(getattr(arm, name) for arm in arms) for name in ("interceptions", "foreign", "wiki"))
    counts: dict[str, Any] = {"foreign": foreign, "interceptions": whole, "wiki": wiki}
    if not whole:
        return Contamination(state="unknown", words="No interception was completed yet.", share=None, **counts)
    if not foreign and not _names_models(plan):
        words = "The plan names no arm's `model`, so nobody can tell which arm's model answered."
        return Contamination(state="unknown", words=words, share=None, **counts)
    share = max(arm.foreign / arm.interceptions for arm in arms if arm.interceptions)
    worst = next(arm for arm in arms if arm.interceptions and arm.foreign / arm.interceptions == share)
    loop = f" {wiki:,} went through the look-up loop, in which models can be mixed up." if wiki else ""
    if share > CONTAMINATION_WARNING:
        words = (
            f"Another model than the arm's answered {share:.1%} of the interceptions of {worst.name}, where"
            f" {CONTAMINATION_WARNING:.0%} are tolerated.{loop}"
        )
        return Contamination(state="warning", words=words, share=foreign / whole, **counts)
    words = f"Another model than the arm's answered {foreign / whole:.1%} of the interceptions.{loop}"
    return Contamination(state="ok", words=words, share=foreign / whole, **counts)
