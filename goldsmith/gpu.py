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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import pynvml

from goldsmith.errors import GoldsmithError


def visible_devices() -> list[str]:
    """UUIDs of the devices that a worker here could serve; empty without a driver.

    `CUDA_VISIBLE_DEVICES` is read as CUDA reads it: numbers, UUIDs or their beginnings, and an unknown one hides those after it.
    Numbers count by PCI bus. A device that is cut into MIG instances is its instances.
    """
    try:
        pynvml.nvmlInit()
        devices = [_instances(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [name for names in devices for name in names]
    found: list[str] = []
    for wanted in map(str.strip, visible.split(",")):
        if wanted.isdigit():
            names = devices[int(wanted)] if int(wanted) < len(devices) else []
        else:
            names = [name for names in devices for name in names if len(wanted) > 4 and name.startswith(wanted)]
        if not names:
            break
        found += names
    return found


def _instances(number: int) -> list[str]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    found = []
    try:
        if pynvml.nvmlDeviceGetMigMode(handle)[0]:
            for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                with suppress(pynvml.NVMLError_NotFound):
                    found.append(str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))))
    except pynvml.NVMLError_NotSupported:
        pass  # most devices cannot be cut
    return found or [str(pynvml.nvmlDeviceGetUUID(handle))]


def environment(gpu_id: str | None) -> dict[str, str]:
    """What makes a run see the device of its worker and no other, none where that serves none.

    A pretended device (GOLDSMITH_GPU_ID) hides nothing.
    """
    if gpu_id is None:
        return {"CUDA_VISIBLE_DEVICES": ""}
    return {"CUDA_VISIBLE_DEVICES": gpu_id} if gpu_id.startswith(("GPU-", "MIG-")) else {}


def device_id(configured: str | None) -> str:
    """The NVML (or MIG) UUID of the one visible device, or the configured name. Raises when there are none or two."""
    devices = visible_devices()
    if len(devices) > 1:
        raise GoldsmithError(
            f"a gpu worker serves exactly one device and sees {len(devices)}; start one for each, with CUDA_VISIBLE_DEVICES"
        )
    if configured:
        return configured
    if not devices:
        raise GoldsmithError("no GPU found; name the device with GOLDSMITH_GPU_ID to run gpu jobs on the CPU")
    return devices[0]


def free_bytes(gpu_id: str) -> int | None:
    """Memory of the device that nobody uses, whoever the others are; None where there is no such device to ask."""
    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(gpu_id)).free)
    except pynvml.NVMLError:
        return None


@dataclass(frozen=True)
class Holder:
    """Another process and what it holds of a device."""

    pid: int
    name: str
    """Of its program, never its arguments; empty where it cannot be read, as from inside a container."""
    bytes: int | None
    """None where the driver does not say."""

    def __str__(self) -> str:
        size = "" if self.bytes is None else f" {self.bytes / 1e9:.1f} GB"
        return f"{self.name or 'a process'} (pid {self.pid}){size}"


@dataclass(frozen=True)
class Memory:
    total: int
    free: int
    """What nobody but this process uses."""
    holders: tuple[Holder, ...]
    """The other processes, the largest first."""


def memory(gpu_id: str) -> Memory | None:
    """Who holds what of a device, by NVML; None where there is no such device to ask."""
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu_id)
        found = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return None
    by_pid = {each.pid: each.usedGpuMemory for each in (*_processes(handle, "Graphics"), *_processes(handle, "Compute"))}
    own = by_pid.pop(os.getpid(), None) or 0  # a run that looked at the device has a CUDA context there already
    holders = [Holder(pid, _program(pid), used) for pid, used in by_pid.items()]
    return Memory(int(found.total), int(found.free) + own, tuple(sorted(holders, key=lambda one: -(one.bytes or 0))))


def _processes(handle: Any, sort: str) -> list[Any]:
    """Empty where the driver does not tell: the sum is known all the same."""
    try:
        return list(getattr(pynvml, f"nvmlDeviceGet{sort}RunningProcesses")(handle))
    except pynvml.NVMLError:
        return []


def _program(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return ""


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
            group, started = holder["pid"], holder["started"]
        except (ValueError, KeyError):
            return  # the holder is just starting; the caller tries again
        with suppress(psutil.NoSuchProcess):
            if abs(psutil.Process(group).create_time() - started) > 0.01:
                return  # the number was given anew: the holder is gone, and the next is just starting
        # Its leader may be gone while a child of it still computes: a group's number is not given anew as long as one is left.
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getpgid(process.pid) == group and process.create_time() > started - 0.01:
                    os.kill(process.pid, signal.SIGKILL)
