"""Pulling an arm back, letting it run on all the same, and making it champion: each in one transaction, whoever asks for it.

A rollback is one transaction: every unit to base, the aliases back, the decision with its statistic, the audit entry, and what is to
be told and done outside as rows that `goldsmith.ab_effects` works off. Who comes second finds it done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from goldsmith import adapters, audit, experiments, jobs, webhooks
from goldsmith.ab import Arm, Decision, Experiment
from goldsmith.ab_decisions import decide, told
from goldsmith.ab_effects import deployments
from goldsmith.ab_look import Look
from goldsmith.ab_rows import get, locked
from goldsmith.db import Connection
from goldsmith.errors import Conflict, InvalidInput

CHAMPION = "champion"

# The version that an alias meant before it meant this one, the newest that is not retired.
_FORMER = """
SELECT (l.data->>'version')::int AS version FROM audit_log l
JOIN adapters a ON a.name = %(name)s
JOIN adapter_versions v ON v.adapter_id = a.id AND v.version = (l.data->>'version')::int
WHERE l.action = 'adapter.promote' AND l.subject = format('adapter:%%s@%%s', %(name)s::text, %(alias)s::text)
  AND v.version <> %(unlike)s AND v.status <> 'retired'
ORDER BY l.id DESC LIMIT 1
"""

_MEANS = """
SELECT v.version FROM adapter_aliases l JOIN adapters a ON a.id = l.adapter_id JOIN adapter_versions v ON v.id = l.version_id
WHERE a.name = %s AND l.alias = %s FOR UPDATE OF l
"""

_NEWEST_RESULT = """
SELECT id, CASE jsonb_typeof(result->'passed') WHEN 'boolean' THEN (result->'passed')::boolean END AS passed, result->>'why' AS why
FROM jobs WHERE kind = %(kind)s AND status = 'completed' AND result->>'adapter' = %(adapter)s
ORDER BY completed_at DESC, id DESC LIMIT 1
"""

_PROMOTED = """
SELECT 1 FROM ab_decisions WHERE experiment_id = %s AND decision = 'promote_done' AND statistics->>'adapter' = %s LIMIT 1
"""

_LOOK_AGAIN = "UPDATE ab_state SET looked_events = NULL, shown_events = NULL WHERE experiment_id = %s"

# A report's verdict that came later has nothing to be proved.
_LAST_ROLLBACK = """
SELECT effects, statistics FROM ab_decisions WHERE experiment_id = %s AND decision = 'rollback' AND probe IS NOT NULL ORDER BY created_at DESC, id DESC LIMIT 1
"""

FORCED_MINUTES = 30
"""Without a cool-down, a breach that was let pass does not act for so long: it would be rolled back again at the next look."""

_FORCE = """
UPDATE experiments SET status = 'running', ended_at = NULL, cooldown_until = NULL, held_at = NULL, held_reason = NULL,
    forced = %(forced)s || jsonb_build_object('until', now() + %(minutes)s * interval '1 minute')
WHERE id = %(id)s
"""


def roll_back(
    conn: Connection,
    experiment_id: UUID,
    reason: str,
    *,
    actor: str,
    statistics: Mapping[str, Any] | None = None,
    job_id: UUID | None = None,
) -> Experiment:
    """running or paused → rolled_back; one that is stays so. Raises `Conflict` for a draft or a completed one."""
    with conn.transaction():
        experiment = locked(conn, experiment_id)
        if experiment.status == "rolled_back":
            return experiment
        if experiment.status not in ("running", "paused"):
            raise Conflict(
                f"experiment {experiment.name} is {experiment.status}; only one that runs or is paused can be rolled back"
            )
        conn.execute(
            "UPDATE experiments SET status = 'rolled_back', ended_at = now(), held_at = NULL, held_reason = NULL,"
            " cooldown_until = now() + %s * interval '1 minute' WHERE id = %s",
            (experiment.plan.cooldown_minutes, experiment_id),
        )
        experiments.to_base(conn, experiment_id)
        conn.execute(_LOOK_AGAIN, (experiment_id,))
        effects = [effect for arm in experiment.plan.others for effect in _back(conn, arm.adapter, arm.alias, actor)]
        made = decide(
            conn, experiment_id, "rollback", reason, actor=actor, statistics=statistics, job_id=job_id, effects=effects
        )
        entry = {"reason": reason, "decision_id": str(made), "statistics": dict(statistics or {})}
        audit.record(conn, actor, "experiment.rollback", f"experiment:{experiment_id}", entry)
        webhooks.announce(conn, "experiment.rolled_back", told(experiment, made, reason))
    return get(conn, experiment_id)


def record_report(conn: Connection, job_id: UUID, attempt: int, experiment_id: UUID, decision: Decision) -> None:
    """Add a report's verdict to the history, fenced by the job's attempt. `rollback` pulls an experiment back that still runs, unless
    a person let it run on since the report looked. History is only ever added to, so a repeated attempt adds a row."""
    actor = f"job:{job_id}"
    with conn.transaction():
        experiment = locked(conn, experiment_id)
        runs = experiment.status in ("running", "paused")
        if decision.decision == "rollback" and runs and not _was_forced_since(experiment, decision):
            roll_back(conn, experiment_id, decision.reason, actor=actor, statistics=decision.statistics, job_id=job_id)
        else:
            decide(
                conn,
                experiment_id,
                decision.decision,
                decision.reason,
                actor=actor,
                statistics=decision.statistics,
                job_id=job_id,
            )
        jobs.fence(conn, job_id, attempt)


def _was_forced_since(experiment: Experiment, decision: Decision) -> bool:
    forced, now = experiment.forced, datetime.now(UTC)
    breaches = [one for one in decision.statistics.get("guardrails", []) if one["state"] == "breach"]
    return forced is not None and bool(breaches) and all(forced.lets_pass(one["name"], one["arm"], now) for one in breaches)


def _back(conn: Connection, ref: str | None, alias: str | None, actor: str) -> Iterator[dict[str, Any]]:
    """Move the aliases that mean this version, and say what is to be switched and asked outside.

    Those are the arm's own, `champion`, and what its deployments moved. An alias that means another version by now stays.
    """
    assert ref is not None, "every arm but base has an adapter"
    name, bad = _split(ref)
    deployed = deployments(conn, ref)
    targets: dict[str, int | None] = {one["alias"]: one["former_version"] for one in deployed if one["alias"]}
    champion = _means(conn, name, CHAMPION)
    fallback = champion if champion not in (None, bad) else _former(conn, name, CHAMPION, bad)
    targets |= {own: fallback for own in (alias, CHAMPION) if own is not None}
    for own, wanted in targets.items():
        if _means(conn, name, own) != bad:
            continue
        target = wanted if wanted != bad and _is_usable(conn, name, wanted) else fallback
        if target is None:
            adapters.remove_alias(conn, name, own, actor=actor)
        else:
            adapters.set_alias(conn, name, own, target, actor=actor)
        wanted_ref = target and f"adapter:{name}@{target}"
        yield {"do": "serve", "ref": f"adapter:{name}@{own}", "unlike": ref, "wanted": wanted_ref}
    for one in deployed:
        yield {
            "do": "ollama", "deploy": one["id"], "model": one["model"], "unlike": one["digests"][0],
            "also_unlike": one["digests"][1:], "wanted": one["former_digest"],
        }  # fmt: skip


def force(conn: Connection, experiment_id: UUID, reason: str, *, actor: str) -> Experiment:
    """Let it run although a guardrail says no: rolled_back → running where it stood, and paused → running.

    The guardrails of the plan go on being watched and shown; those that were in breach do not act again until the cool-down ends.
    The override stays in the history and on the experiment. Raises `Conflict` for a draft, a completed one, a retired adapter,
    or when another experiment runs on its configs by now.
    """
    with conn.transaction():
        experiments.one_start_at_a_time(conn)
        experiment = locked(conn, experiment_id)
        if experiment.status not in ("running", "paused", "rolled_back"):
            message = f"experiment {experiment.name} is {experiment.status}; only one that runs, is paused or was rolled back can be forced"
            raise Conflict(message)
        if experiment.status == "rolled_back":
            experiments.refuse_shared_configs(conn, experiment)
            experiments.refuse_taken_range(conn, experiment)
            adapters.refuse_retired(conn, [arm.adapter for arm in experiment.plan.others if arm.adapter is not None])
        effects: list[dict[str, Any]] = []
        shown = conn.execute(
            "SELECT numbers->'guardrails' AS guardrails FROM ab_state WHERE experiment_id = %s", (experiment_id,)
        )
        guardrails = [one for row in shown for one in row["guardrails"] or ()]
        if experiment.status == "rolled_back":
            undone = conn.execute(_LAST_ROLLBACK, (experiment_id,)).fetchone() or {"effects": [], "statistics": {}}
            effects = list(_forth(conn, undone["effects"], actor))
            guardrails += undone["statistics"].get("guardrails", [])
        breaches = _in_breach(guardrails)
        forced = {"actor": actor, "reason": reason, "guardrails": list(breaches), "arms": breaches}
        minutes = experiment.plan.cooldown_minutes or FORCED_MINUTES
        conn.execute(_FORCE, {"id": experiment_id, "forced": Jsonb(forced), "minutes": minutes})
        experiments.set_weights(conn, experiment, experiment.step)
        conn.execute(_LOOK_AGAIN, (experiment_id,))
        made = decide(
            conn,
            experiment_id,
            "force",
            reason,
            actor=actor,
            statistics={"guardrails": list(breaches), "arms": breaches},
            effects=effects or None,
        )
        audit.record(
            conn, actor, "experiment.force", f"experiment:{experiment_id}", {"reason": reason, "decision_id": str(made)}
        )
    return get(conn, experiment_id)


def _in_breach(guardrails: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The arms, by guardrail."""
    found: dict[str, set[str]] = {}
    for one in guardrails:
        if one["state"] == "breach":
            found.setdefault(one["name"], set()).add(one["arm"])
    return {name: sorted(arms) for name, arms in sorted(found.items())}


def _forth(conn: Connection, effects: Sequence[Mapping[str, Any]], actor: str) -> Iterator[dict[str, Any]]:
    """What a rollback moved goes where it was, unless somebody has moved it again since."""
    for effect in effects:
        if effect["do"] == "serve":
            name, _, alias = effect["ref"].removeprefix("adapter:").partition("@")
            if _means(conn, name, alias) == (effect["wanted"] and _split(effect["wanted"])[1]):
                adapters.set_alias(conn, name, alias, _split(effect["unlike"])[1], actor=actor)
        elif effect["do"] == "ollama":
            yield {**effect, "unlike": effect["wanted"], "also_unlike": [], "wanted": effect["unlike"]}


def promote(conn: Connection, experiment_id: UUID, reason: str, *, actor: str, arm: str | None, found: Look) -> Experiment:
    """Let `champion` mean the arm's adapter. Raises `Conflict` with all that is `missing`.

    What is asked for: the experiment is completed and valid, no guardrail of the arm is open, its safety is known, and the newest
    `evaluate` and `bias_audit` of this very version passed. Again, it is a no-op. `found`: a look at the experiment as it stands.
    """
    with conn.transaction():
        experiment = locked(conn, experiment_id)
        chosen = _arm(experiment, arm)
        assert chosen.adapter is not None, "every arm but base has an adapter"
        name, version = _split(chosen.adapter)
        missing = [*_obstacles(experiment, chosen.name, found), *_not_passed(conn, chosen.adapter)]
        if not _is_usable(conn, name, version):
            missing.append(f"{chosen.adapter} is retired")
        if missing:
            raise Conflict(
                f"{chosen.adapter} cannot be promoted: {'; '.join(one.rstrip('.') for one in missing)}", missing=missing
            )
        former = _means(conn, name, CHAMPION)
        if former == version and conn.execute(_PROMOTED, (experiment_id, chosen.adapter)).fetchone():
            return experiment
        adapters.set_alias(conn, name, CHAMPION, version, actor=actor)
        statistics = {
            "adapter": chosen.adapter,
            "former": former and f"adapter:{name}@{former}",
            "verdict": found.verdict.model_dump(),
        }
        made = decide(conn, experiment_id, "promote_done", reason, actor=actor, statistics=statistics)
        entry = {"reason": reason, "decision_id": str(made)} | statistics
        audit.record(conn, actor, "experiment.promote", f"experiment:{experiment_id}", entry)
        data = told(experiment, made, reason) | {"adapter": chosen.adapter}
        webhooks.announce(conn, "experiment.promoted", data)
    return get(conn, experiment_id)


def _obstacles(experiment: Experiment, arm: str, found: Look) -> Iterator[str]:
    if experiment.status != "completed":
        yield f"the experiment is {experiment.status}, not completed"
    if found.verdict.decision in ("invalid", "keep_base"):
        yield f"its verdict is {found.verdict.decision}: {found.verdict.reason}"
    for one in found.guardrails:
        if one.arm == arm and (one.state in ("breach", "watch") or (one.state == "unknown" and one.name == "safety_block")):
            yield f"the guardrail {one.name} is {'unknown' if one.state == 'unknown' else 'open'}: {one.words}"


def _not_passed(conn: Connection, adapter: str) -> Iterator[str]:
    for kind in ("evaluate", "bias_audit"):
        row = conn.execute(_NEWEST_RESULT, {"kind": kind, "adapter": adapter}).fetchone()
        if row is None:
            yield f"there is no completed {kind} job of {adapter}"
        elif row["passed"] is not True:
            why = "its result does not say that it passed" if row["passed"] is None else f"it did not pass: {row['why']}"
            yield f"the newest {kind} of {adapter} is job {row['id']}, and {why}"


def _arm(experiment: Experiment, name: str | None) -> Arm:
    others = experiment.plan.others
    names = [arm.name for arm in others]
    if name is None and len(others) > 1:
        message = f"arm: which of {', '.join(names)}?"
        raise InvalidInput(message, errors=[{"field": "arm", "value": None, "allowed": names, "message": message}])
    found = next((arm for arm in others if name in (None, arm.name)), None)
    if found is None:
        message = f"arm: the experiment has no arm {name!r} but base; it has {', '.join(names)}"
        raise InvalidInput(message, errors=[{"field": "arm", "value": name, "allowed": names, "message": message}])
    return found


def _split(ref: str) -> tuple[str, int]:
    name, _, version = ref.removeprefix("adapter:").rpartition("@")
    return name, int(version)


def _means(conn: Connection, name: str, alias: str) -> int | None:
    row = conn.execute(_MEANS, (name, alias)).fetchone()
    return row["version"] if row else None


def _former(conn: Connection, name: str, alias: str, unlike: int) -> int | None:
    row = conn.execute(_FORMER, {"name": name, "alias": alias, "unlike": unlike}).fetchone()
    return row["version"] if row else None


def _is_usable(conn: Connection, name: str, version: int | None) -> bool:
    row = conn.execute(
        "SELECT v.status FROM adapter_versions v JOIN adapters a ON a.id = v.adapter_id WHERE a.name = %s AND v.version = %s",
        (name, version),
    ).fetchone()
    return row is not None and row["status"] != "retired"
