"""`goldsmith experiments report|watch`: the report of an experiment, once or as long as somebody looks."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.segment import SegmentLines
from rich.text import Text

from goldsmith.cli.experiment_screen import newest_probe, screen
from goldsmith.cli.output import Json, console, print_json, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.client import ApiError, Client, NotReachable

EVERY_S = 2.0
AT_MOST_S = 30.0
PATIENCE_S = 10.0  # as the page: numbers must not grow older than that without a word


Id = Annotated[str, typer.Argument(help="The id of an experiment.")]


def report(experiment_id: Id, as_json: Json = False) -> None:
    """Show every number, guardrail and decision of an experiment, once."""
    with said_plainly(as_json), connect() as client:
        found = client.experiment_report(experiment_id)
        print_json(found) if as_json else console.print(screen(found, decisions=None))


def watch(experiment_id: Id, as_json: Json = False) -> None:
    """Follow an experiment: arms, guardrails, effect, decisions. Ctrl-C leaves it; without a terminal it is shown once."""
    with said_plainly(as_json), connect(timeout=PATIENCE_S) as client:
        report = client.experiment_report(experiment_id)
        if as_json:
            print_json(report)
        elif not console.is_terminal or is_over(report):
            console.print(screen(report))
        else:
            console.print(screen(_follow(client, experiment_id, report)))


def is_over(report: dict[str, Any]) -> bool:
    """Nothing more will change: it has ended, and what a rollback left to be proved is proved."""
    ended = report["experiment"]["status"] in ("completed", "rolled_back")
    return ended and newest_probe(report).get("state", "passed") == "passed"


def _follow(client: Client, experiment_id: str, report: dict[str, Any]) -> dict[str, Any]:
    """The newest report when it is over or somebody pressed Ctrl-C."""
    wait, trouble = EVERY_S, None
    live = Live(_fitted(screen(report)), console=console, screen=True, auto_refresh=False, vertical_overflow="crop")
    try:
        live.start(refresh=True)
        while not is_over(report):
            time.sleep(wait)
            try:
                report = client.experiment_report(experiment_id)
                wait, trouble = EVERY_S, None
            except (ApiError, NotReachable) as error:
                if isinstance(error, ApiError) and error.status < 500 and error.status != 429:
                    raise
                wait, trouble = min(2 * wait, AT_MOST_S), str(error)
            shown = screen(report)
            if trouble:
                old = Text(f"These numbers are old: {trouble}. Trying again in {wait:.0f} s.", style="bold red")
                shown = Group(old, shown)
            live.update(_fitted(shown), refresh=True)
    except KeyboardInterrupt:
        pass
    finally:
        live.stop()  # not by `with`: Ctrl-C in the first drawing would leave the terminal on the other screen
    return report


def _fitted(shown: RenderableType) -> RenderableType:
    """As much as the terminal has lines for, and where the rest is."""
    lines = console.render_lines(shown, pad=False)
    room = console.height
    if len(lines) <= room:
        return shown
    more = Text(f"… {len(lines) - room + 1} more lines: goldsmith experiments report", style="reverse", no_wrap=True)
    return Group(SegmentLines(lines[: room - 1], new_lines=True), more)
