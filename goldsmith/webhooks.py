"""Webhooks: whoever asked is told when a job ends, or of what happens to an experiment, by a signed POST (Standard Webhooks), until
it is taken or a day has passed.

The delivery is written by the transaction that ends the job: the trigger on `jobs` in the migrations, which sees every way in
which a job can end; that of an experiment by the transaction that decides (`announce`). A sender then takes what is due, one
delivery of a webhook at a time, and never holds a transaction while it waits for an answer. At least once: a sender that dies
between the receiver's answer and its own note of it sends again, with the same `webhook-id`, by which a receiver knows what it
has seen. Several senders never send one at once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

import psycopg
import structlog
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from goldsmith import audit, outbound
from goldsmith.db import Connection, Database
from goldsmith.errors import Conflict, NotFound
from goldsmith.kinds.registry import kinds
from goldsmith.outbound import Network

log = structlog.get_logger()

Event = Literal[
    "job.completed",
    "job.failed",
    "job.cancelled",
    "experiment.rolled_back",
    "experiment.held",
    "experiment.completed",
    "experiment.promoted",
    "experiment.probe_failed",
]
EVENTS: tuple[Event, ...] = get_args(Event)
DeliveryStatus = Literal["pending", "delivered", "failed"]

# Seconds after each failed try; the last is made a day after the first. Each is stretched or shortened by up to a tenth, so
# that what failed together does not come back together.
RETRY_AFTER_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 23_095)
LEASE_S = 60  # of one try, which ends within 20 s: 5 s for the name, 15 s for all else
ROTATION_H = 24  # hours for which the secret before the newest still signs
SENDERS = 8  # webhooks that one process serves at once
TURN = 50  # deliveries of one webhook before the others come first
LOOK_EVERY_S = 1.0
URL: JsonDict = {"format": "iri", "pattern": "^https?://"}  # told to readers of the schema; `outbound` says what is wrong


class NewWebhook(BaseModel):
    """Who is to be told of what; no events or kinds given: all."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: str = Field(max_length=2048, description="https:// or http://, without user name and password.", json_schema_extra=URL)
    events: list[Event] = Field([], max_length=len(EVENTS), description="Which events; empty: all of them.")
    kinds: list[str] = Field(
        [],
        max_length=64,
        description="Of which kinds of jobs; empty: of all. With kinds and no events, none of experiments are told.",
    )

    @field_validator("kinds")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return _known_kinds(value)


class WebhookChange(BaseModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: str | None = Field(None, max_length=2048, json_schema_extra=URL)
    events: list[Event] | None = Field(None, max_length=len(EVENTS))
    kinds: list[str] | None = Field(None, max_length=64)
    active: bool | None = Field(None, description="False: no more is written or sent. True: also after it was disabled.")

    @field_validator("kinds")
    @classmethod
    def _known(cls, value: list[str] | None) -> list[str] | None:
        return None if value is None else _known_kinds(value)


def _known_kinds(names: list[str]) -> list[str]:
    for name in names:
        if name not in kinds():
            raise ValueError(f"must be among: {', '.join(kinds())}")
    return names


class Webhook(BaseModel):
    """As readers see it; the secret is shown once, when it is made."""

    id: UUID
    url: str
    events: list[str]
    kinds: list[str]
    active: bool
    failing_since: datetime | None = Field(description="The first failed delivery since the last one that was taken.")
    disabled_reason: str | None = Field(description="Why it is not active.")
    previous_secret_until: datetime | None = Field(
        description="Until when deliveries carry a second signature by the old secret."
    )
    created_at: datetime


class WebhookWithSecret(Webhook):
    secret: str = Field(description="`whsec_` and base64; keep it, it is not shown again.")


class Try(BaseModel):
    at: datetime
    status_code: int | None = Field(description="What the receiver answered; null when nothing came.")
    duration_ms: int
    error: str | None = Field(description="Why it does not count as delivered.")


class Delivery(BaseModel):
    id: UUID = Field(description="The header `webhook-id`: the same in every try.")
    webhook_id: UUID
    job_id: UUID | None
    event: str
    payload: dict[str, Any]
    status: DeliveryStatus = Field(description="`failed`: given up; `retry` sends it again.")
    attempts: int = Field(description="Tries begun so far.")
    status_code: int | None = Field(description="Of the last try, like the two that follow.")
    duration_ms: int | None
    error: str | None
    next_at: datetime | None = Field(description="When it is tried next; null when it was delivered or given up.")
    delivered_at: datetime | None
    created_at: datetime
    log: list[Try] = Field(description="Every try, oldest first.")


_SHOWN = "id, url, events, kinds, active, failing_since, disabled_reason, previous_secret_until, created_at"
_STATUS = "CASE WHEN delivered_at IS NOT NULL THEN 'delivered' WHEN next_at IS NOT NULL THEN 'pending' ELSE 'failed' END"
_DELIVERY = f"""id, webhook_id, job_id, event, payload, {_STATUS} AS status, attempts, log->-1->'status_code' AS status_code,
    log->-1->'duration_ms' AS duration_ms, log->-1->>'error' AS error, next_at, delivered_at, created_at, log"""

ADD = (
    f"INSERT INTO webhooks (url, events, kinds, secret) VALUES (%(url)s, %(events)s, %(kinds)s, %(secret)s) RETURNING {_SHOWN}"
)

# A new address or a switch back on begins anew: what failed before counts no longer.
CHANGE = f"""
UPDATE webhooks SET url = coalesce(%(url)s::text, url), events = coalesce(%(events)s::text[], events),
    kinds = coalesce(%(kinds)s::text[], kinds), active = coalesce(%(active)s::boolean, active),
    failing_since = CASE WHEN %(active)s::boolean OR %(url)s::text <> url THEN NULL ELSE failing_since END,
    disabled_reason = CASE WHEN %(active)s::boolean THEN NULL
        WHEN active AND NOT %(active)s::boolean THEN 'switched off' ELSE disabled_reason END
WHERE id = %(id)s RETURNING {_SHOWN}
"""

ROTATE = f"""
UPDATE webhooks SET previous_secret = secret, previous_secret_until = now() + {ROTATION_H} * interval '1 hour', secret = %(secret)s
WHERE id = %(id)s RETURNING {_SHOWN}
"""

TEST = f"""
INSERT INTO webhook_deliveries (webhook_id, event, payload, next_at)
SELECT id, 'webhook.test', jsonb_build_object('type', 'webhook.test', 'timestamp', now(), 'data', jsonb_build_object('webhook_id', id)),
    now()
FROM webhooks WHERE id = %(id)s AND active RETURNING {_DELIVERY}
"""

ANNOUNCE = """
INSERT INTO webhook_deliveries (webhook_id, event, payload, next_at)
SELECT id, %(event)s, jsonb_build_object('type', %(event)s::text, 'timestamp', now(), 'data', %(data)s::jsonb), now()
FROM webhooks WHERE active AND (%(event)s = ANY(events) OR events = '{}' AND kinds = '{}')
"""

DELIVERIES = f"""
SELECT {_DELIVERY} FROM webhook_deliveries
WHERE webhook_id = %(webhook_id)s AND (%(before)s::uuid IS NULL OR id < %(before)s)
  AND (%(status)s::text IS NULL OR %(status)s::text = {_STATUS})
ORDER BY id DESC LIMIT %(limit)s
"""

RETRY = f"""
UPDATE webhook_deliveries SET next_at = now(), delivered_at = NULL WHERE id = %(id)s AND webhook_id = %(webhook_id)s
RETURNING {_DELIVERY}
"""

DUE = """
SELECT id FROM webhooks w WHERE active AND EXISTS (
    SELECT 1 FROM webhook_deliveries WHERE webhook_id = w.id AND next_at <= now() AND (sending_until IS NULL OR sending_until < now())
)
"""

CLAIM = """
UPDATE webhook_deliveries d SET attempts = attempts + 1, sending_until = now() + %(lease_s)s * interval '1 second'
FROM webhooks w
WHERE d.id = (
    SELECT id FROM webhook_deliveries
    WHERE webhook_id = %(webhook_id)s AND next_at <= now() AND (sending_until IS NULL OR sending_until < now())
    ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED
) AND w.id = d.webhook_id AND w.active
RETURNING d.id, d.webhook_id, d.payload, d.attempts AS attempt, w.url, w.secret,
    CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END AS previous_secret
"""

TAKEN = "UPDATE webhooks SET failing_since = NULL WHERE id = %(webhook_id)s AND failing_since IS NOT NULL"

NOT_TAKEN = """
WITH hook AS (
    SELECT id, coalesce(failing_since, now()) AS since,
        active AND (%(gone)s OR now() - failing_since > %(dead_after_days)s::float * interval '1 day') IS TRUE AS dead
    FROM webhooks WHERE id = %(webhook_id)s FOR NO KEY UPDATE
)
UPDATE webhooks SET failing_since = since, active = active AND NOT dead, disabled_reason = CASE WHEN dead THEN
    format('nothing was taken since %%s; the last try: %%s', to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'), %(error)s::text)
    ELSE disabled_reason END
FROM hook WHERE webhooks.id = hook.id RETURNING active
"""

RECORD = """
UPDATE webhook_deliveries SET sending_until = NULL,
    log = log || jsonb_build_array(jsonb_build_object('at', now() - %(duration_ms)s * interval '1 millisecond',
        'status_code', %(status_code)s::int, 'duration_ms', %(duration_ms)s, 'error', %(error)s::text)),
    delivered_at = CASE WHEN %(error)s::text IS NULL THEN now() END,
    next_at = now() + %(again_s)s::float * interval '1 second'
WHERE id = %(id)s AND attempts = %(attempt)s
"""

COUNT = """
INSERT INTO webhook_tries (outcome, count) VALUES (%(outcome)s, 1) ON CONFLICT (outcome) DO UPDATE SET count = webhook_tries.count + 1
"""

GIVE_UP = """
UPDATE webhook_deliveries SET next_at = NULL, sending_until = NULL, log = log || jsonb_build_array(jsonb_build_object(
    'at', now(), 'status_code', NULL, 'duration_ms', 0, 'error', 'given up: the webhook is not active'))
WHERE webhook_id = %(webhook_id)s AND next_at IS NOT NULL
"""


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def add(conn: Connection, new: NewWebhook, *, actor: str = "local") -> WebhookWithSecret:
    """Make a webhook. Its URL is checked at every sending; `outbound.check` says beforehand what would come of it."""
    secret = new_secret()
    with conn.transaction():
        row = conn.execute(ADD, {**new.model_dump(), "secret": secret}).fetchone()
        assert row is not None
        audit.record(conn, actor, "webhook.create", f"webhook:{row['id']}", new.model_dump())
    return WebhookWithSecret(secret=secret, **row)


def list_webhooks(conn: Connection, *, limit: int) -> list[Webhook]:
    """Newest first."""
    rows = conn.execute(f"SELECT {_SHOWN} FROM webhooks ORDER BY id DESC LIMIT %s", (limit,)).fetchall()
    return [Webhook.model_validate(row) for row in rows]


def get(conn: Connection, webhook_id: UUID) -> Webhook:
    return Webhook.model_validate(
        _there(conn.execute(f"SELECT {_SHOWN} FROM webhooks WHERE id = %s", (webhook_id,)).fetchone(), webhook_id)
    )


def _there(row: dict[str, Any] | None, webhook_id: UUID) -> dict[str, Any]:
    if row is None:
        raise NotFound(f"there is no webhook {webhook_id}")
    return row


def change(conn: Connection, webhook_id: UUID, change: WebhookChange, *, actor: str = "local") -> Webhook:
    """Change what is given. Switched off, its waiting deliveries are given up; `retry` sends one when it is on again."""
    with conn.transaction():
        row = _there(conn.execute(CHANGE, {**change.model_dump(), "id": webhook_id}).fetchone(), webhook_id)
        if not row["active"]:
            conn.execute(GIVE_UP, {"webhook_id": webhook_id})
        audit.record(conn, actor, "webhook.change", f"webhook:{webhook_id}", change.model_dump(exclude_none=True))
    return Webhook.model_validate(row)


def rotate(conn: Connection, webhook_id: UUID, *, actor: str = "local") -> WebhookWithSecret:
    """A new secret; for a day the one before it signs too, so that a receiver can change over without losing anything."""
    secret = new_secret()
    with conn.transaction():
        row = _there(conn.execute(ROTATE, {"id": webhook_id, "secret": secret}).fetchone(), webhook_id)
        audit.record(conn, actor, "webhook.rotate", f"webhook:{webhook_id}")
    return WebhookWithSecret(secret=secret, **row)


def remove(conn: Connection, webhook_id: UUID, *, actor: str = "local") -> None:
    """With its deliveries."""
    with conn.transaction():
        row = conn.execute("DELETE FROM webhooks WHERE id = %s RETURNING url", (webhook_id,)).fetchone()
        audit.record(conn, actor, "webhook.remove", f"webhook:{webhook_id}", {"url": _there(row, webhook_id)["url"]})


def test(conn: Connection, webhook_id: UUID) -> Delivery:
    """Put a `webhook.test` among its deliveries."""
    row = conn.execute(TEST, {"id": webhook_id}).fetchone()
    if row is None:
        hook = get(conn, webhook_id)
        raise Conflict(f"webhook {webhook_id} is not active ({hook.disabled_reason}); switch it on first")
    return Delivery.model_validate(row)


def announce(conn: Connection, event: Event, data: Mapping[str, Any]) -> None:
    """Write the deliveries of what is no job's. Call it inside the transaction of the act, so that none is told without the other."""
    conn.execute(ANNOUNCE, {"event": event, "data": Jsonb(dict(data))})


def deliveries(
    conn: Connection, webhook_id: UUID, *, status: DeliveryStatus | None = None, before: UUID | None = None, limit: int = 50
) -> list[Delivery]:
    """Newest first; `before` is the last id of the page before."""
    get(conn, webhook_id)
    values = {"webhook_id": webhook_id, "status": status, "before": before, "limit": limit}
    return [Delivery.model_validate(row) for row in conn.execute(DELIVERIES, values).fetchall()]


def retry(conn: Connection, webhook_id: UUID, delivery_id: UUID) -> Delivery:
    """Send a delivery again now, also one that was taken; one that is being sent at this moment is not sent twice."""
    hook = get(conn, webhook_id)
    if not hook.active:
        raise Conflict(f"webhook {webhook_id} is not active ({hook.disabled_reason}); switch it on first")
    row = conn.execute(RETRY, {"id": delivery_id, "webhook_id": webhook_id}).fetchone()
    if row is None:
        raise NotFound(f"webhook {webhook_id} has no delivery {delivery_id}")
    return Delivery.model_validate(row)


@dataclass(frozen=True)
class Claimed:
    """One try of one delivery, taken by one sender."""

    id: UUID
    webhook_id: UUID
    payload: dict[str, Any]
    attempt: int
    url: str
    secret: str
    previous_secret: str | None


@dataclass(frozen=True)
class Answer:
    status_code: int | None
    duration_ms: int
    error: str | None


def due(conn: Connection) -> list[UUID]:
    """The active webhooks that have something to send now: one look into the index for each."""
    return [row["id"] for row in conn.execute(DUE).fetchall()]


def claim(conn: Connection, webhook_id: UUID) -> Claimed | None:
    """Take this webhook's delivery that waited longest; for the time of the lease no other sender gets it."""
    row = conn.execute(CLAIM, {"webhook_id": webhook_id, "lease_s": LEASE_S}).fetchone()
    return Claimed(**row) if row else None


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over id.timestamp.body, as Standard Webhooks has it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)).decode()


def signed_headers(claimed: Claimed, timestamp: int, body: bytes) -> dict[str, str]:
    """One signature; during a rotation two, the newest secret's first."""
    keys = [claimed.secret, *([claimed.previous_secret] if claimed.previous_secret else [])]
    return {
        "Content-Type": "application/json",
        "webhook-id": str(claimed.id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(key, str(claimed.id), timestamp, body) for key in keys),
    }


def send(claimed: Claimed, *, allowed: Sequence[Network]) -> Answer:
    """POST it once. Only a 2xx is taken: a redirect is not followed, and is a failure."""
    body = json.dumps(claimed.payload, separators=(",", ":"), ensure_ascii=False).encode()
    began = time.monotonic()
    status_code: int | None = None
    try:
        status_code = outbound.post(
            claimed.url, headers=signed_headers(claimed, int(time.time()), body), body=body, allowed=allowed
        )
        error = None if 200 <= status_code < 300 else f"the receiver answered {status_code}"
    except (outbound.TargetRefused, outbound.NoAnswer) as refusal:
        error = refusal.detail
    return Answer(status_code, round((time.monotonic() - began) * 1000), error)


def record(conn: Connection, claimed: Claimed, answer: Answer, *, dead_after_days: float) -> None:
    """Note a try: delivered, again later, or given up. Refused when another sender has taken the delivery since.

    A webhook that takes nothing for `dead_after_days`, or says 410 Gone, is disabled with the reason.
    """
    again_s = None
    if answer.error is not None and claimed.attempt <= len(RETRY_AFTER_S):
        again_s = RETRY_AFTER_S[claimed.attempt - 1] * random.uniform(0.9, 1.1)  # noqa: S311
    values = {
        **answer.__dict__,
        "id": claimed.id,
        "attempt": claimed.attempt,
        "webhook_id": claimed.webhook_id,
        "again_s": again_s,
        "gone": answer.status_code == 410,
        "dead_after_days": dead_after_days,
    }
    with conn.transaction():  # the webhook before its deliveries, as its removal locks them: no deadlock
        dead = False
        if answer.error is None:
            conn.execute(TAKEN, values)
        else:
            hook = conn.execute(NOT_TAKEN, values).fetchone()
            if hook is None:  # removed meanwhile, its deliveries with it
                return
            if dead := not hook["active"]:
                values["again_s"] = None
        noted = conn.execute(RECORD, values).rowcount
        if dead:
            conn.execute(GIVE_UP, values)
        if noted:
            outcome = "delivered" if answer.error is None else "given_up" if values["again_s"] is None else "put_off"
            conn.execute(COUNT, {"outcome": outcome})


class SenderThread(threading.Thread):
    """Sends what is due until stopped. One delivery of a webhook at a time: a slow receiver holds up none but itself."""

    def __init__(self, database: Database, *, allowed: Sequence[Network], dead_after_days: float) -> None:
        super().__init__(name="webhooks", daemon=True)
        self._database, self._allowed, self._dead_after_days = database, allowed, dead_after_days
        self._busy: set[UUID] = set()
        self._stopped = threading.Event()

    def run(self) -> None:
        pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="webhook")
        while not self._stopped.wait(LOOK_EVERY_S * random.uniform(0.8, 1.2)):  # noqa: S311  spreads the processes out
            try:
                with self._database.connection() as conn:
                    waiting = due(conn)
            except psycopg.Error as error:
                log.warning("webhooks wait for the database", error=str(error).partition("\n")[0])
                continue
            for webhook_id in waiting:
                if webhook_id not in self._busy:
                    self._busy.add(webhook_id)
                    pool.submit(self._send_due, webhook_id)
        pool.shutdown(cancel_futures=True)

    def _send_due(self, webhook_id: UUID) -> None:
        """One delivery after another, until none is due, one fails, or its turn is over: then the other webhooks come first."""
        try:
            for _ in range(TURN):
                if self._stopped.is_set():
                    return
                with self._database.connection() as conn:
                    claimed = claim(conn, webhook_id)
                if claimed is None:
                    return
                answer = send(claimed, allowed=self._allowed)
                with self._database.connection() as conn:
                    record(conn, claimed, answer, dead_after_days=self._dead_after_days)
                if answer.error is not None:
                    log.warning(
                        "a webhook was not taken", webhook_id=str(webhook_id), attempt=claimed.attempt, error=answer.error
                    )
                    return
        except psycopg.Error as error:
            log.warning("a webhook waits for the database", webhook_id=str(webhook_id), error=str(error).partition("\n")[0])
        except Exception:
            log.exception("sending a webhook broke; it is sent again after its lease", webhook_id=str(webhook_id))
        finally:
            self._busy.discard(webhook_id)

    def stop(self) -> None:
        """Begin nothing more; `join` waits for what is being sent."""
        self._stopped.set()
