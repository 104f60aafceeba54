"""Is an arm still safe? Each guardrail by its rule, as ok, watch, breach or unknown, with its numbers.

A rise is a breach when three things hold: that there is a rise at all is certain (the sequence's lower end at the guardrail's alpha,
over all looks, is above 0), the rise as measured is larger than what is tolerated, and enough was counted. A rate above an absolute
ceiling is one when that is certain. Both are asked of all days at once and of the latest day alone (`ab_days`). What could not be
computed is unknown: it rolls nothing back and lets no ramp go on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from goldsmith import ab_days, abstats
from goldsmith.ab import BASE
from goldsmith.ab.metrics import Entropy, ErrorRate, Latency, SafetyBlock
from goldsmith.ab_analysis import OUTCOMES, Comparison, Data, Floats, arm_looks, share_of_alpha
from goldsmith.ab_look import ArmLook, GuardrailLook, Number, State

UNCHECKED = 0.5  # a guess: where the check failed in more of the attempts, the others tell little of what it would have blocked
ROUNDING = 1e-9  # 12 % less 7 % is 5 points, and not, as floats have it, a bit more


def guardrail_looks(data: Data, comparisons: Mapping[str, Comparison], *, bounds: bool) -> list[GuardrailLook]:
    """All guardrails of all arms. `bounds`: also work out the lower ends, which are told and decide nothing."""
    arms = {arm.name: arm for arm in arm_looks(data)}
    latest = ab_days.latest(data)
    found = []
    for guardrail in data.experiment.plan.guardrails:
        for name, comparison in comparisons.items():
            if isinstance(guardrail, Entropy):
                found.append(_entropy(data, guardrail, name))
                continue
            alpha = share_of_alpha(data.experiment.plan, guardrail.alpha)
            measured = _measured(guardrail, comparison, arms, alpha, math.log(ab_days.WHOLE))
            state, words = measured.judged()
            numbers = measured.numbers(comparison if bounds else None)
            if latest is not None:
                day, share = latest
                day_arms = {arm.name: arm for arm in arm_looks(day)}
                today = _measured(guardrail, Comparison(day, name), day_arms, alpha, share, (ab_days.EFFECT, ab_days.LARGEST))
                numbers |= today.numbers_of_day()
                verdict, said = replace(today, count=measured.count, unknown=None).judged()
                if verdict == "breach" and state != "breach":
                    state, words = verdict, f"On the latest day alone {said}"
            found.append(
                GuardrailLook(
                    name=guardrail.name,
                    label=OUTCOMES[guardrail.name].label,
                    arm=name,
                    state=state,
                    forced=_is_forced(data, guardrail.name, name),
                    words=words,
                    numbers=numbers,
                )
            )
    return found


def acting(guardrails: Sequence[GuardrailLook]) -> list[GuardrailLook]:
    """The breaches that roll back: all but those that a person let pass."""
    return [one for one in guardrails if one.state == "breach" and not one.forced]


def _is_forced(data: Data, name: str, arm: str) -> bool:
    forced = data.experiment.forced
    return forced is not None and forced.lets_pass(name, arm, data.at)


@dataclass(frozen=True)
class _Measured:
    """A rate in the arm and in base."""

    name: str
    arm: str
    what: str
    """That of which it is a rate."""
    done: str
    """What happened to those."""
    counted: str
    """What `count` and `least` are numbers of."""
    base_rate: float | None
    rate: float | None
    count: int
    least: int
    rise: float | None
    proof: float
    """Log of the e-value that there is a rise, discounted by its share of alpha; so is `above`."""
    above: float | None
    """Log of the e-value that the rate is above the ceiling; None: there is no ceiling."""
    max_rise: float
    ceiling: float | None
    alpha: float
    unknown: str | None = None
    """Why a rate that is not too high says nothing."""

    def judged(self) -> tuple[State, str]:
        if self.rate is None or self.base_rate is None or self.rise is None:
            missing = " and ".join(name for name, rate in (("base", self.base_rate), (self.arm, self.rate)) if rate is None)
            return "unknown", f"Not known: there are no {self.what} of {missing or 'both at one step of the ramp'} yet."
        rates = f"{self.rate:.1%} of {self.arm}'s {self.what} {self.done}, and {self.base_rate:.1%} of base's"
        more = f"{points(self.rise)} more, where {points(self.max_rise)} are allowed"
        if self.count < self.least:
            return (
                "unknown",
                f"Not known: {self.arm} has {self.count:,} of the {self.least:,} {self.counted} needed. So far {rates}.",
            )
        certain, sure = -math.log(self.alpha), f"certain at {100 - 100 * self.alpha:.6g}% over all looks"
        too_much = self.rise - self.max_rise > ROUNDING
        if self.proof >= certain and too_much:
            return "breach", f"{rates}: {more}. That there is a rise is {sure}."
        if self.above is not None and self.above >= certain:
            assert self.ceiling is not None
            return "breach", f"{rates}. That it is more than {self.ceiling:.1%}, the most that any arm may have, is {sure}."
        if self.unknown is not None:
            return "unknown", f"Not known: {self.unknown}."
        if too_much:
            return "watch", f"{rates}: {more}. That may still be chance."
        if self.proof >= certain:
            return "watch", f"{rates}: a rise, {sure}, but within the {points(self.max_rise)} that are allowed."
        return "ok", f"{rates}; up to {points(self.max_rise)} more are allowed."

    def numbers(self, comparison: Comparison | None) -> dict[str, Number]:
        lower = None
        if comparison is not None and self.rise is not None:
            observations = comparison.observations(OUTCOMES[self.name])
            lower = abstats.lower(observations, self.alpha * ab_days.WHOLE, self.max_rise or None)
        found: dict[str, Number] = {
            "base": self.base_rate,
            "arm": self.rate,
            "difference": self.rise,
            "lower": lower,
            "limit": self.max_rise,
            "e_value": _e_value(self.proof),
            "alpha": self.alpha,
            self.counted.rpartition(" ")[2]: self.count,
            "least": self.least,
        }
        if self.above is not None:
            found |= {"ceiling": self.ceiling, "ceiling_e_value": _e_value(self.above)}
        return found

    def numbers_of_day(self) -> dict[str, Number]:
        found: dict[str, Number] = {
            "latest_day_base": self.base_rate,
            "latest_day_arm": self.rate,
            "latest_day_e_value": _e_value(self.proof),
        }
        return found if self.above is None else found | {"latest_day_ceiling_e_value": _e_value(self.above)}


def _measured(
    guardrail: SafetyBlock | Latency | ErrorRate,
    comparison: Comparison,
    arms: Mapping[str, ArmLook],
    alpha: float,
    share: float,
    bets: tuple[float, float] | None = None,
) -> _Measured:
    """`share`: log of the part of alpha that this comparison has. `bets`: effect and largest loss, other than the guardrail's."""
    outcome, arm = OUTCOMES[guardrail.name], comparison.arm
    observations, mine = comparison.observations(outcome), comparison.outcomes(outcome, arm)
    ceiling = None if isinstance(guardrail, Latency) else guardrail.ceiling
    if isinstance(guardrail, SafetyBlock):
        assert guardrail.max_rise is not None, "the plan fills it in"
        assert guardrail.min_attempts is not None, "the plan fills it in"
        what = counted = "generation attempts"
        done, max_rise, least = "were blocked", guardrail.max_rise, guardrail.min_attempts
        count, rise = arms[arm].attempts, comparison.rise("blocks", "attempts")
        base_rate, rate = (arms[name].blocks / arms[name].attempts if arms[name].attempts else None for name in (BASE, arm))
    else:
        what, counted = "answers", "units"
        done = f"took longer than {guardrail.limit_ms:,} ms" if isinstance(guardrail, Latency) else "failed"
        max_rise, least = guardrail.max_rise, guardrail.min_units
        count, rise = mine.size, abstats.estimate(observations)
        base_rate, rate = (mean(comparison.outcomes(outcome, name)) for name in (BASE, arm))
    effect, largest = bets or (max_rise or None, abstats.LARGEST)
    return _Measured(
        name=guardrail.name,
        arm=arm,
        what=what,
        done=done,
        counted=counted,
        base_rate=base_rate,
        rate=rate,
        count=count,
        least=least,
        rise=rise,
        proof=abstats.evidence(observations, effect=effect, largest=largest) + share,
        above=abstats.rate_evidence(mine, ceiling, largest) + share if ceiling is not None and ceiling < 1 else None,
        max_rise=max_rise,
        ceiling=ceiling,
        alpha=alpha,
        unknown=_unchecked(arms[BASE], arms[arm]) if isinstance(guardrail, SafetyBlock) else None,
    )


def _unchecked(*arms: ArmLook) -> str | None:
    """Where the safety check failed too often, no block is no sign of safety."""
    return next(
        (
            f"in {one.unchecked:,} of {one.name}'s {one.attempts:,} generation attempts the safety check itself failed"
            for one in arms
            if one.unchecked > UNCHECKED * one.attempts
        ),
        None,
    )


def _entropy(data: Data, guardrail: Entropy, arm: str) -> GuardrailLook:
    variety = data.varieties.get(arm)
    state: State = "unknown"
    words = "Not known: no outputs came with a sketch yet."
    numbers: dict[str, Number] = {"limit": guardrail.max_drop, "least": guardrail.min_outputs}
    if variety is not None:
        state, words = variety.judged(guardrail)
        if data.behind and state != "breach":
            state, words = "unknown", f"Not known: {variety.outputs:,} outputs of {arm} were read, and there are more."
        numbers |= variety.numbers()
    return GuardrailLook(
        name="entropy",
        label="Variety of the outputs",
        arm=arm,
        state=state,
        forced=_is_forced(data, "entropy", arm),
        words=words,
        numbers=numbers,
    )


def mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None


def points(value: float) -> str:
    return f"{value * 100:.1f} points"


def _e_value(log: float) -> float:
    """JSON has no infinity."""
    return math.exp(min(log, 700.0))
