"""`python -m bench.uno_rules`: how long a rules job takes beside what the teacher's limit allows.

The kind runs in a process of its own, with the worker's context, a real ledger, and a metering teacher on loopback that takes
200 ms and lets 50 requests a second through. Nothing passes or fails by time: the aim stands beside the number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from uuid import UUID

import psycopg
from rich.console import Console
from rich.table import Table

from bench.metering import MeteringServer
from bench.servers import ROOT, Servers
from goldsmith.teacher import rehearsal_rules

SESSIONS, RATE, LATENCY_S, AIM = 3752, 50.0, 0.2, 1.1
DISHES = ("a bread", "eine Suppe", "a cake", "einen Salat", "a stew", "einen Auflauf", "a pie")
WISHES = (
    "Please give the amounts in grams.",
    "Bitte höchstens fünf Schritte.",
    "Name the oven's temperature.",
    "Ohne Nüsse bitte.",
)
JOB = """
INSERT INTO jobs (kind, config, status, queue, attempt, timeout, worker, heartbeat_at, started_at)
VALUES (%s, '{}', 'running', 'io', 1, 3600, 'bench', now(), now()) RETURNING id
"""


def measure(servers: Servers, sessions: int, *, own_rules: bool) -> dict[str, float]:
    """One job: how many questions it asked, and the seconds of it all, beside those that the limit makes of them."""
    rehearsal_rules.BROKEN_JSON = 0  # the rehearsal's wrong answers would be asked again: here one question is one answer
    with MeteringServer(rate=RATE, latency_s=LATENCY_S) as teacher, TemporaryDirectory() as folder:
        order = {
            "url": teacher.url,
            "database": servers.postgres.url(),
            "broker": servers.valkey.url,
            "sessions": sessions,
            "own_rules": own_rules,
            "folder": folder,
        }
        with psycopg.connect(order["database"], autocommit=True) as conn:
            conn.execute("TRUNCATE teacher_calls, budgets, rules, sessions")  # what an earlier round paid would be free now
        done = subprocess.run(
            [sys.executable, "-m", "bench.uno_rules", "--child"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        said = json.loads(done.stdout.splitlines()[-1])
        questions = len(teacher.answered_at)
        said |= {"questions": questions, "refused": teacher.statuses["429"], "limit_s": questions / RATE}
        return said


def child() -> None:
    """The job itself, as a worker runs it."""
    from goldsmith.db import Database
    from goldsmith.kinds.rules.run import run
    from goldsmith.kinds.rules.schema import RulesConfig
    from goldsmith.sessions import Session, save_sessions
    from goldsmith.settings import Settings
    from goldsmith.teacher.metered import open_metered  # loaded before the clock starts
    from worker.context import RunContext

    assert open_metered
    order = json.load(sys.stdin)
    database = Database(order["database"]).open()
    with database.connection() as conn:
        ids = [UUID(str(conn.execute(JOB, (kind,)).fetchone()["id"])) for kind in ("sessions", "rules")]  # type: ignore[index]
        save_sessions(
            conn,
            ids[0],
            1,
            [
                Session(
                    n,
                    f"s-{n}",
                    "chat",
                    f"{DISHES[n % 7]} number {n}",
                    f"Take flour {n}.",
                    f"Feedback 1: {WISHES[n % 4]}",
                    "turns",
                )
                for n in range(order["sessions"])
            ],
        )
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        rehearsal_url=order["url"],
        broker_url=order["broker"],
        database_url=order["database"],
        state_dir=Path(order["folder"]),
    )
    ctx = RunContext(database, settings, job_id=ids[1], kind="rules", attempt=1, scratch=Path(order["folder"]))
    config = RulesConfig(sessions=f"job:{ids[0]}", teacher="rehearsal", budget_usd=1000, own_rules=order["own_rules"])
    began, cpu = time.monotonic(), time.process_time()
    result = asyncio.run(run(config, ctx))
    said = {"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu, "rules": result.rules}
    database.close()
    sys.stdout.write(json.dumps(said) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.uno_rules", description=__doc__, allow_abbrev=False)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--own-rules", action="store_true", help="two questions a session: also without the feedback")
    told = parser.parse_args()
    if told.child:
        child()
        return
    show(told.sessions, told.rounds, own_rules=told.own_rules)


def show(sessions: int, rounds: int = 1, *, own_rules: bool = False) -> None:
    servers = Servers([])
    found = []
    try:
        servers.start(finished=0)
        for _ in range(rounds):
            found.append(measure(servers, sessions, own_rules=own_rules))
    finally:
        servers.stop()
    Console(width=128).print(table(sessions, found))


def table(sessions: int, rounds: list[dict[str, float]]) -> Table:
    found = Table(title=f"rules of {sessions} sessions; limit {RATE:.0f}/s, latency {LATENCY_S} s")
    for head in ("rounds", "questions", "seconds", "the limit alone", "ratio", "answered 429", "CPU s", "rules"):
        found.add_column(head, justify="right")
    cells = {name: median(one[name] for one in rounds) for name in rounds[0]}
    found.add_row(
        f"{len(rounds)}",
        f"{cells['questions']:.0f}",
        f"{cells['seconds']:.1f}",
        f"{cells['limit_s']:.1f} s",
        f"{median(one['seconds'] / one['limit_s'] for one in rounds):.3f}×",
        f"{cells['refused']:.0f}",
        f"{cells['cpu_s']:.1f}",
        f"{cells['rules']:.0f}",
    )
    found.caption = f"aim: ≤ {AIM}×"
    return found


if __name__ == "__main__":
    main()
