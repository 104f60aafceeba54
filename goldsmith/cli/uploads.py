"""`goldsmith uploads …`: prompts, sessions, golden sets and contexts that are sent to the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.errors import InvalidInput

app = typer.Typer(
    no_args_is_help=True, help="Upload prompts (JSONL, CSV), logs of sessions, golden sets (JSONL) and folders of contexts."
)


@app.command()
def add(
    path: Annotated[Path, typer.Argument(exists=True, help="A .jsonl or .csv file, a .zip, or a folder of contexts.")],
    name: Annotated[str | None, typer.Option(help="What to call it; empty: the name of the file.")] = None,
    origin: Annotated[
        str, typer.Option(help="upload; recorded: typed in a workshop; synthetic: made by a model, may go to any teacher.")
    ] = "upload",
    kind: Annotated[
        str | None,
        typer.Option(
            help="sessions: a log of chats or feedback; golden: a golden set (both .jsonl); empty: prompts, or contexts in a .zip."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Upload a file or folder; a corpus, sessions or golden job takes its `upload:<id>`."""
    with said_plainly(as_json), connect() as client:
        try:
            made = client.upload(path, name=name, origin=origin, kind=kind)
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        if as_json:
            print_json(made)
        else:
            about = made["upload"]["about"]
            what = "golden rows" if made["upload"]["kind"] == "golden" else made["upload"]["kind"]
            found = f"{about['rows']} {what}" if "rows" in about else f"{len(about['configs'])} configs"
            console.print(f"{made['ref']}: {found}")
            if about.get("ignored"):
                console.print(f"not read: {', '.join(about['ignored'])}", markup=False)
            for each in about.get("skipped", []):
                console.print(f"left out {each['path']}: {each['reason']}", markup=False)


@app.command(name="list")
def list_uploads(as_json: Json = False) -> None:
    """List uploads, newest first."""
    with said_plainly(as_json), connect() as client:
        found = client.uploads()
        if as_json:
            print_json(found)
        else:
            columns = ("upload", "kind", "name", "origin", "bytes")
            uploads = [(each["ref"], each["upload"]) for each in found]
            print_table(columns, [(ref, one["kind"], one["name"], one["origin"], one["bytes"]) for ref, one in uploads])


@app.command()
def remove(ref: Annotated[str, typer.Argument(help="upload:<id>; the prefix may be left out.")], as_json: Json = False) -> None:
    """Delete an upload and its file; datasets that were made of it stay."""
    with said_plainly(as_json), connect() as client:
        client.remove_upload(ref)
        print_json({"removed": ref}) if as_json else console.print("removed")
