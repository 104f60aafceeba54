"""The commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from goldsmith import logging, migrate
from goldsmith.cli import (
    adapters,
    contexts,
    datasets,
    demo,
    doctor,
    evaluations,
    experiments,
    jobs,
    keys,
    kinds,
    passport,
    pipelines,
    quarantine,
    rules,
    schedules,
    uno,
    uploads,
    webhooks,
)
from goldsmith.cli.bias import bias
from goldsmith.cli.erase import erase
from goldsmith.cli.estimate import estimate
from goldsmith.cli.gold import gold
from goldsmith.cli.lineage import lineage
from goldsmith.cli.output import FAILED, Json, console, errors, print_json, print_table, said_plainly
from goldsmith.cli.processes import NAMES, command
from goldsmith.cli.stack import Stack, StackError, bring_down, check_nothing_runs, connect, port_user, read_stack, running, urls
from goldsmith.settings import Settings, get_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Distil a large teacher into small students, job by job.")
app.add_typer(adapters.app, name="adapters")
app.add_typer(contexts.app, name="contexts")
app.add_typer(datasets.app, name="datasets")
app.add_typer(experiments.app, name="experiments")
app.add_typer(evaluations.app, name="evaluations")
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")
app.add_typer(kinds.app, name="kinds")
app.add_typer(passport.app, name="passport")
app.add_typer(pipelines.app, name="pipelines")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(rules.app, name="rules")
app.add_typer(schedules.app, name="schedules")
app.add_typer(uno.app, name="uno")
app.add_typer(uploads.app, name="uploads")
app.add_typer(webhooks.app, name="webhooks")
app.command()(erase)
app.command()(estimate)
app.command()(gold)
app.command()(bias)
app.command()(lineage)


@app.command()
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Start it in the background and return when it is ready.")
    ] = False,
    rehearsal: Annotated[
        bool, typer.Option("--rehearsal", help="REHEARSAL: also start a stand-in for the teacher, which applies written rules.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start everything on this machine: database, broker, API, workers, beat, model server, Flower."""
    with said_plainly(as_json):
        if detach:
            start_detached(rehearsal=rehearsal, quiet=as_json)
        else:
            _run_stack(rehearsal=rehearsal, quiet=as_json)
        if detach and as_json:
            print_json({"urls": urls(get_settings()), "rehearsal": rehearsal})
        elif detach:
            _print_urls(get_settings())


def _run_stack(*, rehearsal: bool, quiet: bool) -> None:
    settings = get_settings()
    logging.configure(settings.log_level, process="up")
    stopping = threading.Event()

    def stop(*_: Any) -> None:
        stopping.set()
        if not started.is_set():
            raise KeyboardInterrupt

    started = threading.Event()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    begin = time.monotonic()
    stack = Stack(settings, rehearsal=rehearsal, say=(lambda _: None) if quiet else lambda what: console.print(f"  {what} …"))
    try:
        stack.start()
        started.set()
        if quiet:
            print_json({"urls": urls(settings), "rehearsal": rehearsal})
        else:
            console.print(f"ready after {time.monotonic() - begin:.0f} s")
            _print_urls(settings)
            console.print("Ctrl-C stops it.")
        stack.watch(stopping.is_set)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if stack.members:
            if not quiet:
                console.print("stopping …")
            stack.stop()


def start_detached(*, rehearsal: bool, quiet: bool = False) -> None:
    """Start `goldsmith up` in the background; returns when it is ready, raises `StackError` with its words when it is not."""
    settings = get_settings()
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    check_nothing_runs(settings)
    output = settings.state_dir / f"up.{os.getpid()}.log"  # up.log may be that of another one that starts at the same time
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "goldsmith", "up", *(["--rehearsal"] if rehearsal else [])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=errors, disable=quiet
        ) as bar:
            task = bar.add_task("starting the stack")
            while True:
                record = running(settings)
                if record and record["ready"] and record["pid"] == process.pid:
                    return
                if process.poll() is not None:
                    lines = [line for line in output.read_text().splitlines() if not line.startswith("  ")]
                    words = [line.strip() for line in lines if line.strip() not in ("", "stopping …")]
                    raise StackError(" ".join(words) or f"`goldsmith up` ended with exit code {process.returncode}")
                steps = [line.strip(" …") for line in output.read_text().splitlines() if line.startswith("  ")]
                bar.update(task, description=f"starting: {steps[-1]}" if steps else "starting the stack")
                time.sleep(0.1)
    except KeyboardInterrupt:
        process.terminate()
        process.wait(60)
        raise
    finally:
        _keep(output, settings, process.pid)


def _keep(output: Path, settings: Settings, pid: int) -> None:
    """As up.log, unless that is the log of another one, which is up."""
    record = running(settings)
    if record is None or record["pid"] == pid:
        output.rename(settings.state_dir / "up.log")
    else:
        output.unlink()


def _print_urls(settings: Settings) -> None:
    print_table(("", ""), [(name, url) for name, url in urls(settings).items()])
    console.print(f"log: {settings.logs / 'goldsmith.log'}")


@app.command()
def down(as_json: Json = False) -> None:
    """Stop the stack and leave no process behind; running jobs are put back."""
    with said_plainly(as_json):
        settings = get_settings()
        was_there = read_stack(settings) is not None
        with console.status("stopping", spinner="dots") if not as_json else nullcontext():
            forced = bring_down(settings, settings.grace_s + 45)
        if as_json:
            print_json({"was_up": was_there, "ended_by_force": forced})
        else:
            stopped = "stopped" + (f"; left over and ended: {', '.join(forced)}" if forced else "")
            console.print(stopped if was_there else f"nothing is up (in {settings.state_dir})", soft_wrap=True)


@app.command()
def run(name: Annotated[str, typer.Argument(help=f"One of: {', '.join(NAMES)}")]) -> None:
    """Run one process of the stack in the foreground (containers use this)."""
    if name not in NAMES:
        errors.print(f"{name!r} is no process; one of: {', '.join(NAMES)}", style="red", markup=False)
        raise typer.Exit(2)
    with said_plainly():
        settings = get_settings()
        arguments = command(name, settings)
        listens = {"api": ("GOLDSMITH_PORT", settings.port), "flower": ("GOLDSMITH_FLOWER_PORT", settings.flower_port)}
        if name in listens and (who := port_user(listens[name][1])):
            raise StackError(f"port {listens[name][1]} is taken by {who}; choose another with {listens[name][0]}=…")
    os.execv(arguments[0], arguments)  # noqa: S606  no shell is wanted


@app.command(name="migrate")
def migrate_command(as_json: Json = False) -> None:
    """Bring the database to this version's schema."""
    with said_plainly(as_json):
        settings = get_settings()
        migrate.upgrade(settings.database)
        revision = migrate.current(settings.database)
        print_json({"revision": revision}) if as_json else console.print(f"the schema is at {revision}")


@app.command()
def serve() -> None:
    """Run the model server alone: OpenAI-compatible, on loopback, base model or adapters by alias."""
    run("serve")


@app.command()
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    days: Annotated[
        int | None, typer.Option(min=1, help="What ended more than so many days ago; else GOLDSMITH_KEEP_JOBS_DAYS.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove old jobs with their events and artifacts; what a dataset, an adapter or an unfinished job is built on stays."""
    with said_plainly(as_json), connect() as client:
        swept = client.sweep(days=days, dry_run=dry_run)
        if as_json:
            print_json(swept)
        elif swept["keep_jobs_days"] == 0:
            console.print("GOLDSMITH_KEEP_JOBS_DAYS is 0: jobs are kept for ever; --days removes older ones")
        else:
            console.print(
                f"{'would remove' if dry_run else 'removed'} {swept['jobs']} jobs that ended more than {swept['keep_jobs_days']} days"
                f" ago, with {swept['events']} events and {swept['artifacts']} artifacts"
                f" ({swept['artifact_bytes'] / 1e6:.1f} MB)"
            )


@app.command(name="doctor")
def doctor_command(as_json: Json = False) -> None:
    """Check this machine and say what to do."""
    with said_plainly(as_json):
        checks = doctor.examine(get_settings())
        if as_json:
            print_json([check.__dict__ for check in checks])
        else:
            marks = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "problem": "[red]✗[/]"}
            print_table(
                ("", "check", "found", "what to do"),
                [(marks[check.state], check.name, check.found, check.advice) for check in checks],
            )
        if any(check.state == "problem" for check in checks):
            raise typer.Exit(FAILED)


@app.command(name="demo")
def demo_command(
    keep_up: Annotated[bool, typer.Option(help="Leave the stack running at the end.")] = True, as_json: Json = False
) -> None:
    """The whole main job on a recorded workshop, live: import, corpus, gold, rules, train, evaluate, experiment."""
    with said_plainly(as_json):
        demo.play(start=start_detached, keep_up=keep_up, as_json=as_json)
