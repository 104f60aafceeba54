"""`goldsmith`: the command line.

Exit codes: 0 done · 1 a job failed or something broke · 2 wrong input · 3 the server does not answer · 130 interrupted.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The console script. Errors that are words are printed as words."""
    try:
        from goldsmith.cli.app import app
    except ModuleNotFoundError as error:
        sys.exit(
            f"the command line needs the server's packages ({error.name} is missing): in the checkout, pip install '.[core]', or make setup"
        )
    app()
