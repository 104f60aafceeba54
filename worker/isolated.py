"""The process of an isolated run: `python -m worker.isolated`, started by the supervisor in a session of its own.

It forks at once. The first process, the *warden*, is the group's leader and waits: when the worker goes (its end of our
stdin closes) it kills the whole group. The second does the work and dies with the warden. So nothing of a run outlives
its worker, even when that is killed with -9, and nothing heavy is ever imported in the worker.
"""

from __future__ import annotations

import os
import select
import signal
import sys


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to handle
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    warden = os.getpid()
    run = os.fork()
    if run:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # meant for the run
        _keep_watch(run, read_end)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.close(read_end)
    os.close(write_end)
    _die_with(warden)
    from worker.attempt import run_attempt

    sys.exit(run_attempt())


def _keep_watch(run: int, wakeup: int) -> None:
    """End with the run's exit code (128 + signal when one killed it), or kill the group when the worker is gone."""
    while True:
        ready, _, _ = select.select([0, wakeup], [], [])
        if 0 in ready and not os.read(0, 1):
            os.killpg(os.getpgrp(), signal.SIGKILL)
        if wakeup in ready:
            os.read(wakeup, 64)
            pid, status = os.waitpid(run, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


def _die_with(warden: int) -> None:
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != warden:  # it died before we asked
        os._exit(1)


if __name__ == "__main__":
    main()
