"""The lock of a device is held by processes, not by rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from goldsmith.gpu import DeviceLock
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
    wait_until(second.try_acquire, "the release of the lock", 5)


def test_a_claimer_kills_the_holder(tmp_path: Path) -> None:
    process = hold(tmp_path)
    assert DeviceLock(tmp_path, "GPU-1").acquire(10)
    assert process.wait(5) == -9


def test_devices_do_not_share_a_lock(tmp_path: Path) -> None:
    process = hold(tmp_path)
    assert DeviceLock(tmp_path, "GPU-2").try_acquire()
    process.kill()
    process.wait()
