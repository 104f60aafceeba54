"""Where an adapter or a dataset comes from: adapters, dataset versions, jobs, what teachers cost, recorded runs. One query."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from goldsmith import adapters, datasets
from goldsmith.errors import InvalidInput

if TYPE_CHECKING:
    from goldsmith.db import Connection


class TeacherCalls(BaseModel):
    """The settled calls of one job to one model; what was bought earlier and used again costs nothing here."""

    model_config = ConfigDict(frozen=True)

    provider: str
    model: str
    rehearsal: bool
    calls: int
    usd: float
    input_tokens: int
    output_tokens: int


class Runs(BaseModel):
    """What an import recorded."""

    model_config = ConfigDict(frozen=True)

    runs: int
    may_train: int
    devices: int
    ids: list[str] | None = Field(None, description="The runs' ids, where they were asked for.")


class Node(BaseModel):
    """One thing and what it was made from. What two things were made from stands below each of them."""

    ref: str
    kind: Literal["adapter", "dataset", "job", "upload", "missing"] = Field(description="`missing`: it was removed since.")
    job: str | None = Field(None, description="The job that made it, `job:<id>`.")
    job_kind: str | None = None
    about: dict[str, Any] = {}
    rehearsal: bool = False
    erased_rows: int = 0
    erased_at: datetime | None = None
    teacher: list[TeacherCalls] = []
    runs: Runs | None = None
    made_from: list[Node] = []


class Lineage(BaseModel):
    root: Node
    datasets: list[str] = Field(description="Every dataset version in it, the nearest first.")
    calls: int = Field(description="Of all teachers, each job counted once.")
    usd: float
    runs: int = Field(description="Imported runs, each import counted once.")
    erased: list[str] = Field(description="What descends from data that was erased since.")


# `names`: every way to write a reference to it. `up`: each thing below the thing that was made from it.
LINEAGE = """
WITH RECURSIVE thing (ref, kind, names, job_id, parents, rehearsal, erased_rows, erased_at, about) AS (
    SELECT format('adapter:%%s@%%s', a.name, v.version), 'adapter',
        ARRAY[format('adapter:%%s@%%s', a.name, v.version)] || (
            SELECT coalesce(array_agg(format('adapter:%%s@%%s', a.name, alias)), '{}')
            FROM adapter_aliases WHERE version_id = v.id
        ),
        v.job_id, CASE WHEN cardinality(v.parents) > 0 THEN v.parents ELSE ARRAY[v.dataset] END,
        v.rehearsal, v.erased_rows, v.erased_at,
        jsonb_build_object(
            'status', v.status, 'base_model', v.base_model, 'base_revision', v.base_revision, 'role', v.method->>'role'
        )
    FROM adapter_versions v JOIN adapters a ON a.id = v.adapter_id
    UNION ALL
    SELECT format('dataset:%%s@%%s', d.name, v.version), 'dataset',
        ARRAY[format('dataset:%%s@%%s', d.name, v.version)] || CASE
            WHEN v.version = max(v.version) OVER (PARTITION BY d.id) THEN ARRAY[format('dataset:%%s@latest', d.name)]
        END,
        v.job_id, v.parents, v.rehearsal, v.erased_rows, v.erased_at,
        jsonb_build_object('counts', v.counts, 'content_sha256', v.content_sha256)
    FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id
), up (ref, child, depth) AS (
    SELECT ref, NULL::text, 0 FROM thing WHERE %(ref)s = ANY(names)
    UNION
    SELECT split_part(parent, '/', 1), thing.ref, depth + 1
    FROM up JOIN thing USING (ref), unnest(thing.parents) AS parent WHERE depth < 64
)
SELECT DISTINCT ON (up.depth, up.child, up.ref) up.ref, up.child, up.depth, coalesce(
        thing.kind, CASE WHEN job.id IS NOT NULL THEN 'job' WHEN upload.id IS NOT NULL THEN 'upload' ELSE 'missing' END
    ) AS kind, job.id AS job_id, job.kind AS job_kind, coalesce(thing.rehearsal, false) AS rehearsal,
    coalesce(thing.erased_rows, 0) AS erased_rows, thing.erased_at,
    coalesce(thing.about, CASE
        WHEN upload.id IS NOT NULL THEN jsonb_build_object('name', upload.name, 'origin', upload.origin, 'rows', upload.about->'rows')
        WHEN job.id IS NOT NULL THEN jsonb_build_object('status', job.status)
        ELSE '{}'
    END) AS about, teacher.calls, recorded.runs
FROM up LEFT JOIN thing USING (ref)
LEFT JOIN jobs job ON job.id = coalesce(thing.job_id, CASE WHEN up.ref LIKE 'job:%%' THEN substr(up.ref, 5)::uuid END)
LEFT JOIN uploads upload ON upload.id = CASE WHEN up.ref LIKE 'upload:%%' THEN substr(up.ref, 8)::uuid END
LEFT JOIN LATERAL (
    SELECT jsonb_agg(per_model) AS calls FROM (
        SELECT provider, model, rehearsal, count(*) AS calls, sum(cost_usd) AS usd,
            coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(output_tokens), 0) AS output_tokens
        FROM teacher_calls WHERE job_id = job.id AND status = 'settled'
        GROUP BY provider, model, rehearsal ORDER BY provider, model
    ) AS per_model
) AS teacher ON true
LEFT JOIN LATERAL (
    SELECT jsonb_build_object(
        'runs', count(*), 'may_train', count(*) FILTER (WHERE may_train), 'devices', count(DISTINCT device_id),
        'ids', CASE WHEN %(ids)s THEN jsonb_agg(run_id ORDER BY run_id) END
    ) AS runs
    FROM runs WHERE job_id = job.id OR id IN (SELECT run_id FROM run_imports WHERE run_imports.job_id = job.id)
) AS recorded ON job.kind = 'import'
ORDER BY up.depth, up.child NULLS FIRST, up.ref
"""


def of(conn: Connection, ref: str, *, ids: bool = False) -> Lineage:
    """Of `adapter:<name>@<version or alias>` or `dataset:<name>@<version or latest>`; raises as those do where there is none.

    `ids`: with the ids of the imported runs.
    """
    rows = conn.execute(LINEAGE, {"ref": ref, "ids": ids}).fetchall()
    if not rows:
        _refuse(conn, ref)
    nodes: dict[str, Node] = {}
    children: dict[str, list[str]] = {}
    for row in rows:
        nodes.setdefault(row["ref"], _node(row))
        if row["child"] is not None and row["ref"] not in children.setdefault(row["child"], []):
            children[row["child"]].append(row["ref"])
    bought = {node.job: node.teacher for node in nodes.values() if node.job is not None}
    calls = [one for each in bought.values() for one in each]
    recorded = [node.runs.runs for node in nodes.values() if node.kind == "job" and node.runs is not None]
    return Lineage(
        root=_tree(rows[0]["ref"], nodes, children),
        datasets=[node.ref for node in nodes.values() if node.kind == "dataset"],
        calls=sum(one.calls for one in calls),
        usd=sum(one.usd for one in calls),
        runs=sum(recorded),
        erased=[node.ref for node in nodes.values() if node.erased_at is not None],
    )


def _refuse(conn: Connection, ref: str) -> None:
    if ref.startswith("dataset:"):
        datasets.get(conn, *datasets.parse_ref(ref))
    elif ref.startswith("adapter:"):
        adapters.resolve(conn, ref)
    raise InvalidInput(f"{ref!r} has no lineage; write adapter:<name>@<version or alias> or dataset:<name>@<version>")


def _node(row: dict[str, Any]) -> Node:
    same = {name: row[name] for name in ("ref", "kind", "job_kind", "about", "rehearsal", "erased_rows", "erased_at", "runs")}
    return Node(**same, job=f"job:{row['job_id']}" if row["job_id"] else None, teacher=row["calls"] or [])


def _tree(ref: str, nodes: dict[str, Node], children: dict[str, list[str]]) -> Node:
    return nodes[ref].model_copy(update={"made_from": [_tree(one, nodes, children) for one in children.get(ref, [])]})
