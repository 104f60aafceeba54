"""What each unit came to at each step of the ramp, worked out from all of its events. Nothing is added up, so that events in any
order, again, or late give the same rows.

What counts as an attempt and as a block: docs/events.md. Intention to treat: a row has the arm that the unit was given, whatever
answered it. An interception that another model answered is `gated` where the caller said so, else `foreign_`: contamination.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from goldsmith.ab import BASE, ExperimentPlan
from goldsmith.ab.metrics import Latency
from goldsmith.ab.plan import plain_model

if TYPE_CHECKING:
    from goldsmith.db import Connection

CHUNK = 5000  # units a statement


class Place(NamedTuple):
    """Which arm a unit has: this one from this step on, base before."""

    unit: str
    arm: str
    since: int

    def arm_at(self, step: int) -> str:
        return self.arm if step >= self.since else BASE


_COUNTS = (
    "gated", "interceptions", "foreign_", "wiki", "attempts", "blocks", "edited_attempts", "edited_blocks", "foreign_attempts",
    "favorites", "regenerations", "edits", "exports", "abandons", "errors", "slow", "unchecked", "edit_share", "latency_ms", "dwell_ms",
    "first_day", "last_day", "last_attempts", "last_blocks", "last_interceptions", "last_errors", "last_slow",
)  # fmt: skip
_VALUES = ("arm", "former_step", "exposed", *_COUNTS)


def plain(model: str) -> str:
    """`plain_model` of this expression."""
    return f"regexp_replace({model}, '^local/|:latest$', '', 'g')"


# `run` has one row for each interception of a unit, one for each exposure that names no interception, and one for each step of its
# other events that name none. An interception is at one step, whatever its later events say. A block proves an attempt, also when
# the event of its start got lost. An interception without an exposure of its own is gated as the unit's exposure before it was.
_RECOUNT = f"""
    WITH place AS (
        SELECT * FROM unnest(%(units)s::text[], %(arms)s::text[], %(since)s::int[]) AS place (unit, arm, since)
    ), model AS (
        SELECT * FROM unnest(%(names)s::text[], %(models)s::text[]) AS model (arm, expected)
    ), event AS (
        SELECT *, CASE WHEN interception_run_id IS NULL THEN step END AS lone_step,
            CASE WHEN interception_run_id IS NULL AND event = 'exposure' THEN event_id END AS lone_exposure
        FROM ab_events
        WHERE experiment_id = %(experiment)s AND unit = ANY(%(units)s::text[])
    ), run AS (
        SELECT unit, interception_run_id, lone_exposure, coalesce(
                lone_step,
                min(step) FILTER (WHERE event = 'exposure' AND data ? 'step'),
                min(step) FILTER (WHERE event = 'interception_completed' AND data ? 'step'),
                (array_agg(step ORDER BY occurred_at, event_id) FILTER (WHERE event IN ('exposure', 'interception_completed')))[1],
                (array_agg(step ORDER BY occurred_at, event_id))[1]
            ) AS step,
            coalesce(min(occurred_at) FILTER (WHERE event = 'exposure'), min(occurred_at)) AS began_at,
            bool_or(event = 'exposure') AS exposed,
            bool_or(event = 'exposure' AND data ? 'gated') AS gating,
            (array_agg(data ORDER BY occurred_at DESC, event_id DESC) FILTER (WHERE event = 'interception_completed'))[1]
                AS completed,
            (array_agg(data->>'fallback_model' ORDER BY occurred_at DESC, event_id DESC)
                FILTER (WHERE event = 'error' AND data ? 'fallback_model'))[1] AS fallback,
            coalesce(bool_or((data->>'wiki_iterations')::int > 0) FILTER (WHERE event = 'interception_completed'), false) AS wiki,
            coalesce(bool_or((data->>'edit_distance')::int > 0) FILTER (WHERE event = 'user_edit'), false) AS edited,
            (array_agg((data->>'edit_distance')::float ORDER BY occurred_at DESC, event_id DESC)
                FILTER (WHERE event = 'user_edit'))[1] AS edit_distance,
            coalesce((array_agg(event ORDER BY occurred_at DESC, event_id DESC)
                FILTER (WHERE event IN ('favorite_added', 'favorite_removed')))[1] = 'favorite_added', false) AS favorite,
            count(*) FILTER (WHERE event = 'generation_started') AS starts,
            count(*) FILTER (WHERE event = 'generation_started' AND data->>'safety_level' IN ('research', 'disabled'))
                AS unguarded,
            count(*) FILTER (WHERE event = 'stage_block' AND data->>'stage' IN ('3', 'vlm_safety')) AS stopped,
            count(*) FILTER (WHERE event = 'stage_block' AND data->>'stage' IN ('3', 'vlm_safety')
                AND data->>'method' <> 'llm_check_failed') AS blocked,
            count(*) FILTER (WHERE event = 'regeneration') AS regenerations,
            count(*) FILTER (WHERE event = 'export') AS exports,
            count(*) FILTER (WHERE event = 'abandon') AS abandons,
            count(*) FILTER (WHERE event = 'error') AS errors,
            coalesce(sum((data->>'dwell_ms')::float) FILTER (WHERE event = 'dwell_ms'), 0) AS dwell_ms
        FROM event GROUP BY unit, interception_run_id, lone_step, lone_exposure
    ), numbered AS (
        SELECT *, count(lone_exposure) OVER (
            PARTITION BY unit ORDER BY began_at, lone_exposure IS NULL, lone_exposure
        ) AS last_exposure FROM run
    ), placed AS (
        SELECT numbered.*,
            CASE WHEN interception_run_id IS NOT NULL THEN (began_at AT TIME ZONE 'UTC')::date - DATE '1970-01-01' END AS day,
            CASE WHEN step >= place.since THEN place.arm ELSE '{BASE}' END AS arm,
            CASE WHEN exposed THEN gating ELSE
                bool_or(gating) FILTER (WHERE lone_exposure IS NOT NULL) OVER (PARTITION BY unit, last_exposure)
            END IS TRUE AS is_gated,
            {plain("completed->>'model_used'")} AS model_used, (completed->>'latency_ms')::float AS latency_ms,
            (completed->>'chars')::float AS chars,
            greatest(starts - unguarded, CASE WHEN unguarded = 0 THEN stopped ELSE 0 END) AS attempts
        FROM numbered JOIN place USING (unit)
    ), judged AS (
        SELECT placed.*, least(attempts, blocked) AS blocks, least(attempts, stopped - blocked) AS unchecked,
            day = max(day) OVER (PARTITION BY unit, step) AS is_last,
            model_used IS NOT NULL AND CASE WHEN expected IS NULL
                THEN model_used IS NOT DISTINCT FROM {plain("fallback")}
                    OR EXISTS (SELECT FROM model other WHERE other.arm <> placed.arm AND other.expected = model_used)
                ELSE model_used <> expected END AS is_other
        FROM placed JOIN model USING (arm)
    ), counted AS (
        SELECT unit, step, arm, min(began_at) AS began_at, bool_or(exposed) AS exposed,
            count(*) FILTER (WHERE is_gated AND model_used IS NOT NULL) AS gated,
            count(model_used) AS interceptions,
            count(*) FILTER (WHERE is_other AND NOT is_gated) AS foreign_,
            count(*) FILTER (WHERE wiki) AS wiki,
            coalesce(sum(attempts) FILTER (WHERE NOT edited AND NOT is_other AND NOT is_gated), 0) AS attempts,
            coalesce(sum(blocks) FILTER (WHERE NOT edited AND NOT is_other AND NOT is_gated), 0) AS blocks,
            coalesce(sum(attempts) FILTER (WHERE edited), 0) AS edited_attempts,
            coalesce(sum(blocks) FILTER (WHERE edited), 0) AS edited_blocks,
            coalesce(sum(attempts) FILTER (WHERE NOT edited AND (is_other OR is_gated)), 0) AS foreign_attempts,
            count(*) FILTER (WHERE favorite) AS favorites,
            sum(regenerations) AS regenerations,
            count(*) FILTER (WHERE edited) AS edits,
            sum(exports) AS exports, sum(abandons) AS abandons, sum(errors) AS errors,
            count(*) FILTER (WHERE latency_ms > %(slow_ms)s) AS slow,
            coalesce(sum(unchecked) FILTER (WHERE NOT edited AND NOT is_other AND NOT is_gated), 0) AS unchecked,
            coalesce(sum(least(1, edit_distance / greatest(chars, 1))) FILTER (WHERE edit_distance + chars IS NOT NULL), 0)
                AS edit_share,
            coalesce(sum(latency_ms), 0) AS latency_ms, sum(dwell_ms) AS dwell_ms,
            coalesce(min(day), 0) AS first_day, coalesce(max(day), 0) AS last_day,
            coalesce(sum(attempts) FILTER (WHERE is_last AND NOT edited AND NOT is_other AND NOT is_gated), 0) AS last_attempts,
            coalesce(sum(blocks) FILTER (WHERE is_last AND NOT edited AND NOT is_other AND NOT is_gated), 0) AS last_blocks,
            count(model_used) FILTER (WHERE is_last) AS last_interceptions,
            coalesce(sum(errors) FILTER (WHERE is_last), 0) AS last_errors,
            count(*) FILTER (WHERE is_last AND latency_ms > %(slow_ms)s) AS last_slow
        FROM judged GROUP BY unit, step, arm
    ), row AS (
        SELECT *, max(step) FILTER (WHERE exposed) OVER (
            PARTITION BY unit ORDER BY step ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS former_step FROM counted
    ), gone AS (
        DELETE FROM ab_units u WHERE u.experiment_id = %(experiment)s AND u.unit = ANY(%(units)s::text[])
            AND NOT EXISTS (SELECT FROM row WHERE row.unit = u.unit AND row.step = u.step)
    )
    INSERT INTO ab_units AS u (experiment_id, unit, step, {", ".join(_VALUES)})
    SELECT %(experiment)s, unit, step, {", ".join(_VALUES)} FROM row ORDER BY began_at, unit
    ON CONFLICT (experiment_id, unit, step) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in _VALUES)}, changed_at = now(),
        seq = CASE WHEN excluded.exposed AND NOT u.exposed THEN excluded.seq ELSE u.seq END
    WHERE ({", ".join(f"u.{name}" for name in _VALUES)}) IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _VALUES)})
"""


def recount(conn: Connection, experiment_id: UUID, plan: ExperimentPlan, places: Sequence[Place]) -> None:
    """Bring the rows of these units up to their events, under the lock of the experiment's row.

    `seq`, the order in which a unit became known, is drawn with its first exposure: before it, a unit is in no comparison.
    """
    slow_ms = next((one.limit_ms for one in plan.guardrails if isinstance(one, Latency)), Latency(name="latency").limit_ms)
    for start in range(0, len(places), CHUNK):
        units, arms, since = zip(*places[start : start + CHUNK], strict=True)
        values = {
            "experiment": experiment_id,
            "units": list(units),
            "arms": list(arms),
            "since": list(since),
            "names": [arm.name for arm in plan.arms],
            "models": [arm.model and plain_model(arm.model) for arm in plan.arms],
            "slow_ms": slow_ms,
        }
        conn.execute(_RECOUNT, values)
