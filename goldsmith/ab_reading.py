"""What a look needs, read from the database."""

from __future__ import annotations

from uuid import UUID

from goldsmith.ab import ExperimentPlan
from goldsmith.ab.metrics import Entropy
from goldsmith.ab_analysis import Data, share_of_alpha
from goldsmith.ab_rows import get
from goldsmith.ab_units import units
from goldsmith.ab_variety import Outputs
from goldsmith.db import Connection

_STATE = """
SELECT now() AS at, coalesce((SELECT events FROM ab_state WHERE experiment_id = %(id)s), 0) AS events, EXISTS (
    SELECT 1 FROM arms r JOIN adapters a ON a.name = split_part(substr(r.adapter, 9), '@', 1)
    JOIN adapter_versions v ON v.adapter_id = a.id AND v.version = split_part(r.adapter, '@', 2)::int
    WHERE r.experiment_id = %(id)s AND v.rehearsal
) AS rehearsal
"""

# Of each interception that counts: of an exposed unit, as its newest event says.
_LATENCIES = """
SELECT arm, percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY ms) AS ms FROM (
    SELECT DISTINCT ON (unit, interception_run_id) arm, (data->>'latency_ms')::float AS ms
    FROM ab_events e WHERE experiment_id = %(id)s AND event = 'interception_completed'
        AND EXISTS (SELECT FROM ab_units u WHERE u.experiment_id = %(id)s AND u.unit = e.unit AND u.exposed)
    ORDER BY unit, interception_run_id, occurred_at DESC, event_id DESC
) answer GROUP BY arm
"""

_SKETCHES = """
SELECT seq, arm, config_id, sketch FROM ab_sketches WHERE experiment_id = %s AND seq > %s ORDER BY seq LIMIT %s
"""
AT_ONCE = 2000  # sketches: 0.8 MB


class Reader:
    """Remembers of each experiment what its sketches came to, so that each is read once. For one thread at a time.

    `at_most`: so many new sketches a look, as 25,000 take 2 s; then the others are read by the next ones.
    """

    def __init__(self, at_most: int | None = None) -> None:
        self._at_most = at_most
        self._outputs: dict[UUID, Outputs] = {}

    def read(self, conn: Connection, experiment_id: UUID, *, full: bool) -> Data:
        """`full`: with the quantiles of the latency, which nothing is decided by. Raises `NotFound`."""
        experiment = get(conn, experiment_id)
        state = conn.execute(_STATE, {"id": experiment_id}).fetchone()
        assert state is not None
        outputs = self._outputs.setdefault(experiment_id, Outputs(_alpha(experiment.plan)))
        taken = 0
        while rows := conn.execute(_SKETCHES, (experiment_id, outputs.seq, AT_ONCE)).fetchall():
            outputs.add(rows)
            taken += len(rows)
            if self._at_most is not None and taken >= self._at_most:
                break
        latencies = conn.execute(_LATENCIES, {"id": experiment_id}).fetchall() if full else []
        return Data(
            experiment=experiment,
            units=units(conn, experiment_id, [arm.name for arm in experiment.plan.arms]),
            events=state["events"],
            latencies={row["arm"]: (row["ms"][0], row["ms"][1]) for row in latencies},
            varieties=outputs.varieties(arm.name for arm in experiment.plan.others),
            at=state["at"],
            rehearsal=state["rehearsal"],
            outputs=outputs.looks() if full else (),
            behind=len(rows) == AT_ONCE,
        )

    def forget(self, experiment_id: UUID) -> None:
        self._outputs.pop(experiment_id, None)


def _alpha(plan: ExperimentPlan) -> float:
    entropy = next((one for one in plan.guardrails if isinstance(one, Entropy)), None)
    return share_of_alpha(plan, 0.01 if entropy is None else entropy.alpha)
