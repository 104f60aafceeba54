"""Counted effects in the worker's own loop."""

from __future__ import annotations

from typing import Literal

from goldsmith.kinds.base import JobConfig, JobResult
from goldsmith.kinds.registry import Kind


class InlineConfig(JobConfig):
    """`steps` effects, `pause_s` apart."""

    kind: Literal["chaos_io"] = "chaos_io"
    steps: int = 2
    pause_s: float = 0.0
    artifact: bool = False


class Done(JobResult):
    attempt: int
    steps: int


KIND = Kind(InlineConfig, Done)
