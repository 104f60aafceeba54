"""Counted effects in a process of its own."""

from __future__ import annotations

from typing import ClassVar, Literal

from goldsmith.kinds.base import JobConfig
from goldsmith.kinds.registry import Kind
from tests.chaos.kinds.inline.schema import Done


class IsolatedConfig(JobConfig):
    """`steps` effects, `pause_s` apart, a checkpoint after each; a `poison` kills its process at the first."""

    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "cpu"
    isolated: ClassVar[bool] = True
    max_attempts: ClassVar[int] = 20

    kind: Literal["chaos_cpu"] = "chaos_cpu"
    steps: int = 4
    pause_s: float = 0.1
    poison: bool = False
    artifact_bytes: int = 10


KIND = Kind(IsolatedConfig, Done)
