"""The report that a person reads, in Markdown: the same look that the page shows."""

from __future__ import annotations

from collections.abc import Iterator

from goldsmith.ab import Experiment
from goldsmith.ab_look import ArmLook, Look, MetricLook

SIGNS = {"ok": "ok", "watch": "WATCH", "breach": "BREACH", "unknown": "not known"}


def markdown(experiment: Experiment, look: Look) -> str:
    label = "REHEARSAL: an adapter of this experiment learned from the rehearsal teacher.\n\n" if look.rehearsal else ""
    forced = experiment.forced
    override = f"OVERRIDDEN by {forced.actor}: {forced.reason}\n\n" if forced else ""
    return (
        f"# {experiment.name}: {look.verdict.decision}\n\n{label}{override}{look.verdict.reason}\n\n{_arms(look)}\n\n"
        f"## Arm minus base\n\n{_metrics(look)}\n\n## Guardrails\n\n{_guardrails(look)}\n\n"
        f"## Whether the numbers can be trusted\n\n- {look.srm.words}\n- {look.contamination.words}\n{''.join(_notes(look))}\n"
        f"{look.events:,} events; the experiment is {experiment.status}, plan {(experiment.plan_sha256 or 'not frozen')[:12]}. A unit is"
        f" one {experiment.plan.unit}: a person with two devices counts twice. Units are judged by the arm they were given, whatever"
        " model answered. Attempts whose safety check itself failed count as attempts, not as blocks; blocks before the arm's model"
        " are left out. The intervals hold over all looks together, however often somebody looks.\n"
    )


def _arms(look: Look) -> str:
    rows = [
        ("", *(arm.name for arm in look.arms)),
        ("---", *("---:" for _ in look.arms)),
        ("planned share", *(f"{arm.share:.1%}" for arm in look.arms)),
        ("exposed units", *(f"{arm.units:,}" for arm in look.arms)),
        ("units never exposed", *(f"{arm.never_exposed:,}" for arm in look.arms)),
        ("interceptions", *(f"{arm.interceptions:,}" for arm in look.arms)),
        ("answered by the arm's own model", *(_share(arm.as_treated) for arm in look.arms)),
        ("gated to base", *(f"{arm.gated:,}" for arm in look.arms)),
        ("went through the look-up loop", *(f"{arm.wiki:,}" for arm in look.arms)),
        ("blocked generation attempts", *(_rate(arm.blocks, arm.attempts) for arm in look.arms)),
        ("errors", *(f"{arm.errors:,}" for arm in look.arms)),
        ("latency p50 / p95", *(_latency(arm) for arm in look.arms)),
    ]
    return _table(rows)


def _metrics(look: Look) -> str:
    rows = [("metric", "role", *(arm.name for arm in look.arms), "difference"), ("---",) * (3 + len(look.arms))]
    for metric in look.metrics:
        values = (_value(metric, arm.name) for arm in look.arms)
        rows.append((metric.label, metric.role, *values, "; ".join(_differences(metric)) or metric.note or "not known"))
    return _table(rows)


def _value(metric: MetricLook, arm: str) -> str:
    value = metric.arms.get(arm)
    if value is None or value.value is None:
        return "not known"
    return f"{value.value:.1%} of {value.n:,}" if metric.kind == "share" else f"{value.value:.2f} {metric.kind}"


def _differences(metric: MetricLook) -> Iterator[str]:
    for one in metric.differences:
        if one.estimate is not None and one.lower is not None and one.upper is not None:
            ends = f"(between {one.lower * 100:+.1f} and {one.upper * 100:+.1f} at {100 - 100 * one.alpha:.4g}%)"
            yield f"{one.arm} {one.estimate * 100:+.1f} points {ends}"


def _guardrails(look: Look) -> str:
    forced = " (overridden)"
    return "\n".join(
        f"- **{SIGNS[one.state]}**{forced if one.forced else ''} {one.label}, {one.arm}: {one.words}" for one in look.guardrails
    )


def _notes(look: Look) -> Iterator[str]:
    for arm in look.arms:
        if arm.foreign_attempts:
            yield f"- Note: {arm.foreign_attempts} attempts of {arm.name} are left out: another model answered.\n"
        if arm.edited_attempts:
            yield (
                f"- Note: {arm.edited_attempts} attempts of {arm.name} are left out of the block rate: the user had changed the"
                f" text; {arm.edited_blocks} of them were blocked.\n"
            )
    for metric in look.metrics:
        if metric.note:
            yield f"- {metric.label}: {metric.note}\n"


def _table(rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _rate(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.1%})" if whole else "none yet"


def _share(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1%}"


def _latency(arm: ArmLook) -> str:
    p50, p95 = arm.latency_p50_ms, arm.latency_p95_ms
    return "not known" if p50 is None or p95 is None else f"{p50:,.0f} / {p95:,.0f} ms"
