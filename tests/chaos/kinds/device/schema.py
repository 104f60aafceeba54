"""Counted effects on a pretended device, which only one process may use at a time."""

from __future__ import annotations

from typing import ClassVar, Literal

from goldsmith.kinds.base import JobConfig
from goldsmith.kinds.registry import Kind
from tests.chaos.kinds.inline.schema import Done


class DeviceConfig(JobConfig):
    """Uses the device for `steps` times `pause_s`; `deaf` neither listens to a cancel nor to SIGTERM."""

    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "gpu"
    isolated: ClassVar[bool] = True
    max_attempts: ClassVar[int] = 20

    kind: Literal["chaos_gpu"] = "chaos_gpu"
    steps: int = 4
    pause_s: float = 0.1
    deaf: bool = False


KIND = Kind(DeviceConfig, Done)
