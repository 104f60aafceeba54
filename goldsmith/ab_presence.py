"""Whether the models that arms answer with are in Ollama: looked at now and then while an experiment runs, outside of any transaction.

A model that was there and is not any more, or that the plan wants to be there (`model_present`), is answered for by base until it is
seen again, and the ramp is held. An Ollama that does not answer says nothing of any model: requests are answered as before, and the
ramp is held, too. A model that was never seen in Ollama is answered with by another server, and is none of its business.
"""

from __future__ import annotations

from typing import Any

from goldsmith import experiments, webhooks
from goldsmith.ab.plan import plain_model
from goldsmith.ab_decisions import GUARD, told
from goldsmith.ab_rows import locked
from goldsmith.db import Connection, Database
from goldsmith.errors import GoldsmithError
from goldsmith.settings import Settings
from goldsmith.student.chat import ollama_url
from goldsmith.student.ollama import Ollama

EVERY_S = 5.0  # a guess: one small request; a caller that is told that its model is gone has base at once without it
TIMEOUT_S = 3.0  # what follows a rollback waits behind it

MISSING = "model_missing"

# Nobody waits: an arm that somebody else is at is looked at next time.
CLAIM = """
UPDATE arms SET model_looked_at = now() FROM (
    SELECT a.experiment_id, a.name, p.model, coalesce((e.plan->'eligibility'->>'model_present')::boolean, false) AS must_be_there
    FROM arms a JOIN experiments e ON e.id = a.experiment_id
    CROSS JOIN LATERAL jsonb_to_recordset(e.plan->'arms') AS p(name text, model text)
    WHERE e.status = 'running' AND p.name = a.name AND p.name <> 'base' AND p.model IS NOT NULL
        AND a.gated IS DISTINCT FROM 'adapter_retired'
        AND (a.model_looked_at IS NULL OR a.model_looked_at < now() - %(every_s)s * interval '1 second')
    FOR UPDATE OF a SKIP LOCKED
) due
WHERE arms.experiment_id = due.experiment_id AND arms.name = due.name
RETURNING due.*, arms.gated, arms.model_seen_at IS NOT NULL AS seen, arms.model_trouble AS trouble
"""
SEEN = "UPDATE arms SET model_seen_at = now() WHERE experiment_id = %(experiment_id)s AND name = %(name)s AND model_seen_at IS NULL"
TROUBLE = "UPDATE arms SET model_trouble = %(trouble)s WHERE experiment_id = %(experiment_id)s AND name = %(name)s"
GATE = "UPDATE arms SET gated = %(gated)s WHERE experiment_id = %(experiment_id)s AND name = %(name)s"
HOLD = "UPDATE experiments SET held_reason = %(reason)s, held_at = coalesce(held_at, now()) WHERE id = %(experiment_id)s"
RELEASE = """
UPDATE experiments SET held_reason = NULL, held_at = NULL
WHERE id = %(experiment_id)s AND NOT EXISTS (SELECT 1 FROM arms WHERE experiment_id = %(experiment_id)s AND gated IS NOT NULL)
"""


def look_again(database: Database, settings: Settings) -> None:
    """Ask Ollama once for what is due, and write down what is new. Nothing is asked where none is configured or no arm names a model."""
    if not (settings.ollama_host or settings.ollama_model):
        return
    with database.connection() as conn:
        due = conn.execute(CLAIM, {"every_s": EVERY_S}).fetchall()
    if not due:
        return
    there, trouble = _models(settings)
    for arm in due:
        with database.connection() as conn:
            if there is None:
                _not_known(conn, arm, trouble)
            else:
                _known(conn, arm, plain_model(arm["model"]) in there)


def _models(settings: Settings) -> tuple[frozenset[str] | None, str | None]:
    """The plain names of what Ollama has; or none, and why."""
    try:
        tags = Ollama(ollama_url(settings.ollama_host), timeout_s=TIMEOUT_S).tags()
        return frozenset(map(plain_model, tags)), None
    except GoldsmithError as error:
        return None, error.detail


def _not_known(conn: Connection, arm: dict[str, Any], trouble: str | None) -> None:
    if (arm["seen"] or arm["must_be_there"]) and arm["trouble"] != trouble:
        conn.execute(TROUBLE, arm | {"trouble": trouble})


def _known(conn: Connection, arm: dict[str, Any], is_there: bool) -> None:
    if arm["trouble"] is not None:
        conn.execute(TROUBLE, arm | {"trouble": None})
    if is_there and not arm["seen"]:
        conn.execute(SEEN, arm)
    if is_there == (arm["gated"] is not None) and (is_there or arm["seen"] or arm["must_be_there"]):
        _turn(conn, arm, is_there)


def _turn(conn: Connection, arm: dict[str, Any], is_there: bool) -> None:
    """Base takes the arm's place, or gives it back."""
    with conn.transaction():
        now = locked(conn, arm["experiment_id"])
        gated = next(one.gated for one in now.arms if one.name == arm["name"])
        if now.status != "running" or gated != arm["gated"]:
            return  # somebody decided in the meantime; the next look sees what came of it
        conn.execute(GATE, arm | {"gated": None if is_there else MISSING})
        facts = {"arm": arm["name"], "model": arm["model"]}
        if is_there:
            why = f"{arm['model']} is in Ollama again; {arm['name']} answers again."
            conn.execute(RELEASE, arm)
            experiments.said(conn, now.id, "release", why, GUARD, facts)
        else:
            why = f"{arm['model']} is not in Ollama; base answers for the arm {arm['name']} until it is."
            conn.execute(HOLD, arm | {"reason": why})
            experiments.said(conn, now.id, "gate", why, GUARD, facts)
            webhooks.announce(conn, "experiment.held", told(now, None, why))
