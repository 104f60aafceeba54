"""Looks after what ended jobs left at a teacher: batches under way, and calls that nobody knows the end of."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing, closing, suppress

import psycopg
import structlog

from goldsmith import budgets, message_batches
from goldsmith.db import Database, connect
from goldsmith.errors import GoldsmithError
from goldsmith.message_batches import Batch
from goldsmith.settings import Settings
from goldsmith.teacher.provider import Failed

EVERY_S = 30.0
log = structlog.get_logger()


async def keep(database: Database, settings: Settings) -> None:
    """One round. A cancelled job's batch is cancelled at the provider; what it brought all the same is settled and kept."""
    await database.run(budgets.charge_abandoned)
    for batch in await database.run(message_batches.orphans):
        try:
            await _look_after(database, settings, batch)
        except (GoldsmithError, Failed) as error:  # of one batch; the next may have another teacher
            log.warning("a batch is not settled yet", batch=batch.provider_id, error=str(error))


async def _look_after(database: Database, settings: Settings, batch: Batch) -> None:

    from goldsmith.teacher.collect import collect
    from goldsmith.teacher.providers import open_provider  # the SDK costs a second to import; most rounds have no batch

    # its prompts have been sent: to ask for the answers says nothing new to anybody
    async with aclosing(open_provider(settings, batch.provider, batch.model, recorded=False)) as provider:
        if provider.batches is None:
            return
        not_yet = await collect(database, provider.batches, provider.price, batch)
        if not_yet is not None and batch.job_status == "cancelled" and batch.provider_id is not None:
            with suppress(Failed):  # it has just ended
                await provider.batches.cancel(batch.provider_id)


def keep_alone(database: Database, settings: Settings) -> bool:
    """One round, unless another process is at it; returns whether it was this one.

    The lock is that of a session: no transaction stands open while the provider is asked, and it ends with the connection.
    """
    with closing(connect(database.url)) as conn:
        held = conn.execute("SELECT pg_try_advisory_lock(hashtext('goldsmith.keeper')) AS held").fetchone()
        if held is None or not held["held"]:
            return False
        asyncio.run(keep(database, settings))
    return True


class KeeperThread(threading.Thread):
    """Keeps until stopped."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(name="keeper", daemon=True)
        self._database, self._settings = database, settings
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(EVERY_S):
            try:
                keep_alone(self._database, self._settings)
            except psycopg.Error as error:
                log.warning("the keeper waits for the database", error=str(error).partition("\n")[0])
            except Exception:  # what it cannot settle now it meets again
                log.exception("the keeper failed; it tries again")

    def stop(self) -> None:
        self._stopped.set()
