"""What every asker is told and what it says in the end. Nothing but the standard library: peers have environments of their own."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

SYSTEM = "Write one plain sentence about what the prompt names."
MAX_TOKENS = 300


@dataclass(frozen=True)
class Order:
    url: str
    """The metering teacher."""
    questions: int
    at_once: int
    rate: float
    """The teacher's limit, for peers that want to be told; ours is not."""
    database: str = ""
    broker: str = ""
    job: str = ""
    attempt: int = 1

    def prompts(self) -> list[str]:
        return [f"A whale number {number} is stuck in the lift of a tall house." for number in range(self.questions)]


@dataclass
class Done:
    answered: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    """Of the process and its children, from when everything was loaded to the last answer."""
    error: str = ""


def serve(ask: Callable[[Order, Done], None]) -> None:
    """Read the order, do it, say what became of it. `ask` counts into `Done.answered`."""
    order, done = Order(**json.load(sys.stdin)), Done()
    with measured(done):
        ask(order, done)
    sys.stdout.write(json.dumps(asdict(done)) + "\n")


@contextmanager
def measured(done: Done) -> Iterator[None]:
    began, cpu = time.monotonic(), _cpu_s()
    try:
        yield
    finally:
        done.seconds, done.cpu_s = time.monotonic() - began, _cpu_s() - cpu


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
