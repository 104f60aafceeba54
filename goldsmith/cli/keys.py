"""`goldsmith keys …`: make, list and revoke API keys.

With GOLDSMITH_URL they go to that server, and need its key; without, straight to this machine's database, so that the first
key can be made before there is a server that listens to more than loopback.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import psycopg
import typer
from pydantic import ValidationError

from goldsmith import db, keys
from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.db import Connection
from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.kinds.registry import field_errors
from goldsmith.settings import get_settings

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")

Name = Annotated[str, typer.Argument(help="The key's name: who calls.")]

Budget = Annotated[float | None, typer.Option(help="Most that its jobs ever spend on teachers, in US dollars.")]
BudgetPerDay = Annotated[float | None, typer.Option(help="Most that its jobs spend on teachers in a UTC day.")]


@app.command()
def create(
    name: Name,
    scope: Annotated[list[str], typer.Option("--scope", "-s", help=f"One of: {', '.join(keys.SCOPES)}; may be repeated.")],
    jobs_per_hour: Annotated[int | None, typer.Option(help="Jobs that it may submit in an hour.")] = None,
    running_at_once: Annotated[int | None, typer.Option(help="Jobs of it that run at the same time; more wait.")] = None,
    budget_usd: Budget = None,
    budget_usd_per_day: BudgetPerDay = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once: `goldsmith keys create tablet --scope jobs:read --scope jobs:write`."""
    with said_plainly(as_json):
        values: dict[str, Any] = {
            "name": name,
            "scopes": scope,
            "jobs_per_hour": jobs_per_hour,
            "running_at_once": running_at_once,
        }
        values |= {"budget_usd": budget_usd, "budget_usd_per_day": budget_usd_per_day}
        try:
            new = keys.NewKey.model_validate(values)
        except ValidationError as error:
            raise InvalidInput("no key was made", errors=field_errors(error)) from None
        if _remote():
            with connect() as client:
                made = client.create_key(new.model_dump())
        else:
            with _database() as conn:
                made = keys.create(conn, new, actor=_actor()).model_dump(mode="json")
        if as_json:
            print_json(made)
        else:
            console.print(f"{made['name']} ({', '.join(made['scopes'])}); keep it, it is not shown again:")
            typer.echo(made["key"])


@app.command(name="list")
def list_keys(as_json: Json = False) -> None:
    """List all keys, newest first; of each only its first characters."""
    with said_plainly(as_json):
        if _remote():
            with connect() as client:
                found = list(client.keys())
        else:
            with _database() as conn:
                found = [key.model_dump(mode="json") for key in keys.list_keys(conn)]
        if as_json:
            print_json(found)
            return
        rows = [
            (key["name"], key["prefix"], ", ".join(key["scopes"]), _time(key["last_used_at"]), _time(key["revoked_at"]))
            for key in found
        ]
        print_table(("name", "key", "scopes", "last used (UTC)", "revoked (UTC)"), rows)


@app.command()
def revoke(name: Name, as_json: Json = False) -> None:
    """Take a key's rights away for good; servers follow within seconds."""
    with said_plainly(as_json):
        if _remote():
            with connect() as client:
                revoked = client.revoke_key(name)
        else:
            with _database() as conn:
                revoked = keys.revoke(conn, name, actor=_actor()).model_dump(mode="json")
        print_json(revoked) if as_json else console.print(f"{revoked['name']} {revoked['prefix']} is revoked")


@app.command()
def budget(name: Name, budget_usd: Budget = None, budget_usd_per_day: BudgetPerDay = None, as_json: Json = False) -> None:
    """Change what a key's jobs may spend on teachers, also while they run; what is left out is unlimited."""
    with said_plainly(as_json):
        values = {"budget_usd": budget_usd, "budget_usd_per_day": budget_usd_per_day}
        if _remote():
            with connect() as client:
                changed = client.change_key(name, values)
        else:
            try:
                new = keys.KeyBudgets.model_validate(values)
            except ValidationError as error:
                raise InvalidInput("nothing was changed", errors=field_errors(error)) from None
            with _database() as conn:
                changed = keys.set_budgets(conn, name, new, actor=_actor()).model_dump(mode="json")
        said = f"{changed['name']}: {_usd(changed['budget_usd'])} in all, {_usd(changed['budget_usd_per_day'])} in a UTC day"
        print_json(changed) if as_json else console.print(said)


def _usd(usd: float | None) -> str:
    return "no limit" if usd is None else f"{usd:.2f} USD"


def _remote() -> bool:
    return get_settings().url is not None


def _actor() -> str:
    return f"cli:{getpass.getuser()}"


def _time(moment: Any) -> str:
    return str(moment)[:19].replace("T", " ") if moment else ""


@contextmanager
def _database() -> Iterator[Connection]:
    try:
        with db.connect(get_settings().database) as conn:
            yield conn
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        raise GoldsmithError("the database has not this version's schema: run `goldsmith migrate`") from None
    except psycopg.OperationalError as error:
        words = str(error).partition("\n")[0]
        raise GoldsmithError(
            f"the database does not answer: `goldsmith up`, or check GOLDSMITH_DATABASE_URL ({words})"
        ) from None
