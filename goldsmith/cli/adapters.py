"""`goldsmith adapters …`: versions, their status, and the aliases that mean them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from goldsmith.cli.output import Json, console, errors, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="List, show, approve and retire adapter versions, and move their aliases.")

Ref = Annotated[str, typer.Argument(help="adapter:<name>@<version or alias>; the prefix may be left out.")]
VersionRef = Annotated[str, typer.Argument(help="adapter:<name>@<version>; the prefix may be left out.")]


def full(given: str) -> str:
    return given if given.startswith("adapter:") else f"adapter:{given}"


@app.command(name="list")
def list_adapters(
    name: Annotated[str | None, typer.Argument(help="Only this adapter's versions.")] = None, as_json: Json = False
) -> None:
    """List the newest versions."""
    with said_plainly(as_json), connect() as client:
        found = client.adapters(name)
        if as_json:
            print_json(found)
            return
        rows = [
            (
                one["ref"],
                one["adapter"]["role"] or "",
                one["adapter"]["status"],
                ", ".join(one["adapter"]["aliases"]),
                *_described(one["adapter"]),
            )
            for one in found
        ]
        print_table(("adapter", "role", "status", "aliases", "base model", "dataset", "", "created"), rows)


def _described(version: dict[str, Any]) -> tuple[str, str, str, str]:
    marks = ["REHEARSAL"] if version["rehearsal"] else []
    marks += [f"ERASED {version['erased_rows']}"] if version["erased_at"] else []
    return version["base_model"], version["dataset"], " ".join(marks), version["created_at"][:10]


@app.command()
def show(ref: Ref, as_json: Json = False) -> None:
    """Show a version: its base model, data, method, metrics, files and hashes."""
    with said_plainly(as_json), connect() as client:
        found = client.adapter(full(ref))
        if as_json:
            print_json(found)
            return
        version = found["adapter"]
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in version.items()}
        print_table(
            ("", ""), [("adapter", found["ref"]), *((name, texts[name]) for name in texts if version[name] is not None)]
        )
        warn(version)


def warn(version: dict[str, Any]) -> None:
    """Say, beside whatever is shown of a version, that it descends from erased data."""
    if version["erased_at"]:
        errors.print(
            f"descends from data that was erased on {version['erased_at'][:10]} ({version['erased_rows']} rows):"
            " train it anew without them, then retire it",
            style="yellow",
        )


@app.command()
def approve(ref: VersionRef, as_json: Json = False) -> None:
    """Move a version from candidate to approved."""
    with said_plainly(as_json), connect() as client:
        _said(client.approve_adapter(_numbered(ref)), as_json)


@app.command()
def retire(
    ref: VersionRef,
    force: Annotated[bool, typer.Option(help="Let base answer for it in experiments that run; needs --reason.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; stays in the experiments' histories.")] = None,
    as_json: Json = False,
) -> None:
    """Move a version from approved to retired, for good; refused while an alias or a running experiment uses it."""
    with said_plainly(as_json), connect() as client:
        _said(client.retire_adapter(_numbered(ref), force=force, reason=reason), as_json)


@app.command()
def seal(ref: VersionRef, as_json: Json = False) -> None:
    """Sign a version with the present key, where it has no seal or its key was lost; its files must be what was registered."""
    with said_plainly(as_json), connect() as client:
        found = client.seal_adapter(_numbered(ref))
        print_json(found) if as_json else console.print(f"{found['ref']} is sealed")


@app.command()
def alias(
    ref: VersionRef, name: Annotated[str, typer.Argument(help="Such as champion or challenger.")], as_json: Json = False
) -> None:
    """Let an alias mean this version: `goldsmith adapters alias workshop@3 champion`."""
    with said_plainly(as_json), connect() as client:
        _said(client.set_alias(_numbered(ref), name), as_json)


@app.command()
def unalias(
    ref: Annotated[str, typer.Argument(help="adapter:<name>@<alias>; the prefix may be left out.")], as_json: Json = False
) -> None:
    """Let an alias mean nothing; the version stays."""
    with said_plainly(as_json), connect() as client:
        client.remove_alias(full(ref))
        print_json({"removed": full(ref)}) if as_json else console.print(f"{full(ref)} means nothing now")


def _numbered(ref: str) -> str:
    if not full(ref).rpartition("@")[2].isdigit():
        raise InvalidInput(f"{ref}: a version is wanted here, such as adapter:workshop@3; an alias may move")
    return full(ref)


def _said(found: dict[str, Any], as_json: bool) -> None:
    version = found["adapter"]
    aliases = f", {', '.join(version['aliases'])}" if version["aliases"] else ""
    print_json(found) if as_json else console.print(f"{found['ref']} is {version['status']}{aliases}")
