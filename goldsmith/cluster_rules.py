"""What the clusters teach: each rule once a cluster, with the sessions that it was learned from. Types and SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from goldsmith import audit, jobs
from goldsmith.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import psycopg

    from goldsmith.db import Connection

Status = Literal["active", "retired"]
EXAMPLES = 5


@dataclass(frozen=True)
class ClusterRule:
    ordinal: int
    """Position in its job, from 0: by label, and the most supported first."""
    label: int
    """Of its cluster."""
    rule: str
    support: int
    """Sessions of the cluster that taught it, in these words or in nearly these."""
    coverage: float
    """The share of the cluster's sessions that are its support."""
    session_ids: list[str]
    signals: list[str]
    """What each of these sessions was learned from."""
    configs: list[str]
    """The config of each of these sessions; empty where it had none."""
    rule_ordinals: list[int]
    """Those of the rules job's rules that it stands for."""
    status: Status = "active"
    """A retired rule reaches no dataset, and neither do those that it stands for."""

    def __post_init__(self) -> None:
        if not 1 <= self.support == len(self.session_ids) == len(self.signals) == len(self.configs):
            raise InvalidInput(
                f"the rule {self.ordinal} of cluster {self.label}: support {self.support} is no count of its sessions"
            )


_COLUMNS = [field.name for field in fields(ClusterRule)]

# Without the sessions of %(runs)s, once their clusters are without them; what only they taught is deleted before.
FORGET = """
UPDATE cluster_rules r SET support = cardinality(k.session_ids), session_ids = k.session_ids, signals = k.signals,
    configs = k.configs, coverage = cardinality(k.session_ids)::float / c.size
FROM clusters c, (
    SELECT r.id, array_agg(s ORDER BY n) AS session_ids, array_agg(signal ORDER BY n) AS signals,
        array_agg(config ORDER BY n) AS configs
    FROM cluster_rules r, unnest(r.session_ids, r.signals, r.configs) WITH ORDINALITY AS u (s, signal, config, n)
    WHERE r.session_ids && %(runs)s AND s <> ALL(%(runs)s) GROUP BY r.id
) AS k WHERE k.id = r.id AND c.job_id = r.job_id AND c.label = r.label
"""


def save(conn: psycopg.Connection[dict[str, Any]], job_id: UUID, attempt: int, rules: Sequence[ClusterRule]) -> None:
    """Replace all that the job saved."""
    with conn.transaction():
        conn.execute("DELETE FROM cluster_rules WHERE job_id = %s", (job_id,))
        with conn.cursor() as cursor, cursor.copy(f"COPY cluster_rules (job_id, {', '.join(_COLUMNS)}) FROM STDIN") as copy:
            for rule in rules:
                copy.write_row((job_id, *asdict(rule).values()))
        jobs.fence(conn, job_id, attempt)


def of_job(conn: psycopg.Connection[dict[str, Any]], job_id: UUID) -> Iterator[ClusterRule]:
    """In their order, retired ones too; nothing when the job saved none."""
    for row in conn.execute(f"SELECT {', '.join(_COLUMNS)} FROM cluster_rules WHERE job_id = %s ORDER BY ordinal", (job_id,)):
        yield ClusterRule(**row)


class Evidence(BaseModel):
    runs: int = Field(description="Sessions that taught it.")
    favorites: int = Field(description="Those of them that were marked as a favourite.")


class FoundRule(BaseModel):
    id: UUID
    job_id: UUID = Field(description="The cluster job.")
    cluster_id: str | None
    label: int
    rule: str
    support: int
    coverage: float = Field(description="Share of the cluster's sessions.")
    status: Status
    evidence: Evidence
    configs: list[str]
    input_pattern: str | None = Field(
        description="Words that the cluster's inputs share and others lack; null: there are none."
    )
    sessions: list[str] = Field(description=f"At most {EXAMPLES} of the sessions.")
    created_at: datetime


_FOUND = f"""
SELECT r.id, r.job_id, c.cluster_id, r.label, r.rule, r.support, r.coverage, r.status, r.created_at,
    r.session_ids[1:{EXAMPLES}] AS sessions, c.summary->>'input_pattern' AS input_pattern,
    array(SELECT DISTINCT config FROM unnest(r.configs) AS config WHERE config <> '' ORDER BY config) AS configs,
    json_build_object('runs', r.support, 'favorites', cardinality(array_positions(r.signals, 'favorite'))) AS evidence
FROM cluster_rules r JOIN clusters c ON c.job_id = r.job_id AND c.label = r.label
"""


def find(
    conn: Connection,
    *,
    search: str | None = None,
    job_id: UUID | None = None,
    cluster: str | None = None,
    label: int | None = None,
    config: str | None = None,
    status: Status | None = None,
    after: UUID | None = None,
    limit: int | None = 100,
) -> list[FoundRule]:
    """The newest clustering's first, in it by label and falling support. `search`: every word of it stands in the rule."""
    conditions: list[str] = []
    values: dict[str, Any] = {"limit": limit}
    for condition, name, value in (
        ("r.rule ILIKE ALL(%(search)s)", "search", [_like(word) for word in search.split()] if search else None),
        ("r.job_id = %(job)s", "job", job_id),
        ("c.cluster_id = %(cluster)s", "cluster", cluster),
        ("r.label = %(label)s", "label", label),
        ("%(config)s = ANY(r.configs)", "config", config),
        ("r.status = %(status)s", "status", status),
    ):
        if value is not None:
            conditions.append(condition)
            values[name] = value
    if after is not None:
        place = conn.execute("SELECT job_id, ordinal FROM cluster_rules WHERE id = %s", (after,)).fetchone()
        if place is None:
            message = "must be the next_cursor of a page; its rule is not there any more"
            raise InvalidInput(f"cursor {message}", errors=[{"field": "cursor", "value": str(after), "message": message}])
        conditions.append("(r.job_id < %(job_id)s OR r.job_id = %(job_id)s AND r.ordinal > %(ordinal)s)")
        values |= place
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = conn.execute(f"{_FOUND} {where} ORDER BY r.job_id DESC, r.ordinal LIMIT %(limit)s", values).fetchall()
    return [FoundRule.model_validate(row) for row in rows]


def _like(word: str) -> str:
    for sign in ("\\", "%", "_"):
        word = word.replace(sign, "\\" + sign)
    return f"%{word}%"


def get(conn: Connection, rule_id: UUID) -> FoundRule:
    row = conn.execute(f"{_FOUND} WHERE r.id = %s", (rule_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no rule {rule_id}")
    return FoundRule.model_validate(row)


class Example(BaseModel):
    session_id: str
    rule: str = Field(description="In the words that this session taught it in.")
    signal: str | None = Field(description="What it was learned from.")
    quote: str | None = Field(description="The place in the feedback that says so; null where nobody used words.")


def examples(conn: Connection, rule_id: UUID, limit: int = EXAMPLES) -> list[Example]:
    """What sessions said that taught the rule, in their order."""
    rows = conn.execute(
        "SELECT s.session_id, s.rule, s.evidence->>'signal' AS signal, s.evidence->>'quote' AS quote"
        " FROM cluster_rules r JOIN jobs j ON j.id = r.job_id"
        " JOIN rules s ON s.job_id = substr(j.config->>'rules', 5)::uuid AND s.ordinal = ANY(r.rule_ordinals)"
        " WHERE r.id = %s ORDER BY s.ordinal LIMIT %s",
        (rule_id, limit),
    ).fetchall()
    return [Example.model_validate(row) for row in rows]


def set_status(conn: Connection, rule_id: UUID, status: Status, *, actor: str) -> FoundRule:
    """Retire a rule, or take it back, with all that it stands for in its rules job. Twice is a no-op."""
    with conn.transaction():
        changed = conn.execute(
            "UPDATE cluster_rules r SET status = %s FROM jobs j WHERE j.id = r.job_id AND r.id = %s AND r.status <> %s"
            " RETURNING r.rule_ordinals, substr(j.config->>'rules', 5)::uuid AS rules",
            (status, rule_id, status),
        ).fetchone()
        if changed is not None:
            before, reason = ("active", f"retired by {actor}") if status == "retired" else ("retired", f"restored by {actor}")
            conn.execute(
                "UPDATE rules SET status = %s, reason = %s WHERE job_id = %s AND ordinal = ANY(%s) AND status = %s",
                (status, reason, changed["rules"], changed["rule_ordinals"], before),
            )
            audit.record(conn, actor, "rule.retire" if status == "retired" else "rule.restore", f"rule:{rule_id}")
        return get(conn, rule_id)
