"""API keys: who may do what. A key is shown once, when it is made; kept are its sha256 and its first characters.

A name is used once: a revoked key keeps its row, so that the jobs and the audit entries of a name are one caller's for ever.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from psycopg import errors as pg
from pydantic import BaseModel, ConfigDict, Field, field_validator

from goldsmith import audit, budgets
from goldsmith.db import AsyncConnection, Connection
from goldsmith.errors import Conflict, NotFound

Scope = Literal["jobs:read", "jobs:write", "experiments:event", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
NAME_PATTERN = "[a-z0-9][a-z0-9._-]{0,63}"
RESERVED = ("admin", "local")
SHOWN = len("gs_ab12cd")


_BUDGET = Field(
    None,
    strict=True,
    ge=0,
    le=99_999_999,
    allow_inf_nan=False,
    description="Most that its jobs ever spend on teachers, in US dollars. Null: no limit.",
)
_BUDGET_PER_DAY = Field(
    None,
    strict=True,
    ge=0,
    le=99_999_999,
    allow_inf_nan=False,
    description="Most that its jobs spend on teachers in a UTC day. Null: no limit.",
)


class NewKey(BaseModel):
    """What a key is to be called and may do."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=f"^{NAME_PATTERN}$", description="Who calls: `created_by` of the jobs. Never used twice.")
    scopes: list[Scope] = Field(
        min_length=1, max_length=len(SCOPES), description="jobs:read, jobs:write, experiments:event; admin includes them all."
    )
    jobs_per_hour: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=10_000_000,
        description="Jobs that it may submit in an hour; more are a 429. Null: no limit.",
    )
    running_at_once: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=10_000,
        description="Jobs of it that run at the same time; more wait in the queue. Null: no limit.",
    )
    budget_usd: float | None = _BUDGET
    budget_usd_per_day: float | None = _BUDGET_PER_DAY

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name in RESERVED:
            raise ValueError(f"{name!r} is the name of callers without a key of their own; choose another")
        return name

    @field_validator("scopes")
    @classmethod
    def _once(cls, scopes: list[Scope]) -> list[Scope]:
        return [scope for scope in SCOPES if scope in scopes]


class KeyBudgets(BaseModel):
    """What a key's jobs may spend from now on."""

    model_config = ConfigDict(extra="forbid")

    budget_usd: float | None = _BUDGET
    budget_usd_per_day: float | None = _BUDGET_PER_DAY


class Key(BaseModel):
    """A key as it is listed: everything but the key."""

    id: UUID
    name: str
    prefix: str = Field(description="Its first characters, to tell keys apart.")
    scopes: list[Scope]
    jobs_per_hour: int | None
    running_at_once: int | None
    budget_usd: float | None
    budget_usd_per_day: float | None
    created_at: datetime
    last_used_at: datetime | None = Field(description="Written at most once a minute.")
    revoked_at: datetime | None


class CreatedKey(Key):
    key: str = Field(description="Send it as `Authorization: Bearer <key>`. It is shown this once.")


@dataclass(frozen=True)
class Caller:
    """Who sent a request. `key_id` is None for the two that have no row: `local` and `admin`."""

    name: str
    scopes: frozenset[Scope]
    key_id: UUID | None = None
    jobs_per_hour: int | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes


LOCAL = Caller("local", frozenset(("admin",)))
"""Whoever is on this machine, while there is no key at all."""
ADMIN = Caller("admin", frozenset(("admin",)))
"""Whoever has GOLDSMITH_API_KEY."""

_KEY = "id, name, prefix, scopes, jobs_per_hour, running_at_once, budget_usd, budget_usd_per_day, created_at, last_used_at, revoked_at"

FIND = """
WITH used AS (
    UPDATE api_keys SET last_used_at = now()
    WHERE sha256 = %(sha256)s AND revoked_at IS NULL AND (last_used_at IS NULL OR last_used_at <= now() - interval '1 minute')
)
SELECT id, name, sha256, scopes, jobs_per_hour FROM api_keys WHERE sha256 = %(sha256)s AND revoked_at IS NULL
"""

ANY = "SELECT EXISTS (SELECT 1 FROM api_keys) AS made, EXISTS (SELECT 1 FROM api_keys WHERE revoked_at IS NULL) AS valid"


def sha256_of(key: str) -> str:
    """A key has 256 random bits, so one round of a fast hash is as good as a slow one."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def create(conn: Connection, new: NewKey, *, actor: str) -> CreatedKey:
    """Make a key. Raises `Conflict` when the name was ever given."""
    key = f"gs_{secrets.token_hex(32)}"
    values = new.model_dump() | {"prefix": f"{key[:SHOWN]}…", "sha256": sha256_of(key)}
    with conn.transaction():
        try:
            row = conn.execute(
                "INSERT INTO api_keys (name, prefix, sha256, scopes, jobs_per_hour, running_at_once, budget_usd, budget_usd_per_day)"
                " VALUES (%(name)s, %(prefix)s, %(sha256)s, %(scopes)s, %(jobs_per_hour)s, %(running_at_once)s, %(budget_usd)s,"
                f" %(budget_usd_per_day)s) RETURNING {_KEY}",
                values,
            ).fetchone()
        except pg.UniqueViolation:
            raise Conflict(f"there is, or was, a key named {new.name!r}; a name is used once, choose another") from None
        assert row is not None
        audit.record(conn, actor, "key.create", new.name, new.model_dump(exclude={"name"}) | {"prefix": row["prefix"]})
    return CreatedKey(**row, key=key)


def list_keys(conn: Connection) -> list[Key]:
    """All that were ever made, newest first."""
    return [Key(**row) for row in conn.execute(f"SELECT {_KEY} FROM api_keys ORDER BY id DESC")]


def revoke(conn: Connection, name: str, *, actor: str) -> Key:
    """Take a key's rights away for good; twice is a no-op. Its jobs stay as they are."""
    with conn.transaction():
        revoked = conn.execute(
            f"UPDATE api_keys SET revoked_at = now() WHERE name = %s AND revoked_at IS NULL RETURNING {_KEY}", (name,)
        ).fetchone()
        if revoked is not None:
            audit.record(conn, actor, "key.revoke", name, {"prefix": revoked["prefix"]})
            return Key(**revoked)
        row = conn.execute(f"SELECT {_KEY} FROM api_keys WHERE name = %s", (name,)).fetchone()
    if row is None:
        raise NotFound(f"there is no key named {name!r}")
    return Key(**row)


def set_budgets(conn: Connection, name: str, new: KeyBudgets, *, actor: str) -> Key:
    """Change what a key may spend; holds from the next call of a teacher on, also in jobs that run. Left out: no limit."""
    with conn.transaction():
        row = conn.execute(
            "UPDATE api_keys SET budget_usd = %(budget_usd)s, budget_usd_per_day = %(budget_usd_per_day)s"
            f" WHERE name = %(name)s RETURNING {_KEY}",
            new.model_dump() | {"name": name},
        ).fetchone()
        if row is None:
            raise NotFound(f"there is no key named {name!r}")
        budgets.set_caps_of_key(conn, name, new.budget_usd, new.budget_usd_per_day)
        audit.record(conn, actor, "key.budget", name, new.model_dump())
    return Key(**row)


async def find(conn: AsyncConnection, key: str) -> Caller | None:
    """Who sends this key; notes its use, at most once a minute. None: no such key, or revoked."""
    sha256 = sha256_of(key)
    row = await (await conn.execute(FIND, {"sha256": sha256})).fetchone()
    if row is None or not hmac.compare_digest(row["sha256"], sha256):
        return None
    return Caller(row["name"], frozenset(row["scopes"]), row["id"], row["jobs_per_hour"])


@dataclass(frozen=True)
class Known:
    """What keys there are in the table."""

    made: bool
    """Whether there ever was one: then nobody gets in without, also after the last was revoked."""
    valid: bool


def known(conn: Connection) -> Known:
    return Known(**_only(conn.execute(ANY).fetchone()))


async def known_async(conn: AsyncConnection) -> Known:
    """`known` for the event loop; the same statement."""
    return Known(**_only(await (await conn.execute(ANY)).fetchone()))


def _only(row: dict[str, Any] | None) -> dict[str, Any]:
    assert row is not None
    return row
