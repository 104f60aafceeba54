"""What is done to the stack, when: a schedule drawn from a seed, and the hand that carries it out."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import redis

from goldsmith.jobs import Told
from goldsmith.queue import Queue
from tests.chaos.load import Load
from tests.chaos.stack import Stack

FAULTS = {
    "kill a worker": 8,
    "kill a run": 8,
    "kill a warden": 3,
    "kill the API": 4,
    "kill beat": 2,
    "flush Valkey": 3,
    "kill Valkey": 3,
    "kill Postgres": 2,
    "kill Postgres for longer than the lease": 1,
    "stop a worker for longer than the lease": 4,
    "stop a run for longer than the lease": 3,
    "duplicate messages": 4,
    "delay messages": 3,
}
"""And how often each is drawn."""


@dataclass(frozen=True)
class Fault:
    at: float
    """Seconds after the begin."""
    name: str
    target: str
    seconds: float


def schedule(seed: int, seconds: float, number: int, lease_s: float, workers: dict[str, str]) -> list[Fault]:
    """`number` faults over `seconds`, each kind at least once where there are enough of them; the same for the same seed."""
    random_ = random.Random(f"faults {seed}")
    names = list(FAULTS)[:number] + random_.choices(list(FAULTS), weights=list(FAULTS.values()), k=max(0, number - len(FAULTS)))
    random_.shuffle(names)
    drawn = []
    for name in names:
        isolated = [worker for worker, queue in workers.items() if queue != "io"]
        target = random_.choice(isolated if "run" in name or "warden" in name else list(workers))
        seconds_ = random_.uniform(1.2, 2.0) * lease_s if "longer" in name else random_.uniform(0.1, 1.5)
        drawn.append(Fault(random_.uniform(0, seconds), name, target, seconds_))
    return sorted(drawn, key=lambda fault: fault.at)


class Adversary:
    """Carries out a schedule. Faults overlap: each mends itself on a thread of its own."""

    def __init__(self, stack: Stack, load: Load, log: Path) -> None:
        self._stack, self._load = stack, load
        self._log = log.open("a")
        self._writing = threading.Lock()
        self._busy = {name: threading.Lock() for name in stack.members}
        self._mending: list[threading.Thread] = []
        self._queue = Queue(stack.valkey.url)

    def run(self, faults: list[Fault], begin: float, tell: Callable[[Fault], None]) -> None:
        for fault in faults:
            time.sleep(max(0.0, begin + fault.at - time.monotonic()))
            thread = threading.Thread(target=self._do, args=(fault,), name=fault.name)
            thread.start()
            self._mending.append(thread)
            tell(fault)
        for thread in self._mending:
            thread.join()
        self._log.close()

    def _do(self, fault: Fault) -> None:
        stack = self._stack
        match fault.name:
            case "kill a worker":
                self._kill(fault.target, fault)
            case "kill the API":
                self._kill("api", fault)
            case "kill beat":
                self._kill("beat", fault)
            case "kill Valkey":
                self._kill("valkey", fault)
            case "kill Postgres" | "kill Postgres for longer than the lease":
                with self._busy["postgres"]:
                    pid = stack.kill("postgres")
                    began = time.time()
                    time.sleep(fault.seconds)
                    stack.restart_postgres()
                    self._note(fault, "postgres", pid, began)
            case "flush Valkey":
                began = time.time()
                with suppress(redis.RedisError):  # it is down: as empty as it can be
                    redis.Redis.from_url(stack.valkey.url, socket_timeout=2).flushall()
                self._note(fault, "valkey", stack.members["valkey"].pid, began)
            case "kill a run" | "kill a warden" | "stop a run for longer than the lease":
                self._hurt_run(fault)
            case "stop a worker for longer than the lease":
                with self._busy[fault.target]:
                    pid, began = stack.members[fault.target].pid, time.time()
                    os.kill(pid, signal.SIGSTOP)
                    time.sleep(fault.seconds)
                    with suppress(ProcessLookupError):  # Ctrl-C has ended it meanwhile
                        os.kill(pid, signal.SIGCONT)
                    self._note(fault, fault.target, pid, began)
            case "duplicate messages" | "delay messages":
                began = time.time()
                told = [Told(job, kind, queue, 4) for job, kind, queue in self._load.newest(20)]
                if fault.name == "delay messages":
                    time.sleep(3 * fault.seconds)
                with suppress(redis.RedisError):
                    self._queue.publish(told)
                self._note(fault, "valkey", len(told), began)

    def _kill(self, name: str, fault: Fault) -> None:
        with self._busy[name]:
            began = time.time()
            pid = self._stack.kill(name)
            time.sleep(fault.seconds)
            self._stack.launch(name)
            self._note(fault, name, pid, began)

    def _hurt_run(self, fault: Fault) -> None:
        """Waits for a run of the worker; the one that the OOM killer takes, the group's leader, or one that hangs."""
        end = time.monotonic() + 10
        while not (runs := self._stack.runs(fault.target)):
            if time.monotonic() > end:
                return self._note(fault, f"{fault.target}: no run", 0, time.time())
            time.sleep(0.05)
        began, run = time.time(), runs[0]
        with suppress(psutil.NoSuchProcess):  # it has just ended by itself
            match fault.name:
                case "kill a run":
                    run.kill()
                case "kill a warden":
                    psutil.Process(run.ppid()).kill()
                case _:
                    run.suspend()
                    time.sleep(fault.seconds)
                    run.resume()
        self._note(fault, fault.target, run.pid, began)
        return None

    def _note(self, fault: Fault, target: str, pid: int, began: float) -> None:
        line = asdict(fault) | {"target": target, "pid": pid, "began": began, "ended": time.time()}
        with self._writing:
            self._log.write(json.dumps(line) + "\n")
            self._log.flush()
