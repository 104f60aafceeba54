"""The report of an experiment on a terminal: the same numbers and words as the page in the browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Data = Mapping[str, Any]

MISSING = "not computed"
SHOWN_DECISIONS = 5
STATES = {  # sign, word, colour: the first two say it alone
    "ok": ("✓", "OK", "green"),
    "watch": ("!", "Watch", "yellow"),
    "breach": ("✗", "BREACH", "bold red"),
    "unknown": ("?", "Not computed", "dim"),
}
BADGES = {"running": "green", "paused": "yellow", "rolled_back": "bold red"}


def screen(report: Data) -> RenderableType:
    """All of it, what matters most on top."""
    experiment, look = report["experiment"], report.get("look")
    parts: list[RenderableType] = [_head(report), *_alerts(report)]
    if look is not None:
        parts += [_guardrails(look), _metrics(look), _arms(experiment, look)]
        parts += _ramp(look)
    parts.append(_decisions(report.get("decisions") or []))
    return Group(*parts)


def plain(text: object) -> str:
    """Words of others: nothing in them moves the cursor, changes a colour or sets a title."""
    return "".join(sign if sign.isprintable() else " " for sign in str(text))


def words(name: object) -> str:
    return plain(name).replace("_", " ")


def amount(value: float | None, kind: str) -> str:
    if value is None:
        return MISSING
    match kind:
        case "share":
            return f"{100 * value:.1f} %"
        case "ms":
            return f"{value:,.0f} ms"
        case "bits":
            return f"{value:.3g} bits"
        case _:
            return f"{value:,.3g}"


def interval(difference: Data, kind: str) -> str:
    """`+2.7 points [-1.4, +6.1]`"""
    estimate, lower, upper = (difference.get(name) for name in ("estimate", "lower", "upper"))
    if estimate is None:
        return MISSING
    scale, digits, unit = (100, ".1f", " points") if kind == "share" else (1, ".3g", "" if kind == "count" else f" {kind}")
    ends = "" if lower is None or upper is None else f" [{scale * lower:+{digits}}, {scale * upper:+{digits}}]"
    return f"{scale * estimate:+{digits}}{unit}{ends}"


def _head(report: Data) -> Text:
    experiment, look = report["experiment"], report.get("look")
    head = Text(plain(experiment["name"]), style="bold")
    head.append("  ").append(words(experiment["status"]), style=f"{BADGES.get(experiment['status'], '')} reverse")
    head.append(f"  version {experiment.get('version', 1)}", style="dim")
    if experiment.get("plan_sha256"):
        head.append(f"  plan {experiment['plan_sha256'][:12]}", style="dim")
    if look is None:
        return head.append("\nNothing was looked at yet: there are no numbers.", style="not bold")
    verdict = look.get("verdict") or {}
    head.append(f"\n{words(verdict.get('decision', 'no verdict')).capitalize()}: ")
    head.append(plain(verdict.get("reason", "")), style="not bold")
    head.append(f"\n{look['events']:,} events, looked at {_time(look['at'])}", style="dim not bold")
    for newest in (report.get("decisions") or [])[:1]:  # the table of all is below the edge of a small terminal
        head.append(f"; last decision: {words(newest['decision'])}, {_time(newest['created_at'])}", style="dim not bold")
    return head


def _alerts(report: Data) -> list[Text]:
    """What nobody must miss, most urgent first."""
    experiment, look = report["experiment"], report.get("look") or {}
    ended = experiment["status"] in ("completed", "rolled_back")
    probe = newest_probe(report)
    found = []
    if probe.get("state") == "failed":
        found.append(f"The probe through the serving route failed: {probe.get('words', '')}")
    if look.get("rehearsal"):
        found.append("REHEARSAL: an adapter learned from the rehearsal teacher; put it before nobody.")
    if (look.get("srm") or {}).get("state") == "mismatch":
        found.append(f"The arms do not get their shares: {look['srm']['words']}")
    if (look.get("contamination") or {}).get("state") == "warning":
        found.append(f"Contamination: {look['contamination']['words']}")
    found += [f"Base answers in place of {arm['name']}: {arm['gated']}" for arm in experiment["arms"] if arm.get("gated")]
    found += [
        f"Whether the model of {arm['name']} is there is not known: {arm['model_trouble']}"
        for arm in experiment["arms"]
        if arm.get("model_trouble")
    ]
    if (forced := experiment.get("forced")) and not ended:
        found.append(f"{forced['actor']} decided to go on in spite of a guardrail: {forced['reason']}")
    if experiment.get("held_reason") and not ended:
        found.append(f"Held: {experiment['held_reason']}")
    if look.get("pending_events"):
        found.append(f"{look['pending_events']:,} events came after these numbers.")
    return [Text(f"! {plain(one)}", style="bold yellow") for one in found]


def newest_probe(report: Data) -> Data:
    return next((one["probe"] for one in report.get("decisions") or [] if one.get("probe")), {})


def _guardrails(look: Data) -> Table:
    table = _table("guardrail", "arm", "state", "what was found")
    for one in look.get("guardrails") or []:
        table.add_row(
            plain(one["label"]), plain(one["arm"]), _light(one["state"], forced=one.get("forced", False)), plain(one["words"])
        )
    for label, name, states in (
        ("Shares of the arms", "srm", {"ok": "ok", "mismatch": "breach"}),
        ("Contamination", "contamination", {"ok": "ok", "warning": "watch"}),
    ):
        if found := look.get(name):
            table.add_row(label, "", _light(states.get(found["state"], "unknown")), plain(found["words"]))
    return table


def _light(state: str, *, forced: bool = False) -> Text:
    sign, word, style = STATES.get(state, STATES["unknown"])
    return Text(f"{sign} {word}{' (forced on)' if forced else ''}", style=style)


def _metrics(look: Data) -> Table:
    arms = [arm["name"] for arm in look["arms"]]
    table = _table("metric", "role", *map(plain, arms), "difference to base")
    for metric in look.get("metrics") or []:
        kind = metric["kind"]
        values = [amount((metric["arms"].get(arm) or {}).get("value"), kind) for arm in arms]
        several = len(metric["differences"]) > 1
        lines = [f"{plain(one['arm']) + ': ' if several else ''}{interval(one, kind)}" for one in metric["differences"]]
        note = f"\n{plain(metric['note'])}" if metric.get("note") else ""
        table.add_row(plain(metric["label"]), metric["role"], *values, "\n".join(lines or [MISSING]) + note)
    return table


def _arms(experiment: Data, look: Data) -> Table:
    table = _table("arm", "share", "answers with", "units", "as treated", "foreign", "gated", "never exposed", "p95")
    counted = {arm["name"]: arm for arm in look["arms"]}
    for arm in experiment["arms"]:
        found = counted.get(arm["name"], {})
        counts = [f"{found[name]:,}" if name in found else MISSING for name in ("foreign", "gated", "never_exposed")]
        table.add_row(
            plain(arm["name"]),
            amount(arm["weight"], "share"),
            plain(arm.get("adapter") or "the base model"),
            f"{found['units']:,}" if "units" in found else MISSING,
            amount(found.get("as_treated"), "share"),
            *counts,
            amount(found.get("latency_p95_ms"), "ms"),
        )
    return table


def _ramp(look: Data) -> list[Text]:
    ramp = look.get("ramp")
    if not ramp:
        return []
    line = Text(f"\nstep {ramp['step'] + 1} of {ramp['steps']}", style="bold")
    for rule in ramp.get("rules") or []:
        sign, style = ("✓ met", "green") if rule["met"] else ("… not yet", "yellow")
        line.append(f"\n  {sign}: ", style=style).append(plain(rule["words"]), style="not bold")
    return [line]


def _decisions(decisions: Sequence[Data]) -> RenderableType:
    if not decisions:
        return Text("\nNothing was decided yet.", style="dim")
    table = _table("time", "decision", "by", "why")
    for one in decisions[:SHOWN_DECISIONS]:
        why = Text(plain(one["reason"]))
        if probe := one.get("probe"):
            style = {"passed": "green", "failed": "bold red"}.get(probe.get("state", ""), "yellow")
            why.append(f"\nprobe {plain(probe.get('state', MISSING))}: {plain(probe.get('words', ''))}", style=style)
        by = one.get("actor") or (f"job:{one['job_id']}" if one.get("job_id") else "")
        table.add_row(_time(one["created_at"]), words(one["decision"]), plain(by), why)
    return table


def _table(*columns: str) -> Table:
    table = Table(header_style="bold", box=None, pad_edge=False, title=" ")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _time(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"
