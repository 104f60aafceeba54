"""`goldsmith schedules …`: jobs that are submitted again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goldsmith.cli.jobs import config_of
from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect

app = typer.Typer(no_args_is_help=True, help="List, add and remove recurring jobs.")


@app.command(name="list")
def list_schedules(as_json: Json = False) -> None:
    """Every schedule, and when it fires next."""
    with said_plainly(as_json), connect() as client:
        found = client.schedules()
        if as_json:
            print_json(found)
            return
        rows = [
            (
                one["name"],
                one["cron"],
                one["time_zone"],
                one["config"]["kind"],
                one["next_at"] if one["enabled"] else "disabled",
                (one["last_error"] or {}).get("detail") or one["last_job_id"],
            )
            for one in found
        ]
        print_table(("name", "cron", "time zone", "kind", "next", "last job"), rows)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A name for it.")],
    cron: Annotated[str, typer.Argument(help="Minute, hour, day of month, month, day of week: '0 3 * * 1-5'.")],
    kind: Annotated[str, typer.Argument(help="The kind, as `goldsmith kinds` lists them.")],
    values: Annotated[list[str] | None, typer.Argument(help="key=value; the value is JSON or else text.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A JSON file with the config; - reads standard input.")
    ] = None,
    time_zone: Annotated[str, typer.Option("--time-zone", "-z", help="As the IANA list names it.")] = "UTC",
    as_json: Json = False,
) -> None:
    """Submit a job again and again: `goldsmith schedules add nightly '0 3 * * *' rules runs=job:<id> -z Europe/Berlin`."""
    with said_plainly(as_json), connect() as client:
        config = config_of(kind, values, file)
        options = config.pop("options", None)
        made = client.create_schedule(name, cron, config, time_zone=time_zone, options=options)
        times = client.preview_schedule(name)
        if as_json:
            print_json(made | {"next_times": times})
        else:
            console.print(f"{name} fires at:")
            for time in times:
                console.print(f"  {time}")


@app.command()
def remove(name: Annotated[str, typer.Argument(help="Its name.")], as_json: Json = False) -> None:
    """It fires no more; the jobs that it made stay."""
    with said_plainly(as_json), connect() as client:
        client.remove_schedule(name)
        print_json({"removed": name}) if as_json else console.print(f"{name} is removed")
