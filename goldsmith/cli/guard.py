"""`goldsmith experiments rollback|force|promote`: what a person decides about an experiment's safety."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from goldsmith.cli.output import Json, console, print_json, said_plainly
from goldsmith.cli.stack import connect

Id = Annotated[str, typer.Argument(help="The experiment's id.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it stays in the experiment's history.")]


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
