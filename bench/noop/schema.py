"""A kind that does nothing, so that what is measured is the queue."""

from __future__ import annotations

from typing import Literal

from goldsmith.kinds.base import JobConfig, JobResult
from goldsmith.kinds.registry import Kind


class NoopConfig(JobConfig):
    """Does nothing."""

    kind: Literal["noop"] = "noop"


class NoopResult(JobResult):
    """Nothing came out."""


KIND = Kind(NoopConfig, NoopResult)
