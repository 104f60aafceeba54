"""`python -m bench.gold`: how fast and how cheaply a teacher is asked at once, beside what people write themselves.

A metering teacher on loopback answers after a fixed latency and lets 50 requests a second through. Everyone asks in a process of
its own; in a round they take turns. Nothing passes or fails by time: the aims stand beside the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from uuid import UUID

import psycopg
from rich.console import Console
from rich.table import Table

from bench.gold_peers.order import Done, Order
from bench.metering import MeteringServer
from bench.servers import ROOT, Servers

RATE, LATENCY_S = 50.0, 0.2
LINES = ("rate", "kill")
LIMIT_S = 150.0  # for one asker; three times what the teacher's limit makes of 2,000 questions
# (what runs it, how many are in flight at once). Ours finds its own number below the one given.
ASKERS: dict[str, tuple[list[str], int]] = {
    "Goldsmith": ([sys.executable, "-m", "bench.gold_peers.ours"], 128),
    "gather, 10 at once": ([sys.executable, "-m", "bench.gold_peers.gather"], 10),  # rate × latency, which nobody knows
    "gather, 64 at once": ([sys.executable, "-m", "bench.gold_peers.gather"], 64),
}
FOREIGN = {
    "distilabel": ("BENCH_DISTILABEL_PYTHON", "bench/gold_peers/distilabel_peer.py"),
    "curator": ("BENCH_CURATOR_PYTHON", "bench/gold_peers/curator_peer.py"),
}
JOB = """
INSERT INTO jobs (kind, config, status, queue, attempt, timeout, worker, heartbeat_at, started_at)
VALUES ('gold', '{"kind": "gold"}', 'running', 'io', 1, 3600, 'bench', now(), now()) RETURNING id
"""


@dataclass(frozen=True)
class Sample:
    rate: float
    """Answers a second, from the first request to the last answer, as the teacher saw them."""
    refused: float
    """429s, as a share of the questions."""
    cpu_s: float
    """Of the asker, for 1,000 questions."""
    lost: int
    """Questions without an answer in the end."""
    error: str


class Bench:
    def __init__(self, servers: Servers, askers: dict[str, tuple[list[str], int]], questions: int) -> None:
        self.servers, self.askers, self.questions = servers, askers, questions
        self._running: subprocess.Popen[str] | None = None

    def stop(self) -> None:
        """End the asker that is at work, with its children."""
        if self._running is not None and self._running.poll() is None:
            os.killpg(self._running.pid, signal.SIGKILL)

    def rate(self, name: str) -> Sample:
        """All the questions to a teacher of its own."""
        with MeteringServer(rate=RATE, latency_s=LATENCY_S) as teacher:
            done = self._finish(self._start(name, self._order(name, teacher, self.questions)))
            seen = sorted(teacher.answered_at)
            span = seen[-1] - seen[0] + LATENCY_S if seen else 1.0
            return Sample(
                len(seen) / span,
                teacher.statuses["429"] / self.questions,
                done.cpu_s * 1000 / self.questions,
                self.questions - done.answered,
                done.error,
            )

    def kill(self, name: str) -> tuple[int, int] | str:
        """How many answers were bought again, because the process was killed half-way and started anew, and how many were in flight
        at the kill; or what became of it."""
        questions = self.questions // 4
        with MeteringServer(rate=4 * RATE, latency_s=LATENCY_S) as teacher:
            order = self._order(name, teacher, questions)
            process = self._start(name, order)
            while teacher.statuses["200"] < questions / 2:
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended early: {process.communicate()[1][-2000:]}")
                time.sleep(0.02)
            in_flight = teacher.statuses["200"] - len(teacher.answered_at)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if order.job:
                with psycopg.connect(order.database, autocommit=True) as conn:
                    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (order.job,))
            try:
                done = self._finish(self._start(name, replace(order, attempt=2)))
            except subprocess.TimeoutExpired:
                return f"did not end within {LIMIT_S:.0f} s of its second start"
            if done.answered != questions:
                raise RuntimeError(f"{name} answered {done.answered} of {questions}: {done.error}")
            return teacher.meter.tokens["requests"] - questions, in_flight

    def _order(self, name: str, teacher: MeteringServer, questions: int) -> Order:
        order = Order(teacher.url, questions, self.askers[name][1], RATE)
        if name != "Goldsmith":
            return order
        database = self.servers.postgres.url()
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("TRUNCATE teacher_calls, budgets")  # what an earlier round paid would be free now
            row = conn.execute(JOB).fetchone()
        assert row is not None
        job: UUID = row[0]
        return replace(order, database=database, broker=self.servers.valkey.url, job=str(job))

    def _start(self, name: str, order: Order) -> subprocess.Popen[str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("GOLDSMITH_", "ANTHROPIC_"))}
        env |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(self.servers.folder)}  # caches of peers go with the servers
        process = subprocess.Popen(
            self.askers[name][0],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=env,
            start_new_session=True,  # some have children, which are killed with them
        )
        self._running = process
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(order)))
        process.stdin.close()
        process.stdin = None  # or `communicate` would flush it
        return process

    def _finish(self, process: subprocess.Popen[str]) -> Done:
        try:
            out, said = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        if process.returncode:
            raise RuntimeError(f"an asker ended with exit code {process.returncode}: {said[-2000:]}")
        return Done(**json.loads(out.splitlines()[-1]))


def known_askers(say: Callable[[str], None]) -> dict[str, tuple[list[str], int]]:
    """Ours, the plain ones, and the foreign ones whose Python is named in the environment."""
    found = dict(ASKERS)
    for name, (variable, script) in FOREIGN.items():
        python = os.environ.get(variable)
        if python and Path(ROOT / script).is_file():
            found[name] = ([python, str(ROOT / script)], 64)
        else:
            say(f"{name} is left out: {variable} names no Python that has it")
    return found


def rate_table(samples: dict[str, list[Sample]]) -> Table:
    table = Table(title=f"asked at once; limit {RATE:.0f}/s, latency {LATENCY_S} s")
    for head in (
        "asker",
        "answers/s",
        "of the limit",
        "answered 429",
        "CPU s per 1,000",
        "lost",
        "our rate to it",
        "our CPU to it",
    ):
        table.add_column(head, justify="left" if head == "asker" else "right")
    ours = samples.get("Goldsmith", [])
    for name, found in samples.items():
        rate = median(sample.rate for sample in found)
        ratios = [mine.rate / theirs.rate for mine, theirs in zip(ours, found, strict=False)]
        cpu = [mine.cpu_s / theirs.cpu_s for mine, theirs in zip(ours, found, strict=False)]
        table.add_row(
            name,
            f"{rate:.1f}",
            f"{rate / RATE:.3f}",
            f"{median(sample.refused for sample in found):.1%}",
            f"{median(sample.cpu_s for sample in found):.2f}",
            f"{max(sample.lost for sample in found)}",
            f"{median(ratios):.2f}×" if ratios and name != "Goldsmith" else "",
            f"{median(cpu):.2f}×" if ratios and name != "Goldsmith" else "",
        )
    table.caption = "aims: ≥ 0.97 of the limit, ≤ 1 % answered 429, rate ≥ 1.0× the best, CPU ≤ 1.5× the plain gather"
    return table


def kill_table(again: dict[str, tuple[int, int] | str], questions: int) -> Table:
    table = Table(title=f"killed (-9) half-way through {questions} questions, then started anew")
    table.add_column("asker")
    table.add_column("answers bought twice", justify="right")
    table.add_column("in flight at the kill", justify="right")
    for name, found in again.items():
        table.add_row(name, *((found,) if isinstance(found, str) else map(str, found)))
    table.caption = "aim: none but the direct requests that were in flight at the kill"
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gold", description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", nargs="+", choices=LINES, default=LINES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--askers", nargs="+", help="these only, by their names in the table")
    told = parser.parse_args()
    console = Console(width=128)
    askers = known_askers(lambda text: console.print(f"[yellow]{text}[/]"))
    askers = {name: how for name, how in askers.items() if not told.askers or name in told.askers}
    samples: dict[str, list[Sample]] = {name: [] for name in askers}
    again: dict[str, tuple[int, int] | str] = {}
    servers = Servers([])
    bench = Bench(servers, askers, told.questions)
    try:
        servers.start(finished=0)
        for number in range(told.rounds if "rate" in told.only else 0):
            for name in askers:
                console.print(f"rate, round {number + 1} of {told.rounds}: {name}")
                samples[name].append(bench.rate(name))
        for name in askers if "kill" in told.only else ():
            console.print(f"kill -9: {name}")
            again[name] = bench.kill(name)
    finally:  # also on Ctrl-C: what was measured is shown
        bench.stop()
        servers.stop()
        if measured := {name: found for name, found in samples.items() if found}:
            console.print(rate_table(measured))
        if again:
            console.print(kill_table(again, told.questions // 4))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
