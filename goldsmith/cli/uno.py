"""`goldsmith uno …`: from a log to routed adapters in one job; its plan, its approval, what came out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from goldsmith.cli import uno_demo, uno_log
from goldsmith.cli.ablation import show_ablation
from goldsmith.cli.jobs import artifact_text, config_of, show_job, wait_for
from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.client import Client, Job
from goldsmith.errors import InvalidInput
from goldsmith.job import FINAL

app = typer.Typer(no_args_is_help=True, help="UNO: rules, clusters, adapters and a router out of a log.")

PLAN = "plan.json"
UnoJob = Annotated[str, typer.Argument(help="The id of a uno job.")]


@app.command()
def run(
    log: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A .jsonl file: chats, or rows of feedback.")],
    values: Annotated[
        list[str] | None, typer.Argument(help="key=value of the uno job; the value is JSON or else text.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A JSON file with the config; - reads standard input.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for its end, with a progress bar.")] = False,
    as_json: Json = False,
) -> None:
    """Upload a log and run all of it: `goldsmith uno run log.jsonl name=museum teacher=anthropic budget_usd=20`."""
    with said_plainly(as_json), connect() as client:
        config = config_of("uno", values, file)
        if taken := {"runs", "upload", "sessions"} & config.keys():
            raise InvalidInput(f"{min(taken)}: the log is the file; `goldsmith jobs submit uno` takes what is there already")
        handle = client.submit(config | {"upload": client.upload(log, kind="sessions")["ref"]})
        if wait:
            wait_for(handle, quiet=as_json)
        show_job(handle.job, as_json)


@app.command()
def plan(job: UnoJob, as_json: Json = False) -> None:
    """What the rest of it will take: pairs, dollars, GPU hours, by cluster."""
    with said_plainly(as_json), connect() as client:
        found = plan_of(client, _uno(client, job))
        print_json(found) if as_json else show_plan(found)


@app.command()
def approve(job: UnoJob, as_json: Json = False) -> None:
    """Let it go on after its plan."""
    with said_plainly(as_json), connect() as client:
        approved = client.approve(_uno(client, job).id)
        print_json(approved.model_dump(mode="json")) if as_json else console.print(
            "approved; `goldsmith jobs watch` follows it"
        )


@app.command()
def show(job: UnoJob, as_json: Json = False) -> None:
    """Its clusters with their experts and paths, and the jobs that it submitted."""
    with said_plainly(as_json), connect() as client:
        uno = _uno(client, job)
        steps = sorted(client.list(submitted_by=uno.id), key=lambda step: step.id)
        if as_json:
            print_json(uno.model_dump(mode="json") | {"jobs": [step.model_dump(mode="json") for step in steps]})
            return
        console.print(f"{uno.ref} {uno.status}, {uno.progress:.0f} %: {uno.message}", markup=False)
        # an id is to be copied, so nothing beside it that would fold it
        rows = [(step.id, step.kind, step.status, f"{step.progress:.0f} %", f"{step.cost_usd:.3f}") for step in steps]
        print_table(("job", "kind", "status", "done", "USD"), rows)
        if uno.result:
            show_clusters(uno.result)


@app.command()
def route(
    job: Annotated[str, typer.Argument(help="The id of a router job, or of a uno job that has one.")],
    query: Annotated[str, typer.Argument(help="What is asked.")],
    answer: Annotated[bool, typer.Option("--answer", help="Answer as well.")] = False,
    as_json: Json = False,
) -> None:
    """Say where a question goes, and on demand answer it."""
    with said_plainly(as_json), connect() as client:
        found = client.get(job.removeprefix("job:"))
        if found.kind == "uno" and found.result is None:
            raise InvalidInput(f"{found.ref} has no router{' yet' if found.status not in FINAL else ''}: {found.status}")
        router = found.result["router"] if found.kind == "uno" and found.result else found.ref
        routed = client.route(router, query, answer=answer)
        if as_json:
            print_json(routed)
            return
        print_table(("", ""), [(name, value) for name, value in routed.items() if value is not None and name != "answer"])
        if answer:
            console.print(routed["answer"], markup=False)


@app.command()
def ablation(
    job: Annotated[str, typer.Argument(help="The id of a uno job or of an ablation job.")], as_json: Json = False
) -> None:
    """Was it worth it? Every variant beside the base model on held-out sessions, with intervals."""
    with said_plainly(as_json), connect() as client:
        found = _ablation(client, client.get(job.removeprefix("job:")))
        if as_json:
            print_json(found.model_dump(mode="json"))
        elif found.result is None:
            console.print(f"{found.ref} {found.status}, {found.progress:.0f} %: {found.message}", markup=False)
        else:
            show_ablation(client, found.result)


def _ablation(client: Client, job: Job) -> Job:
    if job.kind == "ablation":
        return job
    if job.kind != "uno":
        raise InvalidInput(f"job {job.id} is a {job.kind} job; a uno or an ablation job is wanted")
    found = next((step for step in client.list(submitted_by=job.id, kind="ablation")), None)
    if found is None:
        raise InvalidInput(f"{job.ref} has no ablation; `ablation=all` makes one, or submit an ablation job with its router")
    return found


@app.command()
def log(
    seed: Annotated[int, typer.Option(help="Another seed, another log.")] = uno_demo.SEED,
    sessions: Annotated[int, typer.Option(min=100, max=4000, help="How many.")] = uno_log.SESSIONS,
) -> None:
    """Print a log with planted topics, feedback and noise, German and English, for trying out."""
    typer.echo(uno_log.lines(uno_log.make(seed, sessions)), nl=False)


@app.command()
def demo(
    keep_up: Annotated[bool, typer.Option(help="Leave the stack running at the end.")] = True, as_json: Json = False
) -> None:
    """All of UNO on a planted log of 1,200 sessions, with the rehearsal teacher; says what was found again."""
    from goldsmith.cli.app import start_detached  # app imports this module

    with said_plainly(as_json):
        uno_demo.play(start=start_detached, keep_up=keep_up, as_json=as_json)


def _uno(client: Client, job_id: str) -> Job:
    job = client.get(job_id.removeprefix("job:"))
    if job.kind != "uno":
        raise InvalidInput(f"job {job.id} is a {job.kind} job; a uno job is wanted")
    return job


def plan_of(client: Client, job: Job) -> dict[str, Any]:
    if not any(one["name"] == PLAN for one in client.artifacts(job.id)):
        raise InvalidInput(f"{job.ref} has no plan{' yet' if job.status not in FINAL else ''}: {job.status}, {job.message}")
    found: dict[str, Any] = json.loads(artifact_text(client, f"{job.ref}/{PLAN}"))
    return found


def show_plan(found: Mapping[str, Any]) -> None:
    print_table(
        ("cluster", "size", "gap", "decision", "pairs at most", "expert", "critic", "GPU hours"),
        [
            (
                row["cluster_id"],
                row["size"],
                "–" if row["gap"] is None else f"{row['gap']:.2f}",
                row["decision"],
                row["pairs_at_most"],
                row["expert"],
                row["critic"],
                f"{row['gpu_hours']:.2f}",
            )
            for row in found["clusters"]
        ],
    )
    for row in found.get("compared", []):
        takes = f"{row['trainings']} trainings, {row['pairs_at_most']} pairs more, {row['gpu_hours']:.2f} GPU hours"
        console.print(f"{row['variant']}, for the ablation: {row['absent'] or takes}", markup=False)
    asked = found["questions"]
    console.print(
        f"{asked['revised_answers']} revised answers, {asked['grades']} grades: about {found['expected_usd']:.4f} USD;"
        f" {found['spent_usd']:.4f} spent, {found['left_usd']:.4f} left"
        + ("" if found["fits_budget"] else ", which is NOT ENOUGH")
        + f"; {found['gpu_hours']:.2f} GPU hours"
    )
    for line in found["based_on"]:
        console.print(line, markup=False)


def show_clusters(result: Mapping[str, Any]) -> None:
    print_table(
        ("cluster", "size", "gap", "decision", "pairs", "expert, win rate over base", "path"),
        [
            (
                row["cluster_id"],
                row["size"],
                "–" if row["gap"] is None else f"{row['gap']:.2f}",
                row["decision"],
                f"{row['pairs_train']} + {row['pairs_heldout']}",
                uno_demo.won(row),
                row["path"],
            )
            for row in result["clusters"]
        ],
        f"{result['label']} {result['spent_usd']:.4f} USD".strip(),
    )
