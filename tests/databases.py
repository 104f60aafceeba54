"""Migrated databases for tests: each test's own, under a name of its own, so that whoever still holds an old one finds nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from goldsmith.embedded.postgres import EmbeddedPostgres

# What a test may have changed beside rows.
SCHEMA = """
SELECT (SELECT md5(string_agg(concat(attrelid::regclass, attname, atttypid, attnotnull, atthasdef), ',' ORDER BY attrelid, attnum))
        FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) AND NOT attisdropped)
    || (SELECT md5(string_agg(concat(conrelid::regclass, conname, pg_get_constraintdef(oid)), ',' ORDER BY conrelid, conname))
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace)
    || (SELECT count(*) FROM pg_trigger) || ' ' || (SELECT count(*) FROM pg_proc)
    || (SELECT coalesce(string_agg(setconfig::text, ','), '') FROM pg_db_role_setting)
    || (SELECT string_agg(version_num, ',') FROM alembic_version)
"""


class Databases:
    """A used database is emptied and renamed: 20 ms, where a copy of the migrated one takes 150 and more."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._admin = psycopg.connect(server.url("postgres"), autocommit=True)
        self._spare: list[str] = []
        with psycopg.connect(server.url()) as conn:
            self._schema = conn.execute(SCHEMA).fetchone()
            tables = [name for (name,) in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
            self._tables = [name for name in tables if name != "alembic_version"]
            for name in self._tables:
                assert not conn.execute(f"SELECT 1 FROM {name}").fetchall(), f"a migration fills {name}: emptying would lose it"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of an empty, migrated database for the length of the block."""
        if self._spare:
            name = self._spare.pop()
        else:
            name = f"t{time.monotonic_ns()}"
            self._admin.execute(f"CREATE DATABASE {name} TEMPLATE goldsmith STRATEGY file_copy")
        try:
            yield self._server.url(name)
        finally:
            self._take_back(name)

    def _take_back(self, name: str) -> None:
        spare, empty = f"t{time.monotonic_ns()}", False
        try:
            # once, and here: right after the emptying Postgres would wait 100 ms for that connection's end
            self._rename(name, spare)
            name = spare
            with psycopg.connect(self._server.url(name)) as conn:
                if conn.execute(SCHEMA).fetchone() == self._schema:
                    conn.execute("SET session_replication_role = replica")
                    conn.execute("; ".join(f"DELETE FROM {table}" for table in self._tables))
                    empty = True
        except (psycopg.errors.ObjectInUse, psycopg.OperationalError):
            pass  # somebody keeps coming back to it, or it lets nobody in: it goes
        if empty:
            self._spare.append(name)
        else:
            self._admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _rename(self, name: str, new: str) -> None:
        for last in (False, False, False, True):
            self._admin.execute("SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = %s", (name,))
            try:
                self._admin.execute(f"ALTER DATABASE {name} RENAME TO {new}")
                return
            except psycopg.errors.ObjectInUse:
                if last:
                    raise
