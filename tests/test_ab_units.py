"""The units of an experiment as columns, and the count of its events."""

from __future__ import annotations

import uuid
from uuid import UUID

import numpy as np
import pytest

from goldsmith.ab_units import COUNTS, SUMS, units
from goldsmith.db import Connection

ARMS = ["base", "lora", "other"]


@pytest.fixture
def experiment(conn: Connection) -> UUID:
    row = conn.execute("INSERT INTO experiments (name, salt) VALUES ('spring', 'salt-salt') RETURNING id").fetchone()
    assert row is not None
    made: UUID = row["id"]
    return made


def seen(conn: Connection, experiment: UUID, unit: str, arm: str, step: int = 0, **more: object) -> None:
    row = {"experiment_id": experiment, "unit": unit, "arm": arm, "step": step} | more
    columns, marks = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    conn.execute(f"INSERT INTO ab_units ({columns}) VALUES ({marks})", row)


def test_columns_come_in_the_order_of_becoming_known(conn: Connection, experiment: UUID):
    values = {name: number for number, name in enumerate(COUNTS, start=1)} | {name: 0.5 + n for n, name in enumerate(SUMS)}
    seen(conn, experiment, "b", "lora", exposed=True, **values)
    seen(conn, experiment, "a", "base")
    found = units(conn, experiment, ARMS)
    assert len(found) == 2
    assert list(found.arm) == ["lora", "base"]
    assert list(found.exposed) == [True, False]
    assert list(found.former_step) == [-1, -1]
    assert {name: getattr(found, name)[0] for name in values} == values
    assert {name: getattr(found, name)[1] for name in values} == dict.fromkeys(values, 0)
    assert found.unit[0] != found.unit[1]


def test_an_experiment_without_units_has_empty_columns(conn: Connection, experiment: UUID):
    found = units(conn, experiment, ARMS)
    assert len(found) == 0
    assert found.attempts.sum() == 0
    assert len(units(conn, uuid.uuid4(), ARMS)) == 0


def test_a_unit_that_was_in_the_arm_before_is_known_and_one_that_was_in_base_is_not(conn: Connection, experiment: UUID):
    for unit, arm, step in (("a", "base", 0), ("b", "lora", 0), ("a", "base", 1), ("b", "lora", 1), ("c", "lora", 1)):
        seen(conn, experiment, unit, arm, step, former_step=0 if (unit, step) == ("a", 1) else None)
    seen(conn, experiment, "a", "other", 2, former_step=1)
    found = units(conn, experiment, ARMS)
    assert list(found.known) == [False, False, False, True, False, False]
    assert list(found.former_step) == [-1, -1, 0, -1, -1, 1]


def test_many_rows_come_whole(conn: Connection, experiment: UUID):
    conn.execute(
        "INSERT INTO ab_units (experiment_id, unit, arm, exposed, blocks) SELECT %s, 'u' || n, 'base', true, n FROM generate_series(1, 5000) n",
        (experiment,),
    )
    found = units(conn, experiment, ARMS)
    assert list(found.blocks) == list(range(1, 5001))
    assert np.unique(found.unit).size == 5000


def test_events_are_counted_by_whoever_writes_or_erases_them(conn: Connection, experiment: UUID):
    def count() -> int:
        row = conn.execute("SELECT events FROM ab_state WHERE experiment_id = %s", (experiment,)).fetchone()
        return row["events"] if row else 0

    write = (
        "INSERT INTO ab_events (experiment_id, event_id, event, unit, arm, occurred_at) SELECT %s, 'e' || n, 'exposure', 'u', 'base', now()"
        " FROM generate_series(1, %s) n ON CONFLICT DO NOTHING"
    )
    conn.execute(write, (experiment, 3))
    assert count() == 3
    conn.execute(write, (experiment, 5))
    assert count() == 5, "duplicates are not written, so not counted"
    conn.execute("DELETE FROM ab_events WHERE event_id IN ('e1', 'e2')")
    assert count() == 3
