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
SHOWN_LOOKS = 4
STATES = {  # sign, word, colour: the first two say it alone
    "ok": ("✓", "OK", "green"),
    "watch": ("!", "Watch", "yellow"),
    "breach": ("✗", "BREACH", "bold red"),
    "unknown": ("?", "Not computed", "dim"),
}
BADGES = {"running": "green", "paused": "yellow", "rolled_back": "bold red"}


def screen(report: Data, *, decisions: int | None = SHOWN_DECISIONS) -> RenderableType:
    """All of it, what matters most on top. `decisions`: how many of the newest; None: all that the report has."""
    experiment, look = report["experiment"], report.get("look")
    parts: list[RenderableType] = [_head(report), *_alerts(report)]
    if look is not None:
        parts += [_lights(look), _effect(report), _arms(experiment, look), _guardrails(look), _metrics(look)]
        parts += [*_notes(look), *_ramp(look)]
    parts.append(_decisions((report.get("decisions") or [])[:decisions]))
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
    if look.get("pending_events"):
        head.append(f"; {look['pending_events']:,} more since", style="dim not bold")
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
    found += [
        f"Base answers in place of {arm['name']}: {words(arm['gated'])}" for arm in experiment["arms"] if arm.get("gated")
    ]
    found += [
        f"Whether the model of {arm['name']} is there is not known: {arm['model_trouble']}"
        for arm in experiment["arms"]
        if arm.get("model_trouble")
    ]
    if (forced := experiment.get("forced")) and not ended:
        found.append(f"{forced['actor']} decided to go on in spite of a guardrail: {forced['reason']}")
    if experiment.get("held_reason") and not ended:
        found.append(f"Held: {experiment['held_reason']}")
    return [Text(f"! {plain(one)}", style="bold yellow") for one in found]


def newest_probe(report: Data) -> Data:
    return next((one["probe"] for one in report.get("decisions") or [] if one.get("probe")), {})


def _lights(look: Data) -> Text:
    """All guardrails in a line or two, the worst first: the table of them may lie below the edge of a small terminal."""
    watched = _watched(look)
    line = Text("Guardrails")
    for state in ("breach", "watch", "unknown", "ok"):
        names = [f"{label} ({arm})" if arm else label for label, arm, found, _, _ in watched if found == state]
        if names:
            line.append(" · ").append_text(_light(state))
            line.append(f": {len(names) if state == 'ok' else ', '.join(names)}")
    return line


def _guardrails(look: Data) -> Table:
    table = _table("guardrail", "arm", "state", "what was found")
    for label, arm, state, said, forced in _watched(look):
        table.add_row(label, arm, _light(state, forced=forced), said)
    return table


def _watched(look: Data) -> list[tuple[str, str, str, str, bool]]:
    """Label, arm, state, words, and whether a person lets it run on: the guardrails, and what else can make the numbers wrong."""
    found = [
        (plain(one["label"]), plain(one["arm"]), one["state"], plain(one["words"]), one.get("forced", False))
        for one in look.get("guardrails") or []
    ]
    for label, name, states in (
        ("Shares of the arms", "srm", {"ok": "ok", "mismatch": "breach"}),
        ("Contamination", "contamination", {"ok": "ok", "warning": "watch"}),
    ):
        if one := look.get(name):
            found.append((label, "", states.get(one["state"], "unknown"), plain(one["words"]), False))
    return found


def _light(state: str, *, forced: bool = False) -> Text:
    sign, word, style = STATES.get(state, STATES["unknown"])
    return Text(f"{sign} {word}{' (forced on)' if forced else ''}", style=style)


def _effect(report: Data) -> RenderableType:
    """The primary metric over time: some looks, evenly spread, the newest last."""
    primary: Data = next((metric for metric in report["look"].get("metrics") or [] if metric["role"] == "primary"), {})
    found = [
        (
            f"{look['units']:,}",
            plain(arm),
            interval(dict(zip(("estimate", "lower", "upper"), ends, strict=True)), primary["kind"]),
        )
        for look in report.get("looks") or []
        for arm, ends in (look["differences"].get(primary.get("name")) or {}).items()
    ]
    if not found:
        return Text("\nThere is no curve yet: no difference was computed at any look.", style="dim")
    arms = len({arm for _, arm, _ in found})
    stride = max(1, -(-len(found) // (SHOWN_LOOKS * arms)))
    looks = [found[place : place + arms] for place in range(0, len(found), arms)]
    table = _table("units", "arm", f"{plain(primary['label'])}, less base")
    for look in looks[(len(looks) - 1) % stride :: stride]:
        for row in look:
            table.add_row(*row)
    return table


def _metrics(look: Data) -> Table:
    arms = [arm["name"] for arm in look["arms"]]
    table = _table("metric", "role", *map(plain, arms), "difference to base")
    for metric in look.get("metrics") or []:
        kind = metric["kind"]
        values = [amount((metric["arms"].get(arm) or {}).get("value"), kind) for arm in arms]
        several = len(metric["differences"]) > 1
        lines = [f"{plain(one['arm']) + ': ' if several else ''}{interval(one, kind)}" for one in metric["differences"]]
        table.add_row(plain(metric["label"]), metric["role"], *values, "\n".join(lines or [MISSING]))
    return table


def _notes(look: Data) -> list[Text]:
    """What to mind about a metric."""
    noted = [metric for metric in look.get("metrics") or [] if metric.get("note")]
    return [Text(f"{plain(metric['label'])}: {plain(metric['note'])}", style="dim") for metric in noted]


def _arms(experiment: Data, look: Data) -> Table:
    """A column for each arm: they are fewer than what is told of them."""
    arms = experiment["arms"]
    counted = {arm["name"]: arm for arm in look["arms"]}

    def row(what: str, name: str, kind: str = "count") -> None:
        values = [counted.get(arm["name"], {}).get(name) for arm in arms]
        table.add_row(
            what, *(f"{value:,}" if kind == "count" and value is not None else amount(value, kind) for value in values)
        )

    table = _table("arm", *(plain(arm["name"]) for arm in arms))
    table.add_row("share", *(amount(arm["weight"], "share") for arm in arms))
    row("units", "units")
    table.add_row("answers with", *(plain(arm.get("adapter") or "the base model") for arm in arms))
    row("as treated", "as_treated", "share")
    row("foreign", "foreign")
    row("gated", "gated")
    row("never exposed", "never_exposed")
    row("latency p95", "latency_p95_ms", "ms")
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
    for one in decisions:
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
