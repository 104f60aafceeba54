"""The report that a person reads, in Markdown."""

from __future__ import annotations

from goldsmith.ab import Decision
from goldsmith.experiments import ExperimentData
from goldsmith.kinds.ab_report.analysis import SAFETY_ALPHA, Analysis, ArmSummary
from goldsmith.kinds.ab_report.decide import MISMATCH_LIMIT, warnings


def markdown(data: ExperimentData, analysis: Analysis, decision: Decision) -> str:
    experiment = data.experiment
    label = "REHEARSAL: the adapter of this experiment learned from the rehearsal teacher.\n\n" if data.rehearsal else ""
    arms = (analysis.base, analysis.treated)
    rows = [
        ("", *(arm.name for arm in arms)),
        ("---", *("---:" for _ in arms)),
        ("planned share", *(f"{arm.planned_share:.1%}" for arm in arms)),
        ("exposed units", *(f"{arm.units:,}" for arm in arms)),
        ("units with a favourite", *(_rate(arm.favorites, arm.units) for arm in arms)),
        ("blocked generation attempts", *(_rate(arm.blocks, arm.attempts) for arm in arms)),
        ("answered by the arm's own model", *(_as_treated(arm) for arm in arms)),
        ("went through the look-up loop", *(f"{arm.counts.wiki:,}" for arm in arms)),
        ("errors", *(f"{arm.counts.errors:,}" for arm in arms)),
        ("latency p50 / p95", *(_latency(arm) for arm in arms)),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = "".join(f"- Note: {warning}\n" for warning in warnings(analysis))
    return (
        f"# {experiment.name}: {decision.decision}\n\n{label}{decision.reason}\n\n{table}\n\n"
        f"- Favourites, {analysis.treated.name} minus base: {analysis.favorite or 'not known yet'}, at {1 - analysis.alpha:.0%}"
        " over all looks.\n"
        f"- Blocked share per unit, {analysis.treated.name} minus base: {analysis.safety or 'not known yet'};"
        f" rolled back when the block rate rises by more than {experiment.plan.safety_margin:.1%} and the rise is certain at"
        f" {1 - SAFETY_ALPHA:.0%}.\n"
        f"- Missing units: evidence {analysis.mismatch:.3g}; from {MISMATCH_LIMIT:,.0f} on the experiment is invalid.\n"
        f"{notes}\n{analysis.events:,} events; the experiment is {experiment.status}. A unit is one {experiment.plan.unit}: a"
        " person with two devices counts twice. Units are judged by the arm they were given, whatever model answered. Attempts"
        " whose safety check itself failed count as attempts, not as blocks; blocks before the arm's model are left out.\n"
    )


def _rate(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.1%})" if whole else "none yet"


def _as_treated(arm: ArmSummary) -> str:
    return "not known" if arm.as_treated is None else f"{arm.as_treated:.1%}"


def _latency(arm: ArmSummary) -> str:
    p50, p95 = arm.counts.latency_p50_ms, arm.counts.latency_p95_ms
    return "not known" if p50 is None or p95 is None else f"{p50:,.0f} / {p95:,.0f} ms"
