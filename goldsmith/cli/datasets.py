"""`goldsmith datasets …`: versions, what changed between them, and whether the devserver has moved on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from goldsmith.cli.jobs import show_job, wait_for
from goldsmith.cli.output import FAILED, Json, console, errors, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.devserver.checkout import read_checkout
from goldsmith.devserver.drift import Pins, changes
from goldsmith.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="List, show, compare and download dataset versions.")

Ref = Annotated[str, typer.Argument(help="dataset:<name>@<version>; the prefix may be left out.")]


def _ref(given: str) -> str:
    return given if given.startswith("dataset:") else f"dataset:{given}"


@app.command(name="list")
def list_datasets(as_json: Json = False) -> None:
    """List the newest version of each dataset."""
    with said_plainly(as_json), connect() as client:
        found = client.datasets()
        if as_json:
            print_json(found)
        else:
            rows = [(one["ref"], *_counts(one["dataset"]), one["dataset"]["created_at"][:19]) for one in found]
            print_table(("dataset", "train", "held out", "", "created (UTC)"), rows)


def _counts(version: dict[str, Any]) -> tuple[int, int, str]:
    marks = ["REHEARSAL"] if version["rehearsal"] else []
    marks += [f"ERASED {version['erased_rows']}"] if version["erased_at"] else []
    return version["counts"]["train"], version["counts"]["heldout"], " ".join(marks)


@app.command()
def show(ref: Ref, as_json: Json = False) -> None:
    """Show a version: its rows by split, parents, files and manifest."""
    with said_plainly(as_json), connect() as client:
        found = client.dataset(_ref(ref))
        if as_json:
            print_json(found)
            return
        version = found["dataset"]
        rows = [("dataset", found["ref"]), ("content sha256", version["content_sha256"])]
        rows += [("rows", json.dumps(version["counts"])), ("parents", ", ".join(version["parents"]))]
        rows += [("files", ", ".join(found["files"])), ("made", version["created_at"][:19])]
        rows += [
            (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for key, value in sorted(version["manifest"].items())
            if key != "files"
        ]
        print_table(("", ""), rows)
        if version["erased_at"]:
            errors.print(f"{version['erased_rows']} of its rows were erased on {version['erased_at'][:10]}", style="yellow")


@app.command()
def diff(
    before: Ref,
    after: Ref,
    rows: Annotated[int, typer.Option(min=0, max=1000, help="So many rows are named; all are counted.")] = 20,
    as_json: Json = False,
) -> None:
    """Show what changed from one version to another."""
    with said_plainly(as_json), connect() as client:
        found = client.diff_datasets(_ref(before), _ref(after), limit=rows)
        if as_json:
            print_json(found)
            return
        said = (
            "the same content"
            if found["same_content"]
            else f"{found['added']} added, {found['removed']} removed, {found['changed']} changed"
        )
        console.print(f"{found['before']} → {found['after']}: {said}, {found['same']} the same")
        if found["changed_fields"]:
            print_table(("field", "rows"), list(found["changed_fields"].items()))
        if found["manifest"]:
            print_table(
                ("manifest", "before", "after"), [(name, *map(_short, pair)) for name, pair in found["manifest"].items()]
            )
        if found["rows"]:
            shown = [(one["change"], one["config_id"], _short(one["input"]), ", ".join(one["fields"])) for one in found["rows"]]
            print_table(("", "config", "input", "differs in"), shown)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


@app.command()
def drift(
    ref: Ref,
    contexts: Annotated[
        str | None, typer.Option(help="job:<id>/contexts.json or upload:<id>; empty: what the newest import read.")
    ] = None,
    checkout: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Compare with this folder instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether template and contexts are still those of the dataset. Exit code 1 when they are not."""
    with said_plainly(as_json), connect() as client:
        found = (
            client.drift(_ref(ref), contexts=contexts) if checkout is None else _against(client.dataset(_ref(ref)), checkout)
        )
        if as_json:
            print_json(found)
        elif found["drifted"]:
            for change in found["changes"]:
                console.print(change, markup=False)
        else:
            console.print(f"no drift: {found['contexts']} is what {found['dataset']} was rendered with")
        if found["drifted"]:
            raise typer.Exit(FAILED)


def _against(dataset: dict[str, Any], folder: Path) -> dict[str, Any]:
    read, _ = read_checkout(folder)
    pins = Pins.model_validate(dataset["dataset"]["manifest"]["pins"])
    found = changes(pins, read)
    return {
        "dataset": dataset["ref"],
        "contexts": str(folder),
        "drifted": bool(found),
        "changes": found,
        "pins": pins.model_dump(),
    }


@app.command()
def render(
    ref: Ref,
    template: Annotated[
        str | None, typer.Option(help="job:<id>/contexts.json, a corpus's job:<id>/pinned-contexts.json, or upload:<id>.")
    ] = None,
    checkout: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Upload this folder and take its template.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The dataset to make; empty: the next version of the same.")] = None,
    as_json: Json = False,
) -> None:
    """Render a version's prompts anew with another template: a new version with the same contexts and answers, nothing bought."""
    with said_plainly(as_json), connect() as client:
        if (template is None) == (checkout is None):
            raise InvalidInput("give one of --template and --checkout")
        source = template if checkout is None else client.upload(checkout)["ref"]
        handle = client.submit({"kind": "render", "dataset": _ref(ref), "template": source, "name": name})
        wait_for(handle, quiet=as_json)
        show_job(handle.job, as_json)


@app.command()
def download(ref: Ref, folder: Annotated[Path, typer.Argument(help="Where the files go.")], as_json: Json = False) -> None:
    """Fetch a version's files; `datasets.load_dataset("<folder>")` loads them."""
    with said_plainly(as_json), connect() as client:
        client.download_dataset(_ref(ref), folder)
        files = sorted(path.name for path in folder.iterdir())
        print_json({"folder": str(folder), "files": files}) if as_json else console.print(f"{folder}: {', '.join(files)}")
