"""`goldsmith quarantine …`: what the screen for prompt injection keeps out of training."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from goldsmith.cli.output import NARROW, Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect

app = typer.Typer(no_args_is_help=True, help="List what the screen for prompt injection kept out, and let it through.")
SHOWN = 120


@app.command(name="list")
def list_quarantine(
    job: Annotated[str | None, typer.Option(help="Only what this job put there.")] = None,
    as_json: Json = False,
) -> None:
    """List sessions and rules in quarantine, newest first."""
    with said_plainly(as_json), connect() as client:
        found = list(client.quarantine(job))
        if as_json:
            print_json(found)
            return
        told = [
            (one["id"], one["what"], escape(one["session_id"]), one["reason"], escape(_text(one["texts"]))) for one in found
        ]
        if console.width < NARROW:
            print_table(("id", "what, why, and where"), [(one[0], "; ".join(one[1:])) for one in told], whole=("id",))
        else:
            print_table(("id", "what", "session", "reason", "text"), told, whole=("id",))


@app.command()
def release(entry: Annotated[str, typer.Argument(help="The id that `list` shows.")], as_json: Json = False) -> None:
    """Let a session or a rule through; needs a key with the scope admin. Jobs submitted from now on read it."""
    with said_plainly(as_json), connect() as client:
        released = client.release(entry)
        print_json(released) if as_json else console.print(
            f"released: {released['what']} of {released['session_id']}", markup=False
        )


def _text(texts: dict[str, str]) -> str:
    text = texts.get("rule") or texts.get("feedback") or texts.get("query") or ""
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
