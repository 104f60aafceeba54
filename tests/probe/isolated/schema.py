"""A kind for tests: it does in its own process whatever a test asks for."""

from __future__ import annotations

from typing import ClassVar, Literal

from goldsmith.kinds.base import JobConfig, JobResult
from goldsmith.kinds.registry import Kind


class ProbeConfig(JobConfig):
    """Behaves as told."""

    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "gpu"
    isolated: ClassVar[bool] = True
    max_attempts: ClassVar[int] = 2

    kind: Literal["probe"] = "probe"
    do: Literal["return", "crash", "exit", "hang", "deaf", "raise", "temporary", "count", "spawn", "nan", "surrogate"]
    effects: str | None = None
    """A file to which every attempt appends a line: attempt, pid."""


class ProbeResult(JobResult):
    pid: int
    steps: int = 0


KIND = Kind(ProbeConfig, ProbeResult)
