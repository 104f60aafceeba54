"""How an ablation is shown: a table that fits the terminal, or its Markdown for a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from goldsmith.cli.jobs import artifact_text
from goldsmith.cli.output import console, print_table
from goldsmith.client import Client


def show_ablation(client: Client, result: Mapping[str, Any]) -> None:
    if not console.is_terminal:
        typer.echo(artifact_text(client, result["table"]), nl=False)
        return
    rows = [
        (
            one["variant"],
            one["sessions"],
            f"{one['grade']['value']:.2f}",
            "" if one["variant"] == "base" else _of(one["over_base"], "+"),
            "" if one["variant"] == "base" else _of(one["win_rate"]),
            "" if one["variant"] == "base" else one["verdict"],
        )
        for one in result["variants"]
    ]
    print_table(("variant", "n", "grade", "over base", "win rate", ""), rows, f"{result['label']} {result['worth_it']}".strip())
    for variant, why in result["not_run"].items():
        console.print(f"{variant}: not run, {why}", markup=False)
    console.print(result["note"], markup=False)


def _of(interval: Mapping[str, float], sign: str = "") -> str:
    return f"{interval['value']:{sign}.2f} [{interval['low']:.2f}, {interval['high']:.2f}]"
