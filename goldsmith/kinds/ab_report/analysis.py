"""From the units of an experiment to its statistics. Pure: the same data give the same numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from goldsmith.ab import BASE, bounds
from goldsmith.experiments import ArmCounts, ExperimentData, ExperimentPlan, UnitOutcome
from goldsmith.kinds.ab_report.ratio import mismatch_evidence
from goldsmith.kinds.ab_report.sequence import DifferenceSequence, Interval

SAFETY_ALPHA = 0.01


@dataclass(frozen=True)
class ArmSummary:
    name: str
    planned_share: float
    units: int
    """Exposed; the favourite rate's denominator."""
    favorites: int
    attempts: int
    """The block rate's denominator: attempts with this arm's own, unedited text at a level where blocking is on."""
    blocks: int
    counts: ArmCounts

    @property
    def favorite_rate(self) -> float | None:
        return self.favorites / self.units if self.units else None

    @property
    def block_rate(self) -> float | None:
        return self.blocks / self.attempts if self.attempts else None

    @property
    def as_treated(self) -> float | None:
        """Share of the arm's interceptions that the arm's own model answered."""
        return 1 - self.counts.foreign / self.counts.interceptions if self.counts.interceptions else None


@dataclass(frozen=True)
class Analysis:
    alpha: float
    events: int
    base: ArmSummary
    treated: ArmSummary
    favorite: Interval | None
    """Difference of the shares of units with a favourite, treated minus base, at alpha."""
    safety: Interval | None
    """Difference of the mean share of blocked attempts per unit, at alpha. A unit counts once, however often it tried."""
    safety_lower: float | None
    """The same difference's one-sided lower end at SAFETY_ALPHA: above 0, the rise is proved."""
    safety_upper: float | None
    """Its one-sided upper end at alpha: below the margin, a rise beyond the margin is refuted."""
    mismatch: float
    """Evidence that units are missing from an arm, an e-value."""
    contamination: float | None

    @property
    def block_rate_rise(self) -> float | None:
        """Difference of the block rates, treated minus base, in attempts."""
        if self.base.block_rate is None or self.treated.block_rate is None:
            return None
        return self.treated.block_rate - self.base.block_rate

    def statistics(self) -> dict[str, Any]:
        """All of it as JSON."""
        arms = {
            arm.name: asdict(arm)
            | {"favorite_rate": arm.favorite_rate, "block_rate": arm.block_rate, "as_treated": arm.as_treated}
            for arm in (self.base, self.treated)
        }
        own = {name: value for name, value in asdict(self).items() if name not in ("base", "treated")}
        return own | {"arms": arms, "block_rate_rise": self.block_rate_rise, "safety_alpha": SAFETY_ALPHA}


def analyse(data: ExperimentData, alpha: float) -> Analysis:
    plan = data.experiment.plan
    base, treated = (_summarise(name, plan, data) for name in (BASE, plan.treated.name))
    share = treated.planned_share
    favorites, safety = DifferenceSequence(share), DifferenceSequence(share)
    for unit in data.units:
        if unit.exposed:
            favorites.add(unit.arm != BASE, float(unit.favorite))
        if unit.attempts:
            safety.add(unit.arm != BASE, unit.blocks / unit.attempts)
    both = safety.estimate is not None
    interceptions = base.counts.interceptions + treated.counts.interceptions
    return Analysis(
        alpha=alpha,
        events=data.events,
        base=base,
        treated=treated,
        favorite=favorites.interval(alpha),
        safety=safety.interval(alpha),
        safety_lower=safety.lower(SAFETY_ALPHA) if both else None,
        safety_upper=safety.upper(alpha) if both else None,
        mismatch=mismatch_evidence(treated.units, base.units, share),
        contamination=(base.counts.foreign + treated.counts.foreign) / interceptions if interceptions else None,
    )


def _summarise(name: str, plan: ExperimentPlan, data: ExperimentData) -> ArmSummary:
    units: list[UnitOutcome] = [unit for unit in data.units if unit.arm == name]
    exposed = [unit for unit in units if unit.exposed]
    return ArmSummary(
        name=name,
        planned_share=len(bounds(plan.arms)[name]) / sum(map(len, bounds(plan.arms).values())),
        units=len(exposed),
        favorites=sum(unit.favorite for unit in exposed),
        attempts=sum(unit.attempts for unit in units),
        blocks=sum(unit.blocks for unit in units),
        counts=data.arms[name],
    )
