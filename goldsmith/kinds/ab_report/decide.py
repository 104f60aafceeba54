"""What follows from the statistics. Safety first, then whether the data can be trusted, then favourites."""

from __future__ import annotations

from goldsmith.ab import Decision, ExperimentPlan, Verdict
from goldsmith.kinds.ab_report.analysis import SAFETY_ALPHA, Analysis

MISMATCH_LIMIT = 1000.0
"""An arm misses units with less than 1 chance in 1,000 of being wrong, over all looks."""
CONTAMINATION_WARNING = 0.02
CONTAMINATION_LIMIT = 0.2  # a guess: with every fifth answer from the wrong model, both arms tell of both models


def decide(plan: ExperimentPlan, analysis: Analysis, *, rehearsal: bool) -> Decision:
    """promote, keep_base, continue, rollback or invalid, with the reason in plain words."""
    verdict, reason = _verdict(plan, analysis)
    if rehearsal and verdict == "promote":
        reason += " REHEARSAL: this adapter learned from the rehearsal teacher; do not put it before anybody."
    return Decision(decision=verdict, reason=reason, statistics=analysis.statistics())


def warnings(analysis: Analysis) -> list[str]:
    """What a reader must know beside the verdict."""
    found = []
    if analysis.contamination is not None and analysis.contamination > CONTAMINATION_WARNING:
        found.append(f"{analysis.contamination:.1%} of the interceptions were answered by another model than the arm's.")
    for arm in (analysis.base, analysis.treated):
        if arm.counts.foreign_attempts:
            found.append(f"{arm.counts.foreign_attempts} attempts of {arm.name} are left out: another model answered.")
        if arm.counts.edited_attempts:
            found.append(
                f"{arm.counts.edited_attempts} attempts of {arm.name} are left out of the block rate: the user had changed the"
                f" text; {arm.counts.edited_blocks} of them were blocked."
            )
    return found


def _verdict(plan: ExperimentPlan, analysis: Analysis) -> tuple[Verdict, str]:
    base, treated = analysis.base, analysis.treated
    if not analysis.events:
        return "continue", "There are no events yet."
    attempts_short = _short(plan.min_attempts, "generation attempts", **{arm.name: arm.attempts for arm in (base, treated)})
    rise = analysis.block_rate_rise
    proved = analysis.safety_lower is not None and analysis.safety_lower > 0
    if not attempts_short and proved and rise is not None and rise > plan.safety_margin:
        return "rollback", (
            f"Safety stages block {treated.block_rate:.1%} of the attempts of {treated.name} and {base.block_rate:.1%} of base:"
            f" {_points(rise)} more, where {_points(plan.safety_margin)} are allowed. That there is a rise is certain at"
            f" {1 - SAFETY_ALPHA:.0%}."
        )
    if analysis.mismatch >= MISMATCH_LIMIT:
        return "invalid", (
            f"{treated.name} has {treated.units} of {treated.units + base.units} units, but should have"
            f" {treated.planned_share:.1%}: units are missing from one arm, so the arms cannot be compared."
        )
    if analysis.contamination is not None and analysis.contamination > CONTAMINATION_LIMIT:
        return "invalid", (
            f"{analysis.contamination:.0%} of the interceptions were answered by another model than the arm's: the arms do"
            " not show what they are named after."
        )
    units_short = _short(plan.min_units, "exposed units", **{arm.name: arm.units for arm in (base, treated)})
    if units_short or analysis.favorite is None:
        return "continue", f"Too early: {units_short}."
    if analysis.favorite.upper < 0:
        return "keep_base", f"{treated.name} gets fewer favourites than base: {_interval(analysis)}."
    if analysis.favorite.lower <= 0:
        return "continue", f"No difference in favourites is proved yet: {_interval(analysis)}."
    better = f"{treated.name} gets more favourites than base: {_interval(analysis)}"
    if attempts_short:
        return "continue", f"{better}. But its safety is not known: {attempts_short}."
    if analysis.safety_upper is None or analysis.safety_upper >= plan.safety_margin:
        upper = "unknown" if analysis.safety_upper is None else _points(analysis.safety_upper)
        return "continue", (
            f"{better}. But its safety is not shown yet: safety blocks may have risen by up to {upper}, and"
            f" {_points(plan.safety_margin)} are allowed."
        )
    return "promote", f"{better}, and safety blocks have not risen by more than {_points(analysis.safety_upper)}."


def _short(least: int, what: str, **counts: int) -> str:
    """What is missing, empty when nothing is."""
    return " and ".join(f"{name} has {count} {what} of the {least} needed" for name, count in counts.items() if count < least)


def _interval(analysis: Analysis) -> str:
    interval = analysis.favorite
    assert interval is not None
    return (
        f"{analysis.treated.favorite_rate:.1%} against {analysis.base.favorite_rate:.1%} of the units, {interval} at"
        f" {1 - analysis.alpha:.0%} over all looks"
    )


def _points(value: float) -> str:
    return f"{value * 100:.1f} points"
