"""Migrations build what the tables say, and can be undone."""

from __future__ import annotations

import alembic.command
import psycopg
import pytest
from alembic.util import CommandError

from goldsmith import migrate
from goldsmith.db import connect
from goldsmith.embedded.postgres import EmbeddedPostgres


@pytest.fixture
def empty_url(postgres: EmbeddedPostgres) -> str:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS migrations")
        admin.execute("CREATE DATABASE migrations")
    return postgres.url("migrations")


def test_up_and_down_and_up_again(empty_url: str) -> None:
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == migrate.head()
    alembic.command.check(migrate._config(empty_url))  # raises when tables.py and the migrations differ
    alembic.command.downgrade(migrate._config(empty_url), "base")
    with connect(empty_url) as conn:
        left = conn.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        ).fetchall()
    assert [row["relname"] for row in left] == ["alembic_version"]
    migrate.upgrade(empty_url)


def test_a_difference_is_seen(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    with connect(empty_url) as conn:
        conn.execute("ALTER TABLE jobs DROP COLUMN unique_key")
    with pytest.raises(CommandError):
        alembic.command.check(migrate._config(empty_url))
