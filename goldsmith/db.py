"""The door to Postgres: one driver, a pool for threads and one for the event loop. The SQL stands with its noun."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from goldsmith.wake import Notifier

Connection = psycopg.Connection[dict[str, Any]]
AsyncConnection = psycopg.AsyncConnection[dict[str, Any]]

_OPTIONS = {"autocommit": True, "row_factory": dict_row, "connect_timeout": 5, "application_name": "goldsmith"}


ANSWER_WITHIN_S = 10.0  # a server that hangs keeps its connections open, and its kernel goes on acknowledging what is sent
CONNECTION_WITHIN_S = 10.0
CONNECTION_OF_REQUEST_WITHIN_S = 3.0
SLEEPS_WITHIN = "SET idle_in_transaction_session_timeout = '30s'"
"""A process that is stopped in the middle of a transaction (SIGSTOP, a laptop's lid, swap) would keep its locks for as long."""
T = TypeVar("T")
P = ParamSpec("P")


class _Impatient(Connection):
    """Gives up a server that does not answer a statement within `ANSWER_WITHIN_S`, whatever it waits for."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        try:
            return super().wait(gen, interval, ANSWER_WITHIN_S if timeout is None else timeout)
        except psycopg.OperationalError:
            if timeout is None and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()
            raise


class _AsyncImpatient(AsyncConnection):
    """`_Impatient` for the event loop."""

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ASYNC109  psycopg's own
        try:
            return await super().wait(gen, interval, ANSWER_WITHIN_S if timeout is None else timeout)
        except psycopg.OperationalError:
            if timeout is None and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                await self.close()
            raise


def connect(url: str) -> Connection:
    """One connection of its own: autocommit, rows as dicts."""
    conn: Connection = psycopg.connect(url, **_OPTIONS)  # type: ignore[arg-type]
    _configure(conn)
    return conn


def _configure(conn: Connection) -> None:
    conn.execute(SLEEPS_WITHIN)


async def _configure_async(conn: AsyncConnection) -> None:
    await conn.execute(SLEEPS_WITHIN)


async def connect_async(url: str, name: str) -> AsyncConnection:
    """`connect` for the event loop, under a name of its own in `pg_stat_activity`; a server that hangs is given up."""
    return await _AsyncImpatient.connect(url, **(_OPTIONS | {"application_name": name}))  # type: ignore[arg-type]


def sleeps_within(conn: Connection, seconds: float) -> None:
    """From now on in this transaction: a process that is stopped in it, and says nothing for so long, loses it with its locks."""
    conn.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", (f"{round(seconds * 1000)}ms",))


def _has_news(conn: psycopg.BaseConnection[Any]) -> bool:
    """Whether the server of an idle connection said something, which may be its end. 2 µs, where a question takes 150."""
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _check(conn: Connection) -> None:
    if _has_news(conn):
        ConnectionPool.check_connection(conn)


async def _check_async(conn: AsyncConnection) -> None:
    if _has_news(conn):
        await AsyncConnectionPool.check_connection(conn)


class Database:
    """For threads. Every connection is autocommit; `with conn.transaction()` makes more of it.

    `for_requests`: somebody waits for an answer, so that a server that hangs is given up after seconds.
    """

    def __init__(self, url: str, *, size: int = 10, for_requests: bool = False) -> None:
        self.url = url
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            connection_class=_Impatient if for_requests else psycopg.Connection,
            min_size=1,
            max_size=size,
            open=False,
            kwargs=_OPTIONS,
            check=_check,
            configure=_configure,
            timeout=CONNECTION_OF_REQUEST_WITHIN_S if for_requests else CONNECTION_WITHIN_S,
        )
        self._notifier = Notifier(self.connection)

    def open(self) -> Database:
        self._pool.open()
        return self

    def close(self) -> None:
        self._notifier.stop()
        self._pool.close()

    def changed(self, *ids: UUID) -> None:
        """Wake the readers of these jobs, and of those that depend on them, soon; call it after the change has committed."""
        self._notifier.changed(ids)

    def connection(self) -> AbstractContextManager[Connection]:
        return self._pool.connection()

    async def run(self, do: Callable[Concatenate[Connection, P], T], *args: P.args, **more: P.kwargs) -> T:
        """`do(conn, …)` on a thread, for a coroutine; it is done to its end also when the coroutine is cancelled."""

        def with_connection() -> T:
            with self.connection() as conn:
                return do(conn, *args, **more)

        return await asyncio.to_thread(with_connection)


class AsyncDatabase:
    """For the event loop, so for requests."""

    def __init__(self, url: str, *, size: int = 10) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
            url,
            connection_class=_AsyncImpatient,
            min_size=1,
            max_size=size,
            open=False,
            kwargs=_OPTIONS,
            check=_check_async,
            configure=_configure_async,
            timeout=CONNECTION_OF_REQUEST_WITHIN_S,
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._pool.connection()
