"""The history of an experiment: who decided what, why, on which numbers. It is only ever added to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from goldsmith.ab import Experiment
from goldsmith.db import Connection

GUARD = "guard"
"""The actor of what no person and no job decided."""

_DECIDE = """
INSERT INTO ab_decisions (experiment_id, job_id, decision, reason, statistics, actor, effects, probe, due_at)
VALUES (%(experiment_id)s, %(job_id)s, %(decision)s, %(reason)s, %(statistics)s, %(actor)s, %(effects)s, %(probe)s,
    CASE WHEN %(due)s THEN now() END)
RETURNING id
"""


def decide(
    conn: Connection,
    experiment_id: UUID,
    decision: str,
    reason: str,
    *,
    actor: str,
    statistics: Mapping[str, Any] | None = None,
    job_id: UUID | None = None,
    effects: Sequence[Mapping[str, Any]] | None = None,
) -> UUID:
    """Add to the history, inside the transaction of the act. `effects`: what is to follow outside the database, at once, and to be
    proved; none: nothing has to be proved."""
    values = {
        "experiment_id": experiment_id,
        "job_id": job_id,
        "decision": decision,
        "reason": reason,
        "statistics": Jsonb(dict(statistics or {})),
        "actor": actor,
        "effects": Jsonb([dict(effect) for effect in effects or ()]),
        "probe": None if effects is None else Jsonb({"state": "pending", "words": "It was not asked yet."}),
        "due": effects is not None,
    }
    row = conn.execute(_DECIDE, values).fetchone()
    assert row is not None
    made: UUID = row["id"]
    return made


def told(experiment: Experiment, decision_id: UUID | None, reason: str) -> dict[str, Any]:
    """What a webhook says of a decision."""
    decided = {} if decision_id is None else {"decision_id": str(decision_id)}
    return {"experiment_id": str(experiment.id), "name": experiment.name} | decided | {"reason": reason}
