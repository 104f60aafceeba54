"""`goldsmith evaluations …`: what evaluations found."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.client import Client
from goldsmith.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="What evaluations found: which adapter passed, and why.")


@app.command(name="list")
def list_evaluations(
    limit: Annotated[int, typer.Option(min=1, max=200, help="So many, newest first.")] = 20, as_json: Json = False
) -> None:
    """List completed evaluations, newest first."""
    with said_plainly(as_json), connect() as client:
        newest = islice(client.list(kind="evaluate", status="completed"), limit)
        found = [{"job": f"job:{job.id}", **_told(job.result or {})} for job in newest]
        if as_json:
            print_json(found)
        else:
            print_table(("job", "adapter", "dataset", "passed", "verdict"), [tuple(one.values()) for one in found])


@app.command()
def show(
    job: Annotated[str, typer.Argument(help="The id of a completed evaluate job.")],
    report: Annotated[bool, typer.Option("--report", help="Print its report.md, with samples side by side.")] = False,
    as_json: Json = False,
) -> None:
    """Show how each scorer judged each model, and why the adapter passed or did not."""
    with said_plainly(as_json), connect() as client:
        result = _result(client, job.removeprefix("job:"))
        if as_json:
            print_json(result)
        elif report:
            with tempfile.TemporaryDirectory() as folder:
                typer.echo(client.download(f"job:{job.removeprefix('job:')}/report.md", Path(folder) / "report.md").read_text())
        else:
            _print(result)


def _told(result: Mapping[str, Any]) -> dict[str, Any]:
    # results of before there was a `passed` have none
    return {name: result.get(name) for name in ("adapter", "dataset", "passed", "verdict")}


def _result(client: Client, job_id: str) -> dict[str, Any]:
    job = client.get(job_id)
    if job.kind != "evaluate" or job.result is None:
        raise InvalidInput(f"job {job_id} is a {job.kind} job, {job.status}; an evaluate job that is completed is wanted")
    return job.result


def _print(result: Mapping[str, Any]) -> None:
    console.print(f"{result['adapter']} on {result['dataset']} {result['label']}".strip(), markup=False)
    for one in [*result["comparisons"], *result.get("between", [])]:
        rows = []
        for each in one.get("scores", []):
            difference = each["difference"]
            rows.append(
                (
                    each["scorer"], each["rows"], f"{each['against']:.3g}", f"{each['arm']:.3g}",
                    f"{difference['difference']:+.3g} ({difference['low']:+.3g} to {difference['high']:+.3g})",
                    f"{each['win_rate']:.0%} ({each['win_low']:.0%} to {each['win_high']:.0%})", each["verdict"],
                )
            )  # fmt: skip
        against = one.get("against", "base")
        title = f"\n{one['arm']} beside {against}: {one['verdict']}"
        print_table(("scorer", "prompts", against, one["arm"], "difference", "win rate", ""), rows, title=title)
    speeds = [
        (arm["arm"], arm.get("tokens_per_s"), arm.get("first_token_s"), arm.get("tokens_per_s_alone")) for arm in result["arms"]
    ]
    cells = [(name, *("" if value is None else f"{value:.3g}" for value in values)) for name, *values in speeds]
    print_table(("model", "tokens/s", "first token, s", "tokens/s alone"), cells, title="\nspeed")
    console.print(f"\n{result['why']}", markup=False)
