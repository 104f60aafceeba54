"""`goldsmith experiments …`."""

from __future__ import annotations

import typer

from goldsmith.cli.experiment_life import approve, change, create, delete, end, list_experiments, pause, resume, show, start
from goldsmith.cli.experiment_watch import report, watch
from goldsmith.cli.guard import force, promote, rollback

app = typer.Typer(no_args_is_help=True, help="Compare an adapter with base in live traffic.")
app.command("list")(list_experiments)
for command in (create, change, delete, show, start, pause, resume, approve, end, watch, report, rollback, force, promote):
    app.command()(command)
