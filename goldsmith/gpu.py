"""The one device of a gpu worker: its name, and the lock that only one run's processes hold.

A row guards a row, not a device. So the processes of a run also hold a `flock` on a file named by the device: it is
opened here, handed down to the run, and free again when the last process of the run is gone, however it went.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import IO, Any

import psutil
import pynvml

from goldsmith.errors import GoldsmithError


def visible_devices() -> list[str]:
    """UUIDs of the devices that a worker here could serve, `CUDA_VISIBLE_DEVICES` respected; empty without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = (
        [name for name in visible.split(",") if name]
        if visible is not None
        else [str(n) for n in range(pynvml.nvmlDeviceGetCount())]
    )
    return [
        name
        if name.startswith(("GPU-", "MIG-"))
        else str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(int(name))))
        for name in names
    ]


def device_id(configured: str | None) -> str:
    """The NVML (or MIG) UUID of the one visible device, or the configured name. Raises when there are none or two."""
    if configured:
        return configured
    devices = visible_devices()
    if not devices:
        raise GoldsmithError("no GPU found; name the device with GOLDSMITH_GPU_ID to run gpu jobs on the CPU")
    if len(devices) > 1:
        raise GoldsmithError(
            f"a gpu worker serves exactly one device and sees {len(devices)}; start one for each, with CUDA_VISIBLE_DEVICES"
        )
    return devices[0]


def free_bytes(gpu_id: str) -> int | None:
    """Memory of the device that nobody uses, whoever the others are; None where there is no such device to ask."""
    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(gpu_id)).free)
    except pynvml.NVMLError:
        return None


class DeviceLock:
    """The lock file of a device. `acquire`, hand `fileno()` to the run, `name_holder`, then `release` our own copy."""

    def __init__(self, folder: Path, gpu_id: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = (folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', gpu_id)}.lock").open("a+")

    def try_acquire(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self, seconds: float) -> bool:
        """Take the lock, killing the holder: the caller owns the device's row, so whoever holds it was given up for dead."""
        end = time.monotonic() + seconds
        while not self.try_acquire():
            self._kill_holder()
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def name_holder(self, pid: int) -> None:
        """Write which process group holds the lock, so that a later claimer can end it."""
        self._file.seek(0)
        self._file.truncate()
        json.dump({"pid": pid, "started": psutil.Process(pid).create_time()}, self._file)
        self._file.flush()

    def release(self) -> None:
        """Close our copy; the lock stays with the run's processes as long as one of them lives."""
        self._file.close()

    def _kill_holder(self) -> None:
        self._file.seek(0)
        try:
            holder: dict[str, Any] = json.loads(self._file.read())
            process = psutil.Process(holder["pid"])
            if abs(process.create_time() - holder["started"]) > 0.01:
                return
            os.killpg(holder["pid"], signal.SIGKILL)
        except (ValueError, KeyError, psutil.NoSuchProcess, ProcessLookupError):
            return  # the holder is just starting or just gone; the caller tries again
