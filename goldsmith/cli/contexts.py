"""`goldsmith contexts …`: the devserver's templates and contexts, looked at from here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goldsmith.cli.output import FAILED, Json, console, print_json, print_table, said_plainly
from goldsmith.devserver.captured import compare
from goldsmith.devserver.checkout import read_checkout
from goldsmith.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="Check prompts against what a devserver sends.")

CheckoutFolder = Annotated[Path, typer.Option("--checkout", exists=True, file_okay=False, help="The devserver's checkout.")]


@app.command()
def check(
    request: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The captured body of the model request (JSON).")
    ],
    checkout: CheckoutFolder,
    config: Annotated[str, typer.Option(help="Id of the config that made it.")],
    text: Annotated[str, typer.Option(help="What was typed, exactly; @file reads it from a file.")],
    language: Annotated[str, typer.Option(help="Language of the context that was sent.")] = "en",
    wiki: Annotated[bool | None, typer.Option(help="With or without the wiki block; empty: as the config says.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the prompt that we render, byte for byte, with one that was captured. Exit code 1 when they differ."""
    with said_plainly(as_json):
        try:
            typed = Path(text[1:]).read_bytes().decode() if text.startswith("@") else text
        except ValueError:
            raise InvalidInput(f"--text {text}: the file is not UTF-8") from None
        read, _ = read_checkout(checkout)
        found = compare(read, request.read_bytes(), config_id=config, language=language, text=typed, wiki=wiki)
        if as_json:
            print_json(found.model_dump())
        elif found.same:
            console.print(f"the same, {found.rendered_bytes} bytes; template version {found.template_version}")
        else:
            print_table(
                ("", "bytes", f"around byte {found.first_difference}"),
                [
                    ("rendered", found.rendered_bytes, repr(found.rendered)),
                    ("captured", found.captured_bytes, repr(found.captured)),
                ],
            )
        if not found.same:
            raise typer.Exit(FAILED)
