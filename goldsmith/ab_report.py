"""What is shown of an experiment: itself, the newest look, the curve, the decisions; and the promotion that is asked for on it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from goldsmith import ab_rollback
from goldsmith.ab import Experiment
from goldsmith.ab_look import Look, PastLook
from goldsmith.ab_reading import Reader
from goldsmith.ab_rows import get
from goldsmith.ab_verdict import look
from goldsmith.ab_watch import POINTS, watch
from goldsmith.db import Connection

DECISIONS = 500


class ShownDecision(BaseModel):
    id: UUID
    decision: str
    reason: str
    statistics: dict[str, Any]
    actor: str | None = Field(description="A key's name, `local`, `guard`, or `job:<id>`.")
    job_id: UUID | None
    probe: dict[str, Any] | None = Field(
        description="What the serving route answered after a rollback: `state` is pending, passed or failed, `words` says it."
    )
    created_at: datetime


class ShownLook(Look):
    pending_events: int = Field(0, description="That came after this look.")


class Report(BaseModel):
    experiment: Experiment
    look: ShownLook | None = Field(description="The newest; null before the first.")
    looks: list[PastLook] = Field(description="The curve of the effect, oldest first.")
    decisions: list[ShownDecision] = Field(description="Newest first.")


_STATE = "SELECT numbers, events, shown_events FROM ab_state WHERE experiment_id = %s"
_LOOKS = "SELECT at, numbers FROM ab_looks WHERE experiment_id = %s ORDER BY at DESC LIMIT %s"
_DECISIONS = """
SELECT id, decision, reason, statistics, actor, job_id, probe, created_at FROM ab_decisions
WHERE experiment_id = %s ORDER BY created_at DESC, id DESC LIMIT %s
"""


def report(conn: Connection, experiment_id: UUID, *, look_now: bool) -> Report:
    """`look_now`: when events came after the newest look, look first, with all that follows. Raises `NotFound`."""
    get(conn, experiment_id)
    state = conn.execute(_STATE, (experiment_id,)).fetchone()
    if look_now and (state is None or state["events"] != state["shown_events"]):
        watch(conn, experiment_id, Reader(), full=True, wait=True)
        state = conn.execute(_STATE, (experiment_id,)).fetchone()
    shown = None
    if state is not None and state["numbers"]:
        pending = max(0, state["events"] - state["numbers"]["events"])
        shown = ShownLook.model_validate(state["numbers"] | {"pending_events": pending})
    looks = conn.execute(_LOOKS, (experiment_id, POINTS)).fetchall()
    return Report(
        experiment=get(conn, experiment_id),
        look=shown,
        looks=[PastLook.model_validate({"at": row["at"], **row["numbers"]}) for row in reversed(looks)],
        decisions=[ShownDecision.model_validate(row) for row in conn.execute(_DECISIONS, (experiment_id, DECISIONS))],
    )


def promote(conn: Connection, experiment_id: UUID, reason: str, *, actor: str, arm: str | None) -> Experiment:
    """`ab_rollback.promote` on a look at the experiment as it stands."""
    found = look(Reader().read(conn, experiment_id, full=False))
    return ab_rollback.promote(conn, experiment_id, reason, actor=actor, arm=arm, found=found)
