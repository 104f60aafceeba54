"""`goldsmith experiments …`."""

from __future__ import annotations

import typer

from goldsmith.cli.experiment_watch import watch
from goldsmith.cli.guard import force, promote, report, rollback

app = typer.Typer(no_args_is_help=True, help="Compare an adapter with base in live traffic.")
for command in (watch, report, rollback, force, promote):
    app.command()(command)
