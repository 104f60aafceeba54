"""Rules, the requirements that a session teaches, and the clusters that sessions fall into.

Sessions are in `goldsmith.sessions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from goldsmith import jobs
from goldsmith.errors import InvalidInput

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class Rule:
    ordinal: int
    """Position in its job, from 0."""
    session_id: str
    """The run that it was learned from."""
    config_id: str | None
    language: str | None
    """Of the session's input."""
    origin: Literal["feedback", "model"]
    """`feedback`: from what the user changed; `model`: from the input alone, the teacher's own view of it."""
    rule: str
    """One sentence that says what to do; empty in the one row of a session that is kept although it taught nothing."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """`{"session", "signal", "quote", "weight", "rehearsal"}`, with `run_id` for an imported run; `quote` is a short piece of
    what the user wrote, and goes with the session."""
    status: Literal["active", "quarantined", "retired"] = "active"
    """Only active rules reach clusters, pairs and datasets."""
    reason: str | None = None
    """Why it is not active, or was not."""

    @property
    def empty(self) -> bool:
        return self.origin == "feedback" and self.rule == ""


@dataclass(frozen=True)
class Cluster:
    label: int
    size: int
    status: Literal["active", "fallback"]
    """`active`: large enough for an adapter of its own; `fallback`: the base model answers."""
    members: list[str]
    """Session ids."""
    summary: dict[str, Any] = field(default_factory=dict)
    cluster_id: str | None = None
    """What it is called in every clustering that finds it again; its label may change. None: from before there were such ids."""

    def __post_init__(self) -> None:
        if self.size != len(self.members) or not self.members:
            raise InvalidInput(
                f"cluster {self.label}: size {self.size}, members listed {len(self.members)}; equal, and at least 1"
            )


_COLUMNS = "ordinal, session_id, config_id, language, origin, rule, evidence, status, reason"


def save_rules(conn: psycopg.Connection[dict[str, Any]], job_id: UUID, attempt: int, rules: Sequence[Rule]) -> None:
    """Replace all rules of the job, so that a second attempt leaves no doubles."""
    with conn.transaction():
        conn.execute("DELETE FROM rules WHERE job_id = %s", (job_id,))
        with conn.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO rules (job_id, {_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    (
                        job_id,
                        r.ordinal,
                        r.session_id,
                        r.config_id,
                        r.language,
                        r.origin,
                        r.rule,
                        Jsonb(r.evidence),
                        r.status,
                        r.reason,
                    )
                    for r in rules
                ],
            )
        jobs.fence(conn, job_id, attempt)


def rules_of(conn: psycopg.Connection[dict[str, Any]], job_id: UUID) -> Iterator[Rule]:
    """The active rules that the job saved, in their order; nothing when it saved none."""
    for row in conn.execute(
        f"SELECT {_COLUMNS} FROM rules WHERE job_id = %s AND status = 'active' ORDER BY ordinal", (job_id,)
    ):
        yield Rule(**row)


def save_clusters(conn: psycopg.Connection[dict[str, Any]], job_id: UUID, attempt: int, clusters: Sequence[Cluster]) -> None:
    """Replace all clusters of the job."""
    with conn.transaction():
        conn.execute("DELETE FROM clusters WHERE job_id = %s", (job_id,))
        with conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO clusters (job_id, label, size, status, members, summary, cluster_id)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [(job_id, c.label, c.size, c.status, c.members, Jsonb(c.summary), c.cluster_id) for c in clusters],
            )
        jobs.fence(conn, job_id, attempt)


def clusters_of(conn: psycopg.Connection[dict[str, Any]], job_id: UUID) -> Iterator[Cluster]:
    """The clusters that the job saved, by label."""
    for row in conn.execute(
        "SELECT label, size, status, members, summary, cluster_id FROM clusters WHERE job_id = %s ORDER BY label", (job_id,)
    ):
        yield Cluster(**row)
