"""Goldsmith's metered teacher: the ledger, the answer store and the limiter, as a gold job uses them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from uuid import UUID

from bench.gold_peers.order import MAX_TOKENS, SYSTEM, Done, Order, serve
from goldsmith.db import Database
from goldsmith.settings import Settings
from goldsmith.teacher import open_teacher
from goldsmith.teacher.bounded import for_each
from goldsmith.teacher.metered import open_metered  # loaded before the clock starts, as the peers' SDKs are

__all__ = ["open_metered"]


def ask(order: Order, done: Done) -> None:
    database = Database(order.database).open()
    try:
        asyncio.run(_ask_all(database, order, done))
    finally:
        database.close()


async def _ask_all(database: Database, order: Order, done: Done) -> None:
    settings = Settings(_env_file=None, rehearsal_url=order.url, broker_url=order.broker, database_url=order.database)
    teacher = open_teacher(
        database,
        settings=settings,
        job_id=UUID(order.job),
        attempt=order.attempt,
        provider="rehearsal",
        model=None,
        budget_usd=1000,
        recorded=False,
    )

    async def one(prompt: str) -> bool:
        await teacher.ask(item="bench", system=SYSTEM, prompt=prompt, max_tokens=MAX_TOKENS)
        done.answered += 1
        return True

    async with aclosing(teacher):
        await for_each(order.prompts(), one, concurrency=order.at_once)


if __name__ == "__main__":
    serve(ask)
