"""The door to Postgres: one driver, a pool for threads and one for the event loop. The SQL stands with its noun."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from goldsmith.wake import Notifier

Connection = psycopg.Connection[dict[str, Any]]
AsyncConnection = psycopg.AsyncConnection[dict[str, Any]]

_OPTIONS = {"autocommit": True, "row_factory": dict_row, "connect_timeout": 5, "application_name": "goldsmith"}


def connect(url: str) -> Connection:
    """One connection of its own: autocommit, rows as dicts."""
    return psycopg.connect(url, **_OPTIONS)  # type: ignore[arg-type]


class Database:
    """For threads. Every connection is autocommit; `with conn.transaction()` makes more of it."""

    def __init__(self, url: str, *, size: int = 10) -> None:
        self.url = url
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url, min_size=1, max_size=size, open=False, kwargs=_OPTIONS, check=ConnectionPool.check_connection, timeout=10
        )
        self._notifier = Notifier(self.connection)

    def open(self) -> Database:
        self._pool.open()
        return self

    def close(self) -> None:
        self._notifier.stop()
        self._pool.close()

    def changed(self, *ids: UUID) -> None:
        """Wake the readers of these jobs soon; call it after the change has committed."""
        self._notifier.changed(ids)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        with self._pool.connection() as conn:
            yield conn


class AsyncDatabase:
    """For the event loop."""

    def __init__(self, url: str, *, size: int = 10) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=size,
            open=False,
            kwargs=_OPTIONS,
            check=AsyncConnectionPool.check_connection,
            timeout=10,
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        async with self._pool.connection() as conn:
            yield conn
