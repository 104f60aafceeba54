"""Events of an experiment into the database: a verdict on each, the new ones stored, their units worked out anew.

One batch is one transaction under the lock of the experiment's row, so that events in any order, sent twice, late, or by two
workers at once come to the same numbers, and no decision falls between an event and what it changes.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from goldsmith import ab_recount
from goldsmith.ab import BASE, MAX_BATCH, ExperimentPlan, Ingested, RejectedEvent, bucket
from goldsmith.ab.assignment import arm_of, group_salt
from goldsmith.ab.events import Checked, ExposureData, InterceptionData, check
from goldsmith.ab.plan import plain_model
from goldsmith.ab_recount import Place
from goldsmith.ab_rows import SLEEPS_WITHIN_S
from goldsmith.db import sleeps_within
from goldsmith.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from goldsmith.db import Connection

CLOCK_SKEW = timedelta(minutes=5)  # a guess: more than this ahead of the database's clock is a wrong clock, not a slow network

_LOCK = """
    SELECT id, name, status, salt, plan::text AS plan, step, group_name, group_lo, group_hi, ended_at, clock_timestamp() AS now,
        ARRAY(SELECT s.started_at FROM experiment_steps s WHERE s.experiment_id = e.id ORDER BY s.started_at) AS step_starts,
        ARRAY(SELECT s.step FROM experiment_steps s WHERE s.experiment_id = e.id ORDER BY s.started_at) AS steps,
        NOT EXISTS (SELECT FROM ab_units u WHERE u.experiment_id = e.id)
            AND EXISTS (SELECT FROM ab_events v WHERE v.experiment_id = e.id) AS uncounted
    FROM experiments e WHERE id = %s FOR NO KEY UPDATE OF e
"""

# The batch comes as one text: made by `json.dumps` and read by Postgres, both in C, it takes a third of the time of eight arrays.
_STORE = """
    WITH given AS (
        SELECT * FROM json_to_recordset(%(events)s::json) AS given (
            event_id text, event text, unit text, arm text, step int, run text, data jsonb, at timestamptz,
            sketch_arm text, config_id text, sketch text
        )
    ), new AS (
        INSERT INTO ab_events (experiment_id, event_id, event, unit, arm, step, interception_run_id, data, occurred_at)
        SELECT %(experiment)s, event_id, event, unit, arm, step, run, data, at FROM given
        ON CONFLICT DO NOTHING RETURNING event_id, unit
    ), sketched AS (
        INSERT INTO ab_sketches (experiment_id, arm, config_id, unit, occurred_at, sketch)
        SELECT %(experiment)s, sketch_arm, config_id, unit, at, decode(translate(sketch, '-_', '+/'), 'base64')
        FROM (SELECT DISTINCT ON (event_id) * FROM given WHERE sketch IS NOT NULL) given JOIN new USING (event_id, unit)
        ORDER BY at, event_id
    )
    SELECT unit FROM new
"""


@dataclass(frozen=True)
class _Experiment:
    """What a verdict depends on."""

    id: UUID
    name: str
    status: str
    salt: str
    plan: ExperimentPlan
    step: int
    group_name: str | None
    group_lo: int | None
    group_hi: int | None
    ended_at: datetime | None
    now: datetime
    step_starts: list[datetime]
    steps: list[int]
    uncounted: bool

    def step_at(self, moment: datetime) -> int:
        """The step of the ramp that was in force then; before the start, the first."""
        found = bisect_right(self.step_starts, min(moment, self.now))
        return self.steps[found - 1] if found else 0

    @cached_property
    def _holdings(self) -> list[dict[str, range]]:
        return [self.plan.holding(step) for step in range(self.plan.steps)]

    def place(self, unit: str) -> Place:
        number = bucket(self.salt, unit)
        arm = arm_of(number, self._holdings[-1])
        since = next((step for step, held in enumerate(self._holdings) if arm != BASE and number in held[arm]), 0)
        return Place(unit, arm, since)

    def takes(self, unit: str) -> bool:
        """Whether the unit is in this experiment's share of its group."""
        if self.group_name is None or self.group_lo is None or self.group_hi is None:
            return True
        return self.group_lo <= bucket(group_salt(self.group_name), unit) < self.group_hi

    def answered_by(self, arm: str, model_used: str) -> str | None:
        """The arm whose model answered a unit of this arm; `None` when it was no arm's."""
        used, expected = plain_model(model_used), {one.name: one.model and plain_model(one.model) for one in self.plan.arms}
        named = next((name for name, model in expected.items() if model == used), None)
        return arm if named is None and expected[arm] is None else named


def ingest(conn: Connection, experiment_id: UUID, events: Sequence[Any]) -> Ingested:
    """`store` after a look at each event. Raises `InvalidInput` for an empty or too long batch."""
    if not 1 <= len(events) <= MAX_BATCH:
        message = f"a batch holds 1 to {MAX_BATCH} events, not {len(events)}"
        raise InvalidInput(message, errors=[{"field": "events", "value": len(events), "message": message}])
    return store(conn, experiment_id, check(events))


def store(conn: Connection, experiment_id: UUID, checked: Checked) -> Ingested:
    """Store what is right, in one transaction. An event id that is known is counted as a duplicate and changes nothing.

    Any order is fine, and any delay up to the plan's `late_limit_hours`, also after the end for what happened before it. A time in
    the future is not. Raises `NotFound`, and `Conflict` for a draft.
    """
    with conn.transaction():
        sleeps_within(conn, SLEEPS_WITHIN_S)
        experiment = _locked(conn, experiment_id)
        if experiment.status == "draft":
            raise Conflict(f"experiment {experiment.name} is draft; events are taken from its start on")
        if experiment.uncounted:  # its events were sent before units were counted
            recount(conn, experiment)
        fitting, refused, places = _judge(experiment, checked)
        values = {"experiment": experiment_id, "events": json.dumps(fitting)}
        new = [found["unit"] for found in conn.execute(_STORE, values)] if fitting else []
        ab_recount.recount(conn, experiment.id, experiment.plan, [places[unit] for unit in dict.fromkeys(new)])
    rejected = sorted([*checked.rejected, *refused], key=lambda one: one.index)
    return Ingested(accepted=len(new), duplicates=len(fitting) - len(new), rejected=rejected)


def recount(conn: Connection, experiment: _Experiment) -> None:
    """Work out every unit of the experiment."""
    rows = conn.execute("SELECT DISTINCT unit FROM ab_events WHERE experiment_id = %s", (experiment.id,)).fetchall()
    ab_recount.recount(conn, experiment.id, experiment.plan, [experiment.place(row["unit"]) for row in rows])


_OF = "(e.unit = ANY(%(units)s) OR e.interception_run_id = ANY(%(runs)s))"
_FORGET_SKETCHES = f"""
    DELETE FROM ab_sketches s USING ab_events e
    WHERE e.experiment_id = %(experiment)s AND e.event = 'interception_completed' AND {_OF}
        AND (s.experiment_id, s.unit, s.occurred_at) = (e.experiment_id, e.unit, e.occurred_at)
"""


def forget(conn: Connection, units: Sequence[str], runs: Sequence[str]) -> int:
    """Remove the events of these units and interceptions, in the caller's transaction; how many. Units that share an interception
    with them are counted anew."""
    names = {"units": list(units), "runs": list(runs)}
    found = conn.execute(f"SELECT DISTINCT experiment_id FROM ab_events e WHERE {_OF} ORDER BY 1", names).fetchall()
    gone = 0
    for row in found:
        experiment = _locked(conn, row["experiment_id"])
        values = names | {"experiment": experiment.id}
        conn.execute(_FORGET_SKETCHES, values)
        touched = conn.execute(
            f"DELETE FROM ab_events e WHERE e.experiment_id = %(experiment)s AND {_OF} RETURNING e.unit", values
        ).fetchall()
        places = [experiment.place(unit) for unit in dict.fromkeys(row["unit"] for row in touched)]
        ab_recount.recount(conn, experiment.id, experiment.plan, places)
        gone += len(touched)
    return gone


def _locked(conn: Connection, experiment_id: UUID) -> _Experiment:
    row = conn.execute(_LOCK, (experiment_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no experiment {experiment_id}")
    return _Experiment(**row | {"plan": _plan(row["plan"])})


@lru_cache(maxsize=64)  # a plan is frozen at the start
def _plan(text: str) -> ExperimentPlan:
    return ExperimentPlan.model_validate_json(text)


def _judge(experiment: _Experiment, checked: Checked) -> tuple[list[dict[str, Any]], list[RejectedEvent], dict[str, Place]]:
    """The events that fit this experiment as rows, those that do not, and where the units are."""
    fitting, refused = [], []
    places: dict[str, Place] = {}
    for index, event in checked.valid:
        place = places.get(event.unit) or places.setdefault(event.unit, experiment.place(event.unit))
        own = event.data.step if isinstance(event.data, ExposureData | InterceptionData) else None
        step = experiment.step_at(event.occurred_at) if own is None else own
        arm = place.arm_at(step)
        wrong = _refusal(experiment, event, step, arm)
        if wrong is not None:
            refused.append(RejectedEvent(index=index, errors=[{"field": wrong[0], "message": wrong[1]}]))
            continue
        data = event.data.model_dump(exclude_none=True)
        row = {
            "event_id": event.event_id,
            "event": event.event,
            "unit": event.unit,
            "arm": arm,
            "step": step,
            "run": event.interception_run_id,
            "data": data,
            "at": event.occurred_at.isoformat(),
        }
        sketch = data.pop("sketch", None)
        # Another model's words would hide what the arm's model does.
        if sketch is not None and (by := experiment.answered_by(arm, event.data.model_used)) is not None:
            row |= {"sketch_arm": by, "config_id": event.data.config_id, "sketch": sketch}
        fitting.append(row)
    return fitting, refused, places


def _refusal(experiment: _Experiment, event: Any, step: int, arm: str) -> tuple[str, str] | None:
    """Field and reason; never a value, which may be a child's text."""
    if event.occurred_at > experiment.now + CLOCK_SKEW:
        return "occurred_at", f"lies more than 5 minutes in the future; it is {_written(experiment.now)}"
    limit = experiment.plan.late_limit_hours
    if experiment.ended_at is not None and event.occurred_at > experiment.ended_at:
        return "occurred_at", f"lies after the end of the experiment, {_written(experiment.ended_at)}"
    if limit is not None and event.occurred_at < experiment.now - timedelta(hours=limit):
        return "occurred_at", f"comes too late: the plan's late_limit_hours is {limit:g}, and it is {_written(experiment.now)}"
    if step > experiment.step:
        return "data.step", f"has not begun; the experiment has come to step {experiment.step}"
    if not experiment.takes(event.unit):
        return "unit", f"is not in this experiment's share of the group {experiment.group_name}"
    if isinstance(event.data, ExposureData) and event.data.assigned not in (None, arm):
        return "data.assigned", f"is not the arm that this unit has at step {step}: {arm}"
    return None


def _written(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
