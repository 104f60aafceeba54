"""`goldsmith kinds …`: what kinds of jobs there are, and which of them may start."""

from __future__ import annotations

from typing import Annotated

import typer

from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect

app = typer.Typer(invoke_without_command=True, help="List the kinds of jobs; pause and resume them.")

Kind = Annotated[str, typer.Argument(help="The kind, as `goldsmith kinds` lists them.")]


@app.callback()
def kinds(context: typer.Context, as_json: Json = False) -> None:
    """List the kinds of jobs; --json has their schemas."""
    if context.invoked_subcommand is not None:
        return
    with said_plainly(as_json), connect() as client:
        found = client.kinds()
        if as_json:
            print_json(found)
        else:
            rows = [(one["kind"], one["queue"], "paused" if one["paused_at"] else "", one["summary"]) for one in found]
            print_table(("kind", "queue", "", "summary"), rows)


@app.command()
def pause(kind: Kind, as_json: Json = False) -> None:
    """Start no more jobs of this kind; what runs goes on."""
    with said_plainly(as_json), connect() as client:
        found = client.pause_kind(kind)
        print_json(found) if as_json else console.print(f"{kind} is paused; `goldsmith kinds resume {kind}` lets its jobs go")


@app.command()
def resume(kind: Kind, as_json: Json = False) -> None:
    """Let the jobs of this kind start again."""
    with said_plainly(as_json), connect() as client:
        found = client.resume_kind(kind)
        print_json(found) if as_json else console.print(f"{kind} is resumed")
