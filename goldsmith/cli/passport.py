"""`goldsmith passport …`: fetch an adapter's passport, and check one without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from goldsmith import passports, signing
from goldsmith.cli.adapters import Ref, full
from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.errors import InvalidInput
from goldsmith.settings import get_settings
from goldsmith.storage import Storage

app = typer.Typer(no_args_is_help=True, help="Fetch an adapter's signed passport, and check one without a server.")


@app.command()
def show(
    ref: Ref,
    output: Annotated[Path | None, typer.Option("--output", "-o", dir_okay=False, help="Write it to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch the passport of an adapter version, whole as JSON or to a file."""
    with said_plainly(as_json), connect() as client:
        signed = client.passport(full(ref))
        if output is not None:
            output.write_text(json.dumps(signed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if as_json or output is None:
            print_json(signed)
        else:
            console.print(f"{output}: {full(ref)}, signed with key {signed['signature']['key_id']}")


@app.command()
def key(as_json: Json = False) -> None:
    """Print the server's public key; hand it to whoever checks passports elsewhere."""
    with said_plainly(as_json), connect() as client:
        public = client.passport_key()
        print_json({"public_key": public, "key_id": signing.key_id(public)}) if as_json else typer.echo(public)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A passport.")],
    public: Annotated[
        str | None,
        typer.Option("--key", help="The public key, or a file with it; empty: the key of this machine's state folder."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Also check that the adapter's files here are those it names."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a passport without a server: signed with that key, and unchanged since. Exit code 1 or 2 when it is not."""
    with said_plainly(as_json):
        expected = signing.read_public_key(public) if public else _own_key()
        passport = passports.check(_read(file), expected, folder)
        summary = _summary(passport) | {"key_id": signing.key_id(expected)}
        if as_json:
            print_json({"valid": True, **summary})
            return
        console.print(f"[green]valid[/]: signed with key {summary['key_id']} and unchanged since")
        print_table(("", ""), [(name, value) for name, value in summary.items() if name != "key_id"])


def _own_key() -> str:
    settings = get_settings()
    if not (settings.state_dir / signing.KEY_FILE).is_file():
        raise InvalidInput(
            f"{settings.state_dir} has no key: say with --key whose signature it should be; `goldsmith passport key` prints it"
            " where the server is (a key that stands in the passport itself proves nothing)"
        )
    return signing.public_key(Storage(settings.state_dir))


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file} is no passport: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A key that comes twice would read otherwise in another program than in this one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _summary(passport: dict[str, Any]) -> dict[str, Any]:
    adapter = passport["adapter"]
    verdicts = [f"{one['kind']}: {one['verdict']}" for one in passport["verdicts"]]
    return {
        "adapter": f"adapter:{adapter['name']}@{adapter['version']}",
        "issued_at": passport["issued_at"],
        "status": passport["status"],
        "role": adapter["method"].get("role"),
        "base_model": adapter["base_model"],
        "dataset": adapter["dataset"],
        "teacher_usd": passport["teacher"]["usd"],
        "rehearsal": adapter["rehearsal"],
        "erased_rows": passport["erased"]["rows"] if passport["erased"]["at"] else None,
        "verdicts": ", ".join(verdicts) or None,
    }
