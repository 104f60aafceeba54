"""What must follow a rollback outside of the database, and the proof that it worked: done after the commit, and again until it is.

The decision's row says what is to be done (`effects`), when next (`due_at`), and what the serving route answered (`probe`). Whoever
does it holds the row's lock, which ends with its process: then another one does it again, at once. Everything here may be done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import structlog
from psycopg.types.json import Jsonb

from goldsmith import ab_snapshots, audit, webhooks
from goldsmith.ab_decisions import GUARD, decide
from goldsmith.db import Connection, Database, sleeps_within
from goldsmith.errors import GoldsmithError
from goldsmith.settings import Settings
from goldsmith.student.chat import ollama_url, said_by
from goldsmith.student.ollama import Ollama

log = structlog.get_logger()

QUESTION = [{"role": "user", "content": "Say one word."}]
SLEEPS_WITHIN_S = 90  # a process that is stopped meanwhile; more than one effect takes: four requests of at most TIMEOUT_S
TIMEOUT_S = 15.0  # a model server that is busy with one long answer takes 10 s on 2 cores
AGAIN_S = (1, 2, 5, 10, 30)  # after each failed round; then every minute, until it worked or the experiment runs again
LAST_AGAIN_S = 60

# One decision of an experiment at a time: of a rollback and of forcing it on again, what is done last must be what was decided last.
TAKE = """
SELECT d.id, d.experiment_id, d.decision, d.reason, d.effects, d.probe, d.created_at, e.name, e.status
FROM ab_decisions d JOIN experiments e ON e.id = d.experiment_id
WHERE d.due_at <= clock_timestamp() AND NOT EXISTS (
    SELECT FROM ab_decisions o WHERE o.experiment_id = d.experiment_id AND (o.due_at, o.id) < (d.due_at, d.id)
)
ORDER BY d.due_at LIMIT 1 FOR UPDATE OF d SKIP LOCKED
"""

RECORD = """
UPDATE ab_decisions SET probe = %(probe)s, due_at = clock_timestamp() + %(again_s)s::float * interval '1 second'
WHERE id = %(id)s
"""

# The deployments of an adapter to Ollama, the newest first.
DEPLOYED = """
SELECT j.id, j.result->>'model' AS model, j.result->>'digest' AS digest,
    j.result->>'former_digest' AS former_digest, j.result->>'alias' AS alias, (j.result->>'former_alias_version')::int AS former_version
FROM jobs j WHERE j.kind = 'deploy' AND j.status = 'completed' AND j.result->>'adapter' = %(adapter)s
ORDER BY j.completed_at DESC, j.id DESC
"""


@dataclass(frozen=True)
class Check:
    """One question to a serving route, and what it answered."""

    what: str
    passed: bool
    words: str
    asks: bool = False
    """Whether the route is to be asked now."""


def deployments(conn: Connection, adapter: str) -> list[dict[str, Any]]:
    """Which models of Ollama Goldsmith deployed this adapter to, with all their digests, the newest first, and what each was before it.

    A version that was deployed twice, for another quantisation say, had itself before it: then what was before the first time counts.
    """
    models: dict[str, list[dict[str, Any]]] = {}
    for row in conn.execute(DEPLOYED, {"adapter": adapter}):
        models.setdefault(row["model"], []).append(row)
    version = int(adapter.rpartition("@")[2])
    return [_deployment(rows, version) for rows in models.values()]


def _deployment(rows: Sequence[dict[str, Any]], version: int) -> dict[str, Any]:
    digests = list(dict.fromkeys(row["digest"] for row in rows))
    former = next((row["former_digest"] for row in rows if row["former_digest"] not in digests), None)
    former_version = next((row["former_version"] for row in rows if row["former_version"] != version), None)
    return {
        "id": str(rows[0]["id"]), "model": rows[0]["model"], "digests": digests, "former_digest": former,
        "alias": rows[0]["alias"], "former_version": former_version,
    }  # fmt: skip


def run_due(database: Database, settings: Settings) -> bool:
    """Take one decision whose effects are due, and do them. Whether there was one."""
    with database.connection() as conn, conn.transaction():
        sleeps_within(conn, SLEEPS_WITHIN_S)
        row = conn.execute(TAKE).fetchone()
        if row is None:
            return False
        if (row["decision"] == "rollback") != (row["status"] == "rolled_back"):
            checks = [Check("superseded", True, f"the experiment is {row['status']} by a later decision")]
        else:
            checks = []
            for check in _checks(row, database, settings):
                checks.append(check)
                conn.execute("SELECT")  # not asleep
        _record(conn, row, checks)
    return True


def _checks(row: dict[str, Any], database: Database, settings: Settings) -> Iterator[Check]:
    """Switch first and ask then: a route that is slow to answer keeps no tag waiting."""
    tags = [effect for effect in row["effects"] if effect["do"] == "ollama"]
    switched = [(effect, _tried(_switch, effect, settings)) for effect in tags]
    if row["decision"] == "rollback":
        yield _assigned(database, row["experiment_id"])
    for effect in row["effects"]:
        if effect["do"] == "serve":
            yield _tried(_ask, effect, settings)
    for effect, check in switched:
        yield check
        if check.passed and check.asks:
            yield _tried(_ask_ollama, effect, settings)


def _assigned(database: Database, experiment_id: UUID) -> Check:
    """What callers assign by, as they get it."""
    with database.connection() as conn:
        shown = next((one for one in ab_snapshots.snapshot(conn).experiments if one.id == str(experiment_id)), None)
    left = [arm.name for arm in shown.arms if arm.buckets is not None and arm.buckets[1] > arm.buckets[0]] if shown else []
    if left:
        return Check("assignment", False, f"the snapshot that callers assign by still gives units to {', '.join(left)}")
    return Check("assignment", True, "the snapshot that callers assign by gives every unit to base")


def _tried(do: Callable[[dict[str, Any], Settings], Check], effect: dict[str, Any], settings: Settings) -> Check:
    try:
        return do(effect, settings)
    except GoldsmithError as error:
        return Check(effect["do"], False, error.detail)


def _switch(effect: dict[str, Any], settings: Settings) -> Check:
    """Let `<model>:latest` be `wanted` again, unless somebody has deployed something else since."""
    ollama = Ollama(ollama_url(settings.ollama_host), timeout_s=TIMEOUT_S)
    latest, wanted = f"{effect['model']}:latest", effect["wanted"]
    tags = ollama.tags()
    before = tags.get(latest)
    if before not in (wanted, effect["unlike"], *effect.get("also_unlike", ())):
        return Check("ollama", True, f"{latest} is {_short(before)} by now, which is not the adapter's; it stays so")
    if before != wanted and wanted is None:
        ollama.delete(latest)
    elif before != wanted:
        source = next((name for name, digest in tags.items() if digest == wanted), None)
        if source is None:
            return Check("ollama", False, f"{latest} should be {_short(wanted)} again, which no tag of Ollama is any more")
        ollama.copy(source, latest)
    after = ollama.tags().get(latest)
    if after != wanted:
        return Check("ollama", False, f"{latest} is {_short(after)}, and should be {_short(wanted)}")
    if wanted is None:
        return Check("ollama", True, f"{latest} is gone, as it was before the deployment")
    return Check("ollama", True, f"{latest} is {_short(wanted)} again", asks=True)


def _ask_ollama(effect: dict[str, Any], settings: Settings) -> Check:
    latest = f"{effect['model']}:latest"
    Ollama(ollama_url(settings.ollama_host), timeout_s=TIMEOUT_S).chat(latest, QUESTION, limit=1)
    return Check("ollama", True, f"{latest} answers")


def _ask(effect: dict[str, Any], settings: Settings) -> Check:
    """Ask the model server for the alias: what answers must not be the version that was pulled back."""
    ref, unlike = effect["ref"], effect["unlike"]
    url = f"{settings.inference_url.rstrip('/').removesuffix('/v1')}/v1/chat/completions"
    headers = {"Authorization": f"Bearer {settings.inference_key.get_secret_value()}"} if settings.inference_key else {}
    body = {"model": ref, "messages": QUESTION, "max_tokens": 1, "temperature": 0.0, "stream": False}
    try:
        response = httpx.post(url, json=body, headers=headers, timeout=TIMEOUT_S, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Check("serve", False, f"{url} gave no answer ({str(error) or type(error).__name__}), so nothing is proved")
    said_so = said_by(response)
    if (
        response.status_code == 404 and effect["wanted"] is None and ref in said_so
    ):  # a route that is missing says nothing of it
        return Check("serve", True, f"{url} has no {ref} any more")
    if not response.is_success:
        return Check(
            "serve", False, f"{url} answered {response.status_code} when asked for {ref} ({said_so}); nothing is proved"
        )
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return Check("serve", False, f"{url} answered something that is no JSON object; nothing is proved")
    said = answer.get("adapter") or answer.get("model")
    if said == unlike:
        return Check("serve", False, f"{url} still answers with {unlike} when asked for {ref}")
    if said == ref or not isinstance(said, str):
        return Check("serve", False, f"{url} does not say which version answered for {ref}; nothing is proved")
    return Check("serve", True, f"{url} answers with {said[:200]} when asked for {ref}")


def _short(digest: str | None) -> str:
    return "gone" if digest is None else digest.removeprefix("sha256:")[:12]


def _record(conn: Connection, row: dict[str, Any], checks: Sequence[Check]) -> None:
    """What came of a round. The first that failed, and the first that did not after that, are told as decisions of their own."""
    former = row["probe"] or {}
    attempts, passed = former.get("attempts", 0) + 1, all(check.passed for check in checks)
    words = "; ".join(check.words for check in checks if passed or not check.passed)
    probe = {
        "state": "passed" if passed else "failed",
        "at": datetime.now(UTC).isoformat(),
        "attempts": attempts,
        "words": f"{words if words.startswith('http') else words[0].upper() + words[1:]}."
        if words
        else "Nothing had to be asked.",
        "checks": [{"what": check.what, "passed": check.passed, "words": check.words} for check in checks],
    }
    again_s = None if passed else (*AGAIN_S, LAST_AGAIN_S)[min(attempts - 1, len(AGAIN_S))]
    conn.execute(RECORD, {"id": row["id"], "probe": Jsonb(probe), "again_s": again_s})
    if passed == (former.get("state") != "failed"):
        return
    reason = f"The {row['decision']} is proved now: {probe['words']}" if passed else f"NOT proved: {probe['words']}"
    statistics = {"of": str(row["id"]), "probe": probe}
    made = decide(conn, row["experiment_id"], "probe", reason, actor=GUARD, statistics=statistics)
    if not passed:
        log.error("a rollback is not proved", experiment=row["name"], words=probe["words"])
        audit.record(conn, GUARD, "experiment.probe_failed", f"experiment:{row['experiment_id']}", {"reason": reason})
        data = {"experiment_id": str(row["experiment_id"]), "name": row["name"], "decision_id": str(made), "reason": reason}
        webhooks.announce(conn, "experiment.probe_failed", data)
