"""`goldsmith jobs …`: put jobs in, look at them, stop them."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from goldsmith.cli.output import Json, console, errors, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.client import Client, Job, JobHandle
from goldsmith.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="Submit, list, show, watch, cancel and retry jobs.")

MESSAGE_WIDTH = 14  # below it a message says nothing; 80 columns leave 15 beside id, kind, status and progress


def _bare(job_id: str | None) -> str | None:
    """References are written `job:<id>`, and people paste them."""
    return job_id and job_id.removeprefix("job:")


JobId = Annotated[str, typer.Argument(help="The job's id.", callback=_bare)]
OneOrFilter = Annotated[str | None, typer.Argument(help="One job's id; without, the options say which jobs.", callback=_bare)]
KindFilter = Annotated[str | None, typer.Option("--kind", help="Only this kind.")]
StatusFilter = Annotated[str | None, typer.Option("--status", help="Only this status.")]
Before = Annotated[datetime | None, typer.Option(help="Only what was submitted before this moment (local time).")]
After = Annotated[datetime | None, typer.Option(help="Only what was submitted after this moment (local time).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which jobs it would be.")]


@app.command()
def submit(
    kind: Annotated[str, typer.Argument(help="The kind, as `goldsmith kinds` lists them.")],
    values: Annotated[list[str] | None, typer.Argument(help="key=value; the value is JSON or else text.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A JSON file with the config; - reads standard input.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for its end, with a progress bar.")] = False,
    key: Annotated[str | None, typer.Option("--key", help="Idempotency key: the same key makes no second job.")] = None,
    as_json: Json = False,
) -> None:
    """Put a job into the queue: `goldsmith jobs submit train dataset=dataset:gold@1 name=workshop --wait`."""
    with said_plainly(as_json), connect() as client:
        config = config_of(kind, values, file)
        handle = client.submit(config, idempotency_key=key)
        if wait:
            wait_for(handle, quiet=as_json)
        show_job(handle.job, as_json)


def artifact_text(client: Client, ref: str) -> str:
    """The artifact `job:<id>/<name>`."""
    with tempfile.TemporaryDirectory() as folder:
        return client.download(ref, Path(folder) / "artifact").read_text(encoding="utf-8")


def config_of(kind: str, values: list[str] | None, file: Path | None) -> dict[str, Any]:
    """The config that a file and key=value arguments make; raises `InvalidInput` where they make none."""
    config = {**from_file(file), **_from_values(values or []), "kind": kind}
    _check_sendable(config)
    return config


def from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = json.loads(sys.stdin.read() if str(path) == "-" else path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"--file {path}: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"--file {path}: it must hold one JSON object")
    return found


def _from_values(pairs: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            raise InvalidInput(f"{pair!r} is not key=value")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def _check_sendable(config: dict[str, Any]) -> None:
    """Python reads NaN and half a character as JSON; nobody else does."""
    try:
        json.dumps(config, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise InvalidInput(f"the config is no JSON that can be sent: {error}") from None


@app.command(name="list")
def list_jobs(
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    status: Annotated[str | None, typer.Option(help="Only this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    with said_plainly(as_json), connect() as client:
        found = [
            job for job, _ in zip(client.list(kind=kind, status=status, limit=min(limit, 500)), range(limit), strict=False)
        ]
        if as_json:
            print_json([job.model_dump(mode="json") for job in found])
        else:
            _print_jobs(found)


def _print_jobs(found: list[Job]) -> None:
    """One line each, whatever the width: an id is to be copied. The message is cropped; where it has no room, the time goes."""
    columns = ["id", "kind", "status", "done", "created (UTC)"]
    rows = [[str(job.id), job.kind, job.status, f"{job.progress:.0f} %", f"{job.created_at:%m-%d %H:%M:%S}"] for job in found]
    room = _room(columns, rows)
    if room < MESSAGE_WIDTH:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
        room = max(_room(columns, rows), 1)
    for job, row in zip(found, rows, strict=True):
        message = " ".join(job.message.split())
        row.append(message if len(message) <= room else message[: room - 1] + "…")
    print_table((*columns, "message"), rows)


def _room(columns: list[str], rows: list[list[str]]) -> int:
    return console.width - sum(2 + max(map(len, column)) for column in zip(columns, *rows, strict=True))


@app.command()
def show(job_id: JobId, as_json: Json = False) -> None:
    """Everything about one job: config, result or error, events, artifacts."""
    with said_plainly(as_json), connect() as client:
        job, events, artifacts = client.get(job_id), list(client.events(job_id)), client.artifacts(job_id)
        if as_json:
            print_json(job.model_dump(mode="json") | {"events": events, "artifacts": artifacts})
            return
        show_job(job, False)
        shown = events if len(events) <= 12 else [*events[:4], *events[-8:]]
        print_table(
            ("seq", "event", "data"),
            [(event["seq"], event["event"], json.dumps(event["data"], ensure_ascii=False)[:140]) for event in shown],
            f"events ({len(events)})",
        )
        if artifacts:
            print_table(("artifact", "bytes"), [(one["ref"], one["bytes"]) for one in artifacts], "artifacts")


@app.command()
def watch(job_id: JobId, as_json: Json = False) -> None:
    """Follow a job to its end with a progress bar; Ctrl-C leaves it running."""
    with said_plainly(as_json), connect() as client:
        handle = client.handle(job_id)
        wait_for(handle, quiet=as_json)
        show_job(handle.job, as_json)


@app.command()
def cancel(
    job_id: OneOrFilter = None,
    kind: KindFilter = None,
    status: StatusFilter = None,
    before: Before = None,
    after: After = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Cancel a job, or all that fit a filter; a running one is asked to stop."""
    with said_plainly(as_json), connect() as client:
        if job_id is None:
            filters = _filters(kind, status, before, after)
            _show_many(client.cancel_many(dry_run=dry_run, **filters), "cancelled", dry_run, as_json)
            return
        _no_filter(kind, status, before, after, dry_run)
        job = client.cancel(job_id)
        if as_json:
            print_json(job.model_dump(mode="json"))
        else:
            console.print("cancelled" if job.status == "cancelled" else "asked to stop; `goldsmith jobs watch` shows its end")


@app.command()
def retry(
    job_id: OneOrFilter = None,
    kind: KindFilter = None,
    status: StatusFilter = None,
    before: Before = None,
    after: After = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Queue a failed or cancelled job again, or all that fit a filter."""
    with said_plainly(as_json), connect() as client:
        if job_id is None:
            filters = _filters(kind, status, before, after)
            _show_many(client.retry_many(dry_run=dry_run, **filters), "queued again", dry_run, as_json)
            return
        _no_filter(kind, status, before, after, dry_run)
        job = client.retry(job_id).job
        if as_json:
            print_json(job.model_dump(mode="json"))
        else:
            console.print(f"{job.status} again")


def _filters(kind: str | None, status: str | None, before: datetime | None, after: datetime | None) -> dict[str, Any]:
    moments = {"created_before": before, "created_after": after}
    zoned = {name: moment.astimezone() for name, moment in moments.items() if moment is not None}
    return {"kind": kind, "status": status, **zoned}


def _no_filter(*given: Any) -> None:
    if any(given):
        raise InvalidInput("give a job's id or filters, not both")


def _show_many(ids: Sequence[UUID], done: str, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"count": len(ids), "ids": [str(one) for one in ids], "dry_run": dry_run})
        return
    for one in ids:
        console.print(str(one))
    console.print(f"{len(ids)} jobs {'would be ' if dry_run else ''}{done}")


@app.command()
def logs(
    job_id: JobId, attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt's; empty: the last one's.")] = None
) -> None:
    """Print what a job's process wrote. Kinds that run inside the worker write to the worker's log."""
    with said_plainly(), connect() as client:
        for line in client.log(job_id, attempt):
            typer.echo(line)


def wait_for(handle: JobHandle, *, quiet: bool) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}"),
    )
    try:
        with Progress(*columns, console=errors, disable=quiet) as bar:
            job = handle.job
            task = bar.add_task(job.kind, total=100, completed=int(job.progress), message=job.message or job.status)
            for event in handle.follow(after=job.seq):
                data = event["data"]
                bar.update(task, completed=data.get("progress"), message=data.get("message") or event["event"])
            bar.update(task, completed=handle.refresh().progress)
        handle.wait()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; job {handle.id} goes on; `goldsmith jobs watch {handle.id}`") from None


def show_job(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(job.model_dump(mode="json"))
        return
    rows: list[tuple[str, Any]] = [("job", job.id), ("kind", job.kind), ("status", job.status), ("message", job.message)]
    rows += [
        ("progress", f"{job.progress:.0f} %"),
        ("attempt", f"{job.attempt} ({job.failures} of {job.max_attempts} failures)"),
    ]
    rows += [("cost", f"${job.cost_usd:.4f}")] if job.cost_usd else []
    rows += [
        (name, f"{moment:%Y-%m-%d %H:%M:%S %Z}")
        for name in ("created_at", "started_at", "completed_at")
        if (moment := getattr(job, name))
    ]
    rows += [("config", json.dumps(job.config, ensure_ascii=False))]
    rows += [("result", json.dumps(job.result, ensure_ascii=False))] if job.result is not None else []
    rows += [("error", json.dumps(job.error, ensure_ascii=False))] if job.error is not None else []
    print_table(("", ""), rows)
