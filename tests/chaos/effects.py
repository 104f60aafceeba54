"""Side effects that can be counted: each is one line, appended to one file, with no key that would swallow a double.

A line is written by a single `write` to a file opened with O_APPEND, so lines of several processes never mix.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any
from uuid import UUID

LOG = "GOLDSMITH_CHAOS_LOG"


def record(job: UUID, attempt: int, effect: str) -> None:
    line = {"job": str(job), "attempt": attempt, "effect": effect, "pid": os.getpid(), "time": time.time()}
    handle = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, (json.dumps(line) + "\n").encode())
    finally:
        os.close(handle)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
