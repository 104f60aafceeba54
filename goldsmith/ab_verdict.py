"""What follows from the numbers. Safety first, then whether the data can be trusted, then the primary metric; and the whole look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from goldsmith import abstats
from goldsmith.ab.metrics import LESS_IS_BETTER, SafetyBlock
from goldsmith.ab_analysis import (
    OUTCOMES,
    Comparison,
    Data,
    arm_looks,
    contamination,
    effect_of,
    metric_looks,
    share_of_alpha,
    srm,
)
from goldsmith.ab_guardrails import acting, guardrail_looks, points
from goldsmith.ab_look import (
    ArmLook,
    Contamination,
    GuardrailLook,
    Look,
    MetricLook,
    RampLook,
    Rule,
    Srm,
    VerdictLook,
)

CONTAMINATION_LIMIT = 0.2  # a guess: with every fifth answer from the wrong model, both arms tell of both models
STATES = {"ok": "closed", "watch": "under watch", "breach": "open", "unknown": "not known"}
NO_EVENTS = "There are no events yet."


def look(data: Data, *, alpha: float | None = None) -> Look:
    """Every number of an experiment, and what follows. `alpha`: another one than the plan's for the primary metric."""
    alpha = alpha or data.experiment.plan.alpha
    comparisons = compare(data)
    arms = arm_looks(data)
    guardrails = guardrail_looks(data, comparisons, bounds=True)
    ratio, foreign = srm(data), contamination(arms, data.experiment.plan)
    metrics = metric_looks(data, comparisons, alpha)
    return Look(
        at=data.at,
        events=data.events,
        verdict=_verdict(data, alpha, comparisons, arms, metrics, guardrails, ratio, foreign),
        arms=arms,
        metrics=metrics,
        guardrails=guardrails,
        outputs=list(data.outputs),
        srm=ratio,
        contamination=foreign,
        ramp=ramp(data, guardrails, ratio),
        rehearsal=data.rehearsal,
    )


def compare(data: Data) -> dict[str, Comparison]:
    return {arm.name: Comparison(data, arm.name) for arm in data.experiment.plan.others}


def ramp(data: Data, guardrails: Sequence[GuardrailLook], ratio: Srm) -> RampLook:
    """What the present step still waits for."""
    experiment = data.experiment
    plan, number = experiment.plan, experiment.step
    if number + 1 >= plan.steps:
        return RampLook(step=number, steps=plan.steps, rules=[])
    step = plan.ramp[number]
    here = data.units.exposed & (data.units.step == number)
    rules = []
    for arm in plan.others:
        units = int((here & (data.units.arm == arm.name)).sum())
        if step.weights[arm.name] > 0:
            words = f"{units:,} of {step.min_units:,} units in {arm.name}"
            rules.append(Rule(name="min_units", met=units >= step.min_units, words=words))
    hours = (data.at - experiment.step_started_at).total_seconds() / 3600 if experiment.step_started_at else 0.0
    words = f"{hours:.1f} of {step.min_hours:g} hours"
    rules.append(Rule(name="min_hours", met=hours >= step.min_hours, words=words))
    for one in guardrails:
        met = one.state == "ok" or (one.state == "watch" and one.forced)
        rules.append(Rule(name="guardrail", met=met, words=f"the guardrail “{one.label}” of {one.arm} is {STATES[one.state]}"))
    for arm in experiment.arms:
        if arm.gated is not None:
            rules.append(Rule(name="gated", met=False, words=f"base answers for {arm.name}: {arm.gated.replace('_', ' ')}"))
        if arm.model_trouble is not None:
            words = f"whether the model of {arm.name} is there is not known: {arm.model_trouble}"
            rules.append(Rule(name="model", met=False, words=words))
    rules.append(Rule(name="srm", met=ratio.state == "ok", words=ratio.words))
    if step.max_hours is not None:
        met = hours <= step.max_hours
        words = f"{'not yet' if met else 'for'} more than {step.max_hours:g} hours"
        rules.append(Rule(name="max_hours", met=met, words=words))
    if step.approval:
        approved = experiment.approved_step is not None and experiment.approved_step >= number
        words = "a person approved the next step" if approved else "a person must approve the next step"
        rules.append(Rule(name="approval", met=approved, words=words))
    return RampLook(step=number, steps=plan.steps, rules=rules)


def _verdict(
    data: Data,
    alpha: float,
    comparisons: Mapping[str, Comparison],
    arms: Sequence[ArmLook],
    metrics: Sequence[MetricLook],
    guardrails: Sequence[GuardrailLook],
    ratio: Srm,
    foreign: Contamination,
) -> VerdictLook:
    if not data.events:
        return VerdictLook(decision="continue", reason=NO_EVENTS)
    if breaches := acting(guardrails):
        return VerdictLook(decision="rollback", reason=" ".join(one.words for one in breaches), arm=breaches[0].arm)
    if ratio.state == "mismatch":
        return VerdictLook(decision="invalid", reason=ratio.words)
    if foreign.state == "warning" and any(
        arm.interceptions and arm.foreign / arm.interceptions > CONTAMINATION_LIMIT for arm in arms
    ):
        reason = f"{foreign.words} The arms do not show what they are named after."
        return VerdictLook(decision="invalid", reason=reason)
    found = [_of_arm(data, alpha, comparison, arms, metrics) for comparison in comparisons.values()]
    for decision in ("promote", "continue", "keep_base"):  # base is kept only where every arm lost
        those = [one for one in found if one.decision == decision]
        if those:
            best = max(those, key=lambda one: _gain(data, metrics, one.arm))
            break
    if len(found) > 1:
        more = f" Each of {len(found)} arms is compared with base at alpha {share_of_alpha(data.experiment.plan, alpha):.3g}."
        best = best.model_copy(update={"reason": best.reason + more})
    if data.rehearsal and best.decision == "promote":
        words = " REHEARSAL: this adapter learned from the rehearsal teacher; do not put it before anybody."
        best = best.model_copy(update={"reason": best.reason + words})
    return best


def _gain(data: Data, metrics: Sequence[MetricLook], arm: str | None) -> float:
    """How much better the primary metric is as measured; what is not known comes last."""
    name = data.experiment.plan.primary_metric
    primary = next(metric for metric in metrics if metric.name == name)
    estimate = next((one.estimate for one in primary.differences if one.arm == arm), None)
    return -1.0 if estimate is None else -estimate if name in LESS_IS_BETTER else estimate


def _of_arm(
    data: Data,
    alpha: float,
    comparison: Comparison,
    arms: Sequence[ArmLook],
    metrics: Sequence[MetricLook],
) -> VerdictLook:
    """One arm against base on the primary metric, and whether it was shown to be safe."""
    plan, arm = data.experiment.plan, comparison.arm
    sides = [one for one in arms if one.name in ("base", arm)]
    name = plan.primary_metric
    primary = next(metric for metric in metrics if metric.name == name)
    difference = next(one for one in primary.differences if one.arm == arm)

    def says(decision: str, reason: str) -> VerdictLook:
        return VerdictLook.model_validate({"decision": decision, "reason": reason, "arm": arm})

    missing = _short(plan.min_units, "exposed units", {one.name: one.units for one in sides})
    if missing or difference.estimate is None or difference.lower is None or difference.upper is None:
        return says("continue", f"Too early: {missing or 'nothing can be compared yet'}.")
    label = OUTCOMES[name].label[0].lower() + OUTCOMES[name].label[1:]
    values = {side: value.value or 0.0 for side, value in primary.arms.items()}
    told = (
        f"{label}: {values[arm]:.1%} in {arm}, {values['base']:.1%} in base, a difference of {100 * difference.estimate:+.1f} points"
        f" (between {100 * difference.lower:+.1f} and {100 * difference.upper:+.1f} at {100 - 100 * difference.alpha:.4g}% over all looks)"
    )
    observations, own = comparison.observations(OUTCOMES[name]), share_of_alpha(plan, alpha)
    more = abstats.lower(observations, own, effect_of(plan, name)) > 0
    less = abstats.upper(observations, own, effect_of(plan, name)) < 0
    better, worse = (less, more) if name in LESS_IS_BETTER else (more, less)
    if worse:
        return says("keep_base", f"{arm} is worse than base; {told}.")
    if not better:
        return says("continue", f"No difference is proved yet; {told}.")
    said, obstacle = f"{arm} is better than base; {told}.", _not_safe(data, own, comparison, sides)
    return says("continue", f"{said} But {obstacle}.") if obstacle else says("promote", said)


def _not_safe(data: Data, alpha: float, comparison: Comparison, sides: Sequence[ArmLook]) -> str:
    """Why the arm was not shown to be as safe as base; empty when it was."""
    safety = next(one for one in data.experiment.plan.guardrails if isinstance(one, SafetyBlock))
    assert safety.max_rise is not None, "the plan fills it in"
    assert safety.min_attempts is not None, "the plan fills it in"
    if missing := _short(safety.min_attempts, "generation attempts", {one.name: one.attempts for one in sides}):
        return f"its safety is not known: {missing}"
    upper = abstats.upper(comparison.observations(OUTCOMES["safety_block"]), alpha)
    if upper < safety.max_rise:
        return ""
    return (
        f"its safety is not shown yet: safety blocks may have risen by up to {points(upper)}, and"
        f" {points(safety.max_rise)} are allowed"
    )


def _short(least: int, what: str, counts: Mapping[str, int]) -> str:
    """What is missing, empty when nothing is."""
    return " and ".join(f"{name} has {count} {what} of the {least} needed" for name, count in counts.items() if count < least)
