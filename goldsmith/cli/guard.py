"""`goldsmith experiments report|rollback|force|promote`: how an experiment stands, and what a person decides about its safety."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from goldsmith.cli.output import Json, console, errors, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect

Id = Annotated[str, typer.Argument(help="The experiment's id.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it stays in the experiment's history.")]
COLOURS = {"ok": "green", "watch": "yellow", "breach": "red", "unknown": "dim"}


def report(experiment: Id, as_json: Json = False) -> None:
    """Show every number, guardrail and decision of an experiment."""
    with said_plainly(as_json), connect() as client:
        found = client.experiment_report(experiment)
        if as_json:
            print_json(found)
            return
        shown = found["experiment"]
        console.print(f"{shown['name']} is {shown['status']}, step {shown['step'] + 1}", markup=False)
        if shown["forced"]:
            errors.print(f"overridden by {shown['forced']['actor']}: {shown['forced']['reason']}", style="yellow", markup=False)
        look = found["look"]
        if look is None:
            console.print("nobody has looked at it yet; a moment ago it was not running")
        else:
            _look(look)
        rows = [
            (one["created_at"][:19], one["decision"], escape(one["actor"] or ""), escape(one["reason"]), _proof(one))
            for one in found["decisions"]
        ]
        print_table(("when", "decision", "who", "why", "proved"), rows)


def _look(look: dict[str, Any]) -> None:
    console.print(f"{look['verdict']['decision']}: {look['verdict']['reason']}", markup=False)
    arms = [
        (arm["name"], f"{arm['share']:.1%}", f"{arm['units']:,}", f"{arm['interceptions']:,}", _share(arm["as_treated"]))
        for arm in look["arms"]
    ]
    print_table(("arm", "share", "units", "interceptions", "own model"), arms)
    metrics = [
        (metric["label"], metric["role"], one["arm"], *(_points(one[end]) for end in ("estimate", "lower", "upper")))
        for metric in look["metrics"]
        for one in metric["differences"]
    ]
    print_table(("metric", "role", "arm", "minus base", "from", "to"), metrics)
    for one in look["guardrails"]:
        forced = " (overridden)" if one["forced"] else ""
        console.print(f"[{COLOURS[one['state']]}]{one['state']:>7}[/]{forced} {escape(one['label'])}: {escape(one['words'])}")
    for one in (look["srm"], look["contamination"]):
        console.print(one["words"], markup=False)


def _proof(decision: dict[str, Any]) -> str:
    probe = decision["probe"]
    return "" if probe is None else escape(f"{probe['state']}: {probe.get('words', '')}")


def _share(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1%}"


def _points(value: float | None) -> str:
    return "not known" if value is None else f"{value * 100:+.1f}"


def rollback(experiment: Id, reason: Reason, as_json: Json = False) -> None:
    """Pull the arms back at once: every unit to base, aliases and Ollama tags as before, proved by asking."""
    with said_plainly(as_json), connect() as client:
        _said(client.rollback_experiment(experiment, reason), as_json)


def force(experiment: Id, reason: Reason, as_json: Json = False) -> None:
    """Let a paused or rolled back experiment run although a guardrail says no."""
    with said_plainly(as_json), connect() as client:
        _said(client.force_experiment(experiment, reason), as_json)


def promote(
    experiment: Id,
    reason: Reason,
    arm: Annotated[str | None, typer.Option(help="Which one; needed where there are several but base.")] = None,
    as_json: Json = False,
) -> None:
    """Let the alias champion mean the arm's adapter; refused with all that is missing."""
    with said_plainly(as_json), connect() as client:
        _said(client.promote_experiment(experiment, reason, arm=arm), as_json)


def _said(found: dict[str, Any], as_json: bool) -> None:
    print_json(found) if as_json else console.print(f"{found['name']} is {found['status']}", markup=False)
