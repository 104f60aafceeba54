"""`goldsmith estimate`: what a gold job would cost and take, before anything is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from goldsmith.cli.jobs import config_of
from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect


def estimate(
    values: Annotated[
        list[str] | None, typer.Argument(help="key=value of the gold job; the value is JSON or else text.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A JSON file with the config; - reads standard input.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a gold job would cost: `goldsmith estimate dataset=dataset:prompts@1 name=gold teacher=anthropic budget_usd=20`."""
    with said_plainly(as_json), connect() as client:
        found = client.estimate(config_of("gold", values, file))
        print_json(found) if as_json else _show(found)


def _show(found: dict[str, Any]) -> None:
    minutes = found["minutes"]
    print_table(
        ("", "USD", "minutes"),
        [
            (
                f"{name.replace('_', ', ')}{' (this job)' if name == found['mode'] else ''}",
                f"{usd:.4f}",
                _minutes(name, minutes),
            )
            for name, usd in found["usd"].items()
            if usd is not None
        ],
    )
    console.print(
        f"{found['teacher']} {found['model']}: {found['questions']} questions, {found['repairs']} of them repairs;"
        f" {found['input_tokens']} tokens in, {found['output_tokens']} out; {found['reused']} of {found['rows']} rows are paid already"
    )
    if judge := found["judge"]:
        console.print(
            f"of that the judge: {judge['questions']} questions, {judge['input_tokens']} tokens in, {judge['output_tokens']} out,"
            f" {judge['expected_usd']:.4f} USD; {judge['reused']} more are paid already"
        )
    fits = "fits into" if found["fits_budget"] else "is more than"
    console.print(f"{found['expected_usd']:.4f} USD {fits} the budget of {found['budget_usd']} USD")
    console.print(f"cache: {found['cache']}")
    for line in found["based_on"]:
        console.print(line)


def _minutes(name: str, minutes: dict[str, float | None]) -> str:
    if name.startswith("batch"):
        return f"{minutes['batch']} (at most {minutes['batch_at_most']})"
    return str(minutes["direct"])
