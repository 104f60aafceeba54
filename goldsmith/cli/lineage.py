"""`goldsmith lineage`: what an adapter or a dataset was made from, down to the imported runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.tree import Tree

from goldsmith.cli.output import Json, console, print_json, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.errors import InvalidInput


def lineage(
    ref: Annotated[str, typer.Argument(help="adapter:<name>@<version or alias> or dataset:<name>@<version>.")],
    runs: Annotated[bool, typer.Option("--runs", help="Name the imported runs, too.")] = False,
    as_json: Json = False,
) -> None:
    """Show what an adapter or a dataset was made from: datasets, jobs, what teachers cost, imported runs."""
    with said_plainly(as_json), connect() as client:
        if not ref.startswith(("adapter:", "dataset:")) or "@" not in ref:
            raise InvalidInput(f"{ref!r}: write adapter:<name>@<version or alias> or dataset:<name>@<version>")
        found = client.lineage(ref, runs=runs)
        if as_json:
            print_json(found)
            return
        console.print(_tree(found["root"]))
        console.print(f"{found['calls']} teacher calls, {found['usd']:.4f} USD; {found['runs']} imported runs")
        if found["erased"]:
            console.print(f"[yellow]descends from data that was erased since:[/] {', '.join(found['erased'])}")


def _tree(node: dict[str, Any]) -> Tree:
    tree = Tree(_line(node))
    for calls in node["teacher"]:
        label = " REHEARSAL" if calls["rehearsal"] else ""
        tree.add(escape(f"{calls['calls']} calls to {calls['provider']} {calls['model']}: {calls['usd']:.4f} USD{label}"))
    if node["runs"] is not None:
        runs = node["runs"]
        recorded = tree.add(f"{runs['runs']} runs of {runs['devices']} devices, {runs['may_train']} may be trained on")
        for run_id in runs["ids"] or []:
            recorded.add(escape(run_id))
    for parent in node["made_from"]:
        tree.add(_tree(parent))
    return tree


def _line(node: dict[str, Any]) -> str:
    about = node["about"]
    said = [f"[bold]{escape(node['ref'])}[/]"]
    if node["kind"] == "adapter":
        role = f"{about['role']}, " if about.get("role") else ""
        said.append(escape(f"{role}{about['status']}, on {about['base_model']}"))
    elif node["kind"] == "dataset":
        said.append(f"{about['counts']['train']} rows to train on, {about['counts']['heldout']} held out")
    elif node["kind"] == "upload":
        said.append(escape(f"{about['name']} ({about['origin']})"))
    elif node["kind"] == "missing":
        said.append("no longer there")
    if node["job"]:
        said.append(escape(node["job_kind"] if node["kind"] == "job" else f"by {node['job_kind']} {node['job']}"))
    said += ["REHEARSAL"] if node["rehearsal"] else []
    said += [f"[yellow]{node['erased_rows']} rows erased[/]"] if node["erased_at"] else []
    return " · ".join(said)
