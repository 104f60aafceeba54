"""`goldsmith experiments …`."""

from __future__ import annotations

import typer

from goldsmith.cli.experiment_watch import watch

app = typer.Typer(no_args_is_help=True, help="Compare an adapter with base in live traffic.")
app.command()(watch)
