"""`goldsmith erase`: what a device typed goes, and what was made from it is marked."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.errors import InvalidInput


def erase(
    device: Annotated[str, typer.Option("--device", help="The device's id, as the recordings have it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Erase what a device typed: runs, feedback, dataset rows, teachers' answers, files; mark what descends from it."""
    with said_plainly(as_json), connect() as client:
        if as_json and not (yes or dry_run):
            raise InvalidInput("--json cannot ask: say --yes, or --dry-run")
        if dry_run or not yes:
            would = client.erase(device, dry_run=True)
            _said(would, as_json)
            if dry_run:
                return
            typer.confirm("Erase this for good?", abort=True)
        _said(client.erase(device), as_json)


def _said(erased: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(erased)
        return
    counts = {name: value for name, value in erased.items() if name not in ("dry_run", "datasets", "adapters")}
    if not any(counts.values()):
        console.print("nothing of this device is here")
        return
    verb = "would be erased" if erased["dry_run"] else "erased"
    print_table((verb, ""), [(name.replace("_", " "), value) for name, value in counts.items() if value])
    for kind in ("datasets", "adapters"):
        for one in erased[kind]:
            console.print(f"[yellow]marked[/]: {one['ref']} ({one['rows']} rows)")
    if erased["adapters"]:
        console.print("An adapter keeps what it learned: train it anew, then `goldsmith adapters retire` the marked one.")
