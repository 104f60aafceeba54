"""Units of an experiment without a database: well mixed, outcomes spread evenly, no chance in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np

from goldsmith.ab import Experiment, ExperimentPlan
from goldsmith.ab_analysis import Data
from goldsmith.ab_units import SUMS, Units

ID = UUID("0190a6f0-0000-7000-8000-000000000001")
NOW = datetime(2025, 3, 10, tzinfo=UTC)
ARMS = [{"name": "base", "model": "small"}, {"name": "lora", "adapter": "adapter:workshop@1", "model": "small-lora"}]


def experiment(*, plan: Mapping[str, Any] | None = None, lora_weight: float = 0.1, **more: Any) -> Experiment:
    arms = [ARMS[0] | {"weight": 1 - lora_weight}, ARMS[1] | {"weight": lora_weight}]
    made = ExperimentPlan.model_validate({"name": "spring", "arms": arms} | dict(plan or {}))
    facts: dict[str, Any] = {
        "id": ID, "name": "spring", "status": "running", "salt": "salt-salt", "plan": made, "created_by": "local",
        "created_at": NOW, "started_at": NOW, "ended_at": None, "step_started_at": NOW,
        "arms": [arm.model_dump() for arm in made.arms],
    }  # fmt: skip
    return Experiment.model_validate(facts | more)


def columns(rows: Iterable[Mapping[str, Any]]) -> Units:
    """Units in this order; what a row does not say is 0, exposed, at step 0, never seen before."""
    given = list(rows)
    usual: dict[str, Any] = {"arm": "base", "former_step": -1, "exposed": True, "known": False}
    found: dict[str, Any] = {}
    for field in fields(Units):
        values = [
            row.get(field.name, number if field.name == "unit" else usual.get(field.name, 0))
            for number, row in enumerate(given)
        ]
        kind: Any = {"arm": object, "exposed": bool, "known": bool}.get(field.name, float if field.name in SUMS else np.int64)
        found[field.name] = np.array(values, dtype=kind)
    return Units(**found)


def mixed(sizes: Mapping[str, int], *, step: int = 0, attempts: int = 1, **shares: tuple[float, ...]) -> list[dict[str, Any]]:
    """`sizes` units of each arm; `blocks=(0.02, 0.1)`: of a share of them, by arm, all attempts were blocked."""
    found = []
    for place, (arm, count) in enumerate(sizes.items()):
        for n in range(count):
            row: dict[str, Any] = {"arm": arm, "step": step, "interceptions": 1, "attempts": attempts}
            for name, values in shares.items():
                happened = int((n + 1) * values[place]) > int(n * values[place])
                row[name] = happened * (attempts if name == "blocks" else 1)
            found.append(((n + 0.5) / count, row))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def data(rows: Iterable[Mapping[str, Any]], *, events: int | None = None, rehearsal: bool = False, **more: Any) -> Data:
    found = columns(rows)
    return Data(
        experiment=experiment(**more), units=found, events=len(found) if events is None else events, latencies={}, varieties={}, at=NOW,
        rehearsal=rehearsal,
    )  # fmt: skip
