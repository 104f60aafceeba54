"""Who keeps: one process at a time, and without a transaction that stands open meanwhile."""

from __future__ import annotations

import pytest

from goldsmith.db import Connection, Database, connect
from goldsmith.settings import Settings
from goldsmith.teacher import keeper

OPEN = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
LOCK = "SELECT pg_try_advisory_lock(hashtext('goldsmith.keeper')) AS held"


def test_no_transaction_is_open_while_a_round_runs_and_nobody_else_keeps(
    database: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool]] = []

    async def look(*_: object) -> None:
        with connect(database.url) as other:
            open_ = other.execute(OPEN).fetchone()
            held = other.execute(LOCK).fetchone()
        assert open_ is not None
        assert held is not None
        seen.append((open_["n"], held["held"]))

    monkeypatch.setattr(keeper, "keep", look)
    assert keeper.keep_alone(database, Settings())
    assert seen == [(0, False)]
    assert keeper.keep_alone(database, Settings())  # the lock went with the connection


def test_a_process_that_finds_another_at_it_leaves_it_alone(database: Database) -> None:
    with connect(database.url) as other:
        other.execute(LOCK)
        assert not keeper.keep_alone(database, Settings())
