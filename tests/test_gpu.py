"""The lock of a device is held by processes, not by rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest

from goldsmith.gpu import DeviceLock, environment, visible_devices
from tests.conftest import wait_until

SLEEPER = [sys.executable, "-c", "import time\nwhile True: time.sleep(1)"]


def hold(folder: Path) -> subprocess.Popen[bytes]:
    """A process group that holds the lock, as a run does."""
    lock = DeviceLock(folder, "GPU-1")
    assert lock.try_acquire()
    process = subprocess.Popen(SLEEPER, pass_fds=(lock.fileno(),), start_new_session=True)
    lock.name_holder(process.pid)
    lock.release()
    return process


def test_the_lock_stays_with_the_process_that_inherited_it(tmp_path: Path) -> None:
    process = hold(tmp_path)
    second = DeviceLock(tmp_path, "GPU-1")
    assert not second.try_acquire()
    process.kill()
    process.wait()
    wait_until(second.try_acquire, "the release of the lock")


def test_a_claimer_kills_the_holder(tmp_path: Path) -> None:
    process = hold(tmp_path)
    assert DeviceLock(tmp_path, "GPU-1").acquire(10)
    assert process.wait(120) == -9


def test_devices_do_not_share_a_lock(tmp_path: Path) -> None:
    process = hold(tmp_path)
    assert DeviceLock(tmp_path, "GPU-2").try_acquire()
    process.kill()
    process.wait()


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Devices as NVML names them, each with its MIG instances."""
    found: list[list[str]] = [["GPU-aaaa1111"], ["GPU-bbbb2222"], ["GPU-cccc3333"]]

    def mig_mode(handle: int) -> list[int]:
        if handle == 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [int(len(found[handle]) > 1), 0]

    def instance(handle: int, index: int) -> tuple[int, int]:
        if index + 1 >= len(found[handle]):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return handle, index + 1

    def uuid(handle: Any) -> str:
        number, index = handle if isinstance(handle, tuple) else (handle, 0)
        return found[number][index]

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(found))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda number: number)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMigMode", mig_mode)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMaxMigDeviceCount", lambda handle: 7)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMigDeviceHandleByIndex", instance)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", uuid)
    return found


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        (None, "abc"),
        ("", ""),
        ("-1", ""),
        ("1", "b"),
        ("2, 0", "ca"),
        ("GPU-bbbb2222", "b"),
        ("GPU-bb,0", "ba"),
        ("0,7,1", "a"),
        ("0,GPU-eeee,1", "a"),
        ("GPU-", ""),
    ],
)
def test_a_worker_sees_what_cuda_sees(
    devices: list[list[str]], monkeypatch: pytest.MonkeyPatch, visible: str | None, seen: str
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_devices() == [{"a": "GPU-aaaa1111", "b": "GPU-bbbb2222", "c": "GPU-cccc3333"}[letter] for letter in seen]


def test_a_device_that_is_cut_up_is_its_instances(devices: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    devices[1] += ["MIG-x", "MIG-y"]
    assert visible_devices() == ["GPU-aaaa1111", "MIG-x", "MIG-y", "GPU-cccc3333"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-y")
    assert visible_devices() == ["MIG-y"]


def test_a_run_sees_the_device_of_its_worker_alone() -> None:
    assert environment("GPU-aaaa1111") == {"CUDA_VISIBLE_DEVICES": "GPU-aaaa1111"}
    assert environment(None) == {"CUDA_VISIBLE_DEVICES": ""}
    assert environment("pretended") == {}
