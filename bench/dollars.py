"""`python -m bench.dollars`: what pairs cost in batches with a cache, against naive direct calls without one.

Five configs; a prefix too short for the provider's cache, and one of 2,000 tokens. The bill is the metering teacher's own: what
it charged us, and what its meter makes of the same requests sent one by one without marks. No repairs on either side.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from uuid import UUID

import psycopg

from bench.gold import JOB
from bench.metering import MeteringServer
from bench.servers import Servers
from goldsmith.db import Database
from goldsmith.errors import Requeue
from goldsmith.settings import Settings
from goldsmith.teacher import Waiting, open_teacher
from goldsmith.teacher.bounded import for_each
from goldsmith.teacher.rehearsal_messages import Meter, compose

CONFIGS, MAX_TOKENS = 5, 300
SYSTEM = "Write what was asked for in one paragraph of plain sentences, in the language of the prompt."
SHORT, LONG = 400, 8000  # bytes; the metering teacher has four to a token


def prompts(pairs: int, prefix_bytes: int) -> list[tuple[str, int]]:
    """Each with the length of what it shares with the others of its config."""
    found = []
    for number in range(pairs):
        rule = f"Rule {number % CONFIGS} of the craft: the warp holds, the weft brings, the shuttle turns. "
        context = (rule * (prefix_bytes // len(rule) + 1))[:prefix_bytes]
        beginning = f"Task:\nWrite.\n\nContext:\n{context}\n\nImportant: answer in English.\n\nPrompt:\n"
        found.append((f"{beginning}A whale number {number} is stuck in the lift of the old town hall.", len(beginning)))
    return found


def naive(asked: Sequence[tuple[str, int]]) -> float:
    meter = Meter()
    for prompt, _ in asked:
        body = {
            "model": "rehearsal-1",
            "max_tokens": MAX_TOKENS,
            "system": SYSTEM,
            "messages": [{"role": "user", "content": prompt}],
        }
        usage, _ = meter.input(body)
        meter.charge("rehearsal-1", compose(body, usage)["usage"])
    return meter.usd


async def attempt(
    database: Database, url: str, broker: str, job_id: UUID, number: int, asked: Sequence[tuple[str, int]]
) -> int:
    """One attempt of a job that buys them all; returns how many answers are there, or raises `Requeue`."""
    teacher = open_teacher(
        database,
        settings=Settings(_env_file=None, rehearsal_url=url, broker_url=broker),
        job_id=job_id,
        attempt=number,
        provider="rehearsal",
        model=None,
        budget_usd=10_000,
        recorded=False,
    )
    answered = 0

    async def one(item: tuple[str, int]) -> bool:
        nonlocal answered
        try:
            await teacher.ask(
                item="bench",
                system=SYSTEM,
                prompt=item[0],
                max_tokens=MAX_TOKENS,
                batch=True,
                shared=item[1],
                sharing=len(asked) // CONFIGS,
            )
        except Waiting:
            return True
        answered += 1
        return True

    async with aclosing(teacher):
        await teacher.collect()
        await for_each(asked, one, concurrency=500)
        await teacher.send()
    return answered


def ours(servers: Servers, asked: Sequence[tuple[str, int]]) -> float:
    url = servers.postgres.url()
    with psycopg.connect(url, autocommit=True) as conn, MeteringServer(batch_s=1) as server:
        row = conn.execute(JOB).fetchone()
        assert row is not None
        database = Database(url).open()
        try:
            number = 1
            while True:
                try:
                    answered = asyncio.run(attempt(database, server.url, servers.valkey.url, row[0], number, asked))
                    break
                except Requeue as put_back:
                    time.sleep(min(put_back.after_s, 5))
                    number += 1
                    conn.execute("UPDATE jobs SET attempt = %s WHERE id = %s", (number, row[0]))
        finally:
            database.close()
        if answered != len(asked):
            raise RuntimeError(f"{answered} of {len(asked)} answers")
        return float(server.report()["usd"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.dollars", description=__doc__, allow_abbrev=False)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--prefix", choices=["short", "long", "both"], default="both")
    told = parser.parse_args()
    pairs = told.pairs
    both = {"short": ("short prefix", SHORT, 0.5), "long": ("prefix of 2,000 tokens", LONG, 0.4)}
    servers = Servers([])
    try:
        servers.start(finished=0)
        for name, prefix_bytes, aim in both.values() if told.prefix == "both" else [both[told.prefix]]:
            asked = prompts(pairs, prefix_bytes)
            began = time.monotonic()
            paid, direct = ours(servers, asked), naive(asked)
            sys.stdout.write(
                f"{name}, {pairs} pairs, {CONFIGS} configs: {paid:.4f} USD in batches, {direct:.4f} USD direct without a cache:"
                f" {paid / direct:.4f}× (aim ≤ {aim}×); {time.monotonic() - began:.0f} s\n"
            )
            sys.stdout.flush()
    finally:
        servers.stop()


if __name__ == "__main__":
    main()
