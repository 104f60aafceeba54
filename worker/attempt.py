"""One attempt inside its own process: read what to do, run it, leave the outcome in a file for the supervisor."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from goldsmith import logging
from goldsmith.db import Database
from goldsmith.jobs import Outcome
from goldsmith.kinds.registry import load_run, parse_config
from goldsmith.settings import get_settings
from worker.context import RunContext
from worker.outcome import of_exception

log = structlog.get_logger()


def run_attempt() -> int:
    """Exit code 0: the outcome file says how it ended. Anything else is a crash, which the supervisor names."""
    scratch = Path(os.environ["GOLDSMITH_SCRATCH"])
    order: dict[str, Any] = json.loads((scratch / "order.json").read_text())
    settings = get_settings()
    logging.configure(settings.log_level, process="run", **order["log"])
    database = Database(settings.database, size=4).open()
    context = RunContext(
        database,
        settings,
        job_id=UUID(order["id"]),
        kind=order["kind"],
        attempt=order["attempt"],
        scratch=scratch / "work",
        gpu_id=order["gpu_id"],
    )
    context.scratch.mkdir()

    def stop(*_: object) -> None:
        context.stopping = True

    signal.signal(signal.SIGTERM, stop)
    try:
        result = load_run(order["kind"])(parse_config(order["config"]), context)
        context.flush()
        outcome = Outcome("completed", result=result.model_dump(mode="json"))
    except Exception as error:
        outcome = of_exception(error)
    database.close()
    _leave(scratch, outcome)
    return 0


def _leave(scratch: Path, outcome: Outcome) -> None:
    temporary = scratch / "outcome.tmp"
    temporary.write_text(json.dumps(asdict(outcome), default=str))
    temporary.rename(scratch / "outcome.json")
    sys.stdout.flush()


def read_outcome(scratch: Path) -> Outcome | None:
    """What the run left, or None when it died before it could say."""
    path = scratch / "outcome.json"
    return Outcome(**json.loads(path.read_text())) if path.exists() else None
