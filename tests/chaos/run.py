"""Chaos: a real stack under faults and load, then counted. `python -m tests.chaos.run --seed 1 --seconds 660`.

The same seed gives the same jobs and the same faults at the same moments; what they meet differs with the machine.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from goldsmith.db import connect
from tests.chaos import faults, load
from tests.chaos.stack import LEASE_S, WORKERS, Stack, running

SETTLE_S = 240.0
"""Enough for a message that was lost to be told again (30 s) and for every back-off."""


def unfinished(stack: Stack) -> int:
    with connect(stack.postgres.url()) as conn:
        row = conn.execute("SELECT count(*) AS n FROM jobs WHERE completed_at IS NULL").fetchone()
    assert row is not None
    return int(row["n"])


def chaos(folder: Path, *, seed: int, seconds: float, jobs: int, isolated: int, number: int) -> tuple[int, str]:
    """One run in `folder`. Returns the checker's exit code and what it printed."""
    with running(folder) as stack:
        watcher = subprocess.Popen([sys.executable, "-m", "tests.chaos.watch", str(folder)])
        try:
            sender = load.Load(stack.url, folder, seed)
            adversary = faults.Adversary(stack, sender, folder / "faults.jsonl")
            plan = faults.schedule(seed, seconds, number, LEASE_S, WORKERS)
            bodies = load.jobs(seed, jobs, isolated)
            begin = time.monotonic()
            submitting = threading.Thread(target=sender.run, args=(bodies, seconds), daemon=True)
            submitting.start()

            def tell(fault: faults.Fault) -> None:
                print(
                    f"{time.monotonic() - begin:6.1f} s  {fault.name} ({fault.target}), {sender.accepted} accepted", flush=True
                )

            adversary.run(plan, begin, tell)
            submitting.join()
            print(f"{time.monotonic() - begin:6.1f} s  all accepted; waiting for the last to end", flush=True)
            end = time.monotonic() + SETTLE_S
            while (left := unfinished(stack)) and time.monotonic() < end:
                time.sleep(1)
            print(f"{time.monotonic() - begin:6.1f} s  {left} left", flush=True)
        finally:
            watcher.terminate()
            watcher.wait()
        return check(folder, stack.postgres.url())


def check(folder: Path, database_url: str) -> tuple[int, str]:
    """The checker, in its own process."""
    command = [sys.executable, "-m", "tests.chaos.check", str(folder), database_url, str(LEASE_S)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="drawn and printed when not given")
    parser.add_argument("--seconds", type=float, default=660)
    parser.add_argument("--jobs", type=int, default=21_000)
    parser.add_argument("--isolated", type=int, default=350, help="how many of them run in a process of their own")
    parser.add_argument("--faults", type=int, default=220)
    parser.add_argument("--folder", type=Path, help="kept for a look afterwards; default: a temporary one")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="goldsmith-chaos-"))
    print(f"seed {args.seed}, {args.seconds:.0f} s, {args.jobs} jobs, {args.faults} faults; in {folder}", flush=True)
    try:
        code, said = chaos(
            folder, seed=args.seed, seconds=args.seconds, jobs=args.jobs, isolated=args.isolated, number=args.faults
        )
    except KeyboardInterrupt:
        sys.exit("interrupted; every process was ended, nothing was counted")
    print(said)
    sys.exit(code)


if __name__ == "__main__":
    main()
