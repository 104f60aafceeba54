"""A kind for tests that runs in the worker's own loop."""

from __future__ import annotations

from typing import Literal

from goldsmith.kinds.base import JobConfig, JobResult
from goldsmith.kinds.registry import Kind


class NoopConfig(JobConfig):
    """Does nothing, or waits."""

    kind: Literal["noop"] = "noop"
    wait_s: float = 0
    thread_s: float = 0
    """Work in a thread that reports progress and hears nothing else."""


class NoopResult(JobResult):
    attempt: int


KIND = Kind(NoopConfig, NoopResult)
