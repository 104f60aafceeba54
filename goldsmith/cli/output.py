"""How the command line speaks: tables and bars for people, JSON for scripts, one exit code for each way to fail."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import psycopg
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from goldsmith.client import ApiError, JobFailed, NotReachable, with_fields
from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.logging import mask_urls
from goldsmith.settings import Settings

OK, FAILED, WRONG_INPUT, NOT_REACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


NARROW = 100
"""Columns of a terminal below which an id and a text beside it leave no room for anything else."""


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None, *, whole: Container[str] = ()
) -> None:
    """`whole`: columns that are never folded, for what is to be copied."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)


@contextmanager
def said_plainly(as_json: bool = False) -> Iterator[None]:
    """Turns known errors into a message and an exit code."""
    try:
        yield
    except ApiError as error:
        _leave(str(error), WRONG_INPUT if error.status < 500 else FAILED, as_json, error.problem)
    except NotReachable as error:
        _leave(str(error), NOT_REACHABLE, as_json)
    except JobFailed as error:
        _leave(str(error), FAILED, as_json, (error.job.error or {}) | {"job": error.job.model_dump(mode="json")})
    except InvalidInput as error:
        _leave(with_fields(error.detail, error.errors), WRONG_INPUT, as_json, {"errors": error.errors})
    except ValidationError as error:
        fields = "; ".join(f"{_named(error, entry['loc'])}: {entry['msg']}, not {entry['input']!r}" for entry in error.errors())
        _leave(mask_urls(fields), WRONG_INPUT, as_json)
    except GoldsmithError as error:
        _leave(error.detail, FAILED, as_json)
    except (psycopg.Error, SQLAlchemyError) as error:
        _leave(f"the database: {_first_line(error)}; `goldsmith up`, or check GOLDSMITH_DATABASE_URL", FAILED, as_json)
    except OSError as error:
        _leave(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED, as_json)
    except KeyboardInterrupt as error:
        _leave(str(error) or "interrupted", INTERRUPTED, as_json)


def _named(error: ValidationError, path: tuple[int | str, ...]) -> str:
    name = ".".join(map(str, path))
    return f"GOLDSMITH_{name.upper()}" if error.title == "Settings" and name in Settings.model_fields else name


def _first_line(error: psycopg.Error | SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return mask_urls(str(cause).partition("\n")[0])


def _leave(message: str, code: int, as_json: bool, more: dict[str, Any] | None = None) -> None:
    if as_json:
        print_json({"error": message, **(more or {})})
    else:
        errors.print(message, style="red", markup=False)
    raise typer.Exit(code)
