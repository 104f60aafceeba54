"""`goldsmith pipelines …`: several jobs that depend on each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from goldsmith.cli.jobs import from_file
from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect

app = typer.Typer(no_args_is_help=True, help="Submit, show and cancel pipelines.")

PipelineId = Annotated[str, typer.Argument(help="The pipeline's id.")]


@app.command()
def submit(
    file: Annotated[
        Path, typer.Argument(help='A JSON file: {"jobs": {name: {"kind": …, "depends_on": […]}}}; - reads standard input.')
    ],
    key: Annotated[str | None, typer.Option("--key", help="Idempotency key: the same key makes no second pipeline.")] = None,
    as_json: Json = False,
) -> None:
    """Submit all jobs of a file, or none."""
    with said_plainly(as_json), connect() as client:
        _show(client.submit_pipeline(from_file(file).get("jobs", {}), idempotency_key=key), as_json)


@app.command()
def show(pipeline_id: PipelineId, as_json: Json = False) -> None:
    """The pipeline's jobs and their states."""
    with said_plainly(as_json), connect() as client:
        _show(client.pipeline(pipeline_id), as_json)


@app.command()
def cancel(pipeline_id: PipelineId, as_json: Json = False) -> None:
    """Cancel every job that has not ended."""
    with said_plainly(as_json), connect() as client:
        _show(client.cancel_pipeline(pipeline_id), as_json)


def _show(pipeline: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(pipeline)
        return
    console.print(f"pipeline {pipeline['id']}: {pipeline['status']}")
    rows = [
        (name, job["kind"], job["status"], f"{job['progress']:.0f} %", ", ".join(job["depends_on"]), job["id"])
        for name, job in pipeline["jobs"].items()
    ]
    print_table(("name", "kind", "status", "progress", "depends on", "job"), rows)
