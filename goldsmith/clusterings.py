"""What came of a clustering, cluster by cluster: its rules, its gap, where its queries go, and what its adapter won."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from goldsmith import cluster_rules
from goldsmith.cluster_rules import FoundRule
from goldsmith.errors import NotFound

if TYPE_CHECKING:
    from goldsmith.db import Connection

TOP_RULES = 5
EXAMPLES = 5


class Gap(BaseModel):
    job_id: UUID
    method: str
    mu: float | None
    decision: str


class Route(BaseModel):
    job_id: UUID = Field(description="The router job.")
    path: str
    why: str
    expert: str | None
    critic: str | None


class Won(BaseModel):
    """What the cluster's expert won over the base model on held-out sessions."""

    job_id: UUID = Field(description="The verify job.")
    adapter: str | None = Field(
        description="The epoch that was chosen; null: none won anything, or too few sessions were held out."
    )
    passed: bool
    why: str = Field(description="In the gate's words.")
    win_rate: float | None
    interval: list[float] | None
    n: int


class ClusterView(BaseModel):
    cluster_id: str | None
    label: int
    size: int
    status: Literal["active", "fallback"]
    input_pattern: str | None = Field(description="Words that its inputs share and others lack.")
    configs: dict[str, int]
    languages: dict[str, int]
    rules: int = Field(description="Active ones, each once.")
    top_rules: list[FoundRule] = Field(description=f"The {TOP_RULES} most supported.")
    sessions: list[str] = Field(description=f"At most {EXAMPLES} of them.")
    gap: Gap | None = Field(
        description="By the gap job of the newest router of this clustering, else by its newest one; null: none was measured."
    )
    route: Route | None = Field(description="By its newest router; null: there is none.")
    won: Won | None = Field(
        description="By the newest verification of an expert that learned from this cluster, or that the router sends it to; null:"
        " none was held."
    )


class Ablation(BaseModel):
    """Whether all of it was worth it."""

    job_id: UUID = Field(description="The ablation job.")
    router: str = Field(description="The router that was examined, `job:<id>`.")
    worth_it: str
    table: str = Field(description="The artifact with the table.")
    label: str


class Clustering(BaseModel):
    job_id: UUID
    encoder: str | None
    space: str | None
    delta_sse_max: float | None
    stability_ari: float | None
    label: str = Field(description="REHEARSAL when a rehearsal teacher wrote the rules.")
    ablation: Ablation | None = Field(description="The newest that examined a router of this clustering; null: there is none.")
    clusters: list[ClusterView]


def newest(conn: Connection) -> UUID:
    """The newest completed cluster job; raises `NotFound` when there is none."""
    row = conn.execute(
        "SELECT id FROM jobs WHERE kind = 'cluster' AND status = 'completed' ORDER BY completed_at DESC, id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise NotFound("nothing was clustered yet: submit a job of kind cluster")
    found: UUID = row["id"]
    return found


def find(conn: Connection, job_id: UUID | None) -> UUID:
    """The cluster job that is meant: itself, that of a uno job, or without one the newest. Raises `NotFound`."""
    if job_id is None:
        return newest(conn)
    row = conn.execute(
        "SELECT c.id FROM jobs u JOIN jobs c ON c.submitted_by = u.id WHERE u.id = %s AND u.kind = 'uno' AND c.kind = 'cluster'",
        (job_id,),
    ).fetchone()
    return row["id"] if row else job_id


def get(conn: Connection, job_id: UUID) -> Clustering:
    """Raises `NotFound` when it is no cluster job that has ended well."""
    job = conn.execute("SELECT kind, status, result FROM jobs WHERE id = %s", (job_id,)).fetchone()
    if job is None or job["kind"] != "cluster" or job["status"] != "completed":
        what = "does not exist" if job is None else f"is a {job['kind']} job and {job['status']}"
        raise NotFound(f"job:{job_id} {what}; a completed cluster job is wanted")
    router_id, router, asked = _newest(conn, "router", job_id)
    gap_id, gap, _ = _newest(conn, "gap", job_id, asked.get("gap"))
    gaps = {one["label"]: one for one in gap.get("clusters", [])}
    routes = {one["label"]: one for one in router.get("clusters", [])}
    won = _won(conn, job_id, [one["expert"] for one in routes.values() if one.get("expert")])
    clusters = []
    rows = conn.execute(
        f"SELECT label, cluster_id, size, status, summary, members[1:{EXAMPLES}] AS sessions,"
        " (SELECT count(*) FROM cluster_rules r WHERE r.job_id = c.job_id AND r.label = c.label AND r.status = 'active') AS rules"
        " FROM clusters c WHERE job_id = %s ORDER BY label",
        (job_id,),
    ).fetchall()
    for row in rows:
        summary = row.pop("summary")
        measured, route = gaps.get(row["label"]), routes.get(row["label"])
        clusters.append(
            ClusterView(
                **row,
                input_pattern=summary.get("input_pattern"),
                configs=summary.get("configs", {}),
                languages=summary.get("languages", {}),
                top_rules=cluster_rules.find(conn, job_id=job_id, label=row["label"], status="active", limit=TOP_RULES),
                gap=measured and Gap(job_id=gap_id, method=gap["gap_method"], mu=measured["mu"], decision=measured["decision"]),
                route=route and Route(job_id=router_id, **{name: route[name] for name in ("path", "why", "expert", "critic")}),
                won=_newer(won.get(row["cluster_id"]), won.get(route["expert"]) if route else None),
            )
        )
    told = job["result"] or {}
    return Clustering(
        job_id=job_id,
        **{name: told.get(name) for name in ("encoder", "space", "delta_sse_max", "stability_ari")},
        label=told.get("label", ""),
        ablation=_ablation(conn, job_id),
        clusters=clusters,
    )


def _newest(
    conn: Connection, kind: str, clusters: UUID, wanted: str | None = None
) -> tuple[UUID, dict[str, Any], dict[str, Any]]:
    """Id, result and config of the job that is `wanted`, else of the newest of this clustering; of none, empty."""
    row = conn.execute(
        "SELECT id, result, config FROM jobs WHERE kind = %(kind)s AND status = 'completed' AND config->>'clusters' = %(clusters)s"
        " ORDER BY 'job:' || id = %(wanted)s DESC NULLS LAST, completed_at DESC, id DESC LIMIT 1",
        {"kind": kind, "clusters": f"job:{clusters}", "wanted": wanted},
    ).fetchone()
    return (row["id"], row["result"], row["config"]) if row else (clusters, {}, {})


Held = tuple[datetime, Won]

# What an expert learned from says which clustering it is of.
VERIFIED = """
SELECT j.id, j.completed_at, j.result, v.manifest->'cluster'->>'cluster_id' AS cluster_id,
    v.manifest->'config'->>'clusters' = %(clusters)s AS learned_here
FROM jobs j LEFT JOIN (dataset_versions v JOIN datasets d ON d.id = v.dataset_id)
    ON j.result->>'dataset' = format('dataset:%%s@%%s', d.name, v.version)
WHERE j.kind = 'verify' AND j.status = 'completed'
    AND (v.manifest->'config'->>'clusters' = %(clusters)s OR j.result->>'adapter' = ANY(%(experts)s))
ORDER BY j.completed_at, j.id
"""


def _won(conn: Connection, clusters: UUID, experts: list[str]) -> dict[str, Held]:
    """The newest by cluster id, of what learned from this clustering, and by adapter."""
    found: dict[str, Held] = {}
    for row in conn.execute(VERIFIED, {"clusters": f"job:{clusters}", "experts": experts}):
        told = row["result"]
        won = Won(
            job_id=row["id"],
            n=told["n_gate"],
            why=told.get("why", ""),
            **{name: told[name] for name in ("adapter", "passed", "win_rate", "interval")},
        )
        keys = (row["cluster_id"] if row["learned_here"] else None, told["adapter"])
        found |= {key: (row["completed_at"], won) for key in keys if key}
    return found


def _newer(one: Held | None, other: Held | None) -> Won | None:
    held = max((each for each in (one, other) if each), key=lambda each: each[0], default=None)
    return held[1] if held else None


def _ablation(conn: Connection, clusters: UUID) -> Ablation | None:
    row = conn.execute(
        "SELECT a.id, a.config, a.result FROM jobs a JOIN jobs r ON a.config->>'router' = 'job:' || r.id"
        " WHERE a.kind = 'ablation' AND a.status = 'completed' AND r.kind = 'router' AND r.config->>'clusters' = %s"
        " ORDER BY a.completed_at DESC, a.id DESC LIMIT 1",
        (f"job:{clusters}",),
    ).fetchone()
    if row is None:
        return None
    told = {name: row["result"][name] for name in ("worth_it", "table", "label")}
    return Ablation(job_id=row["id"], router=row["config"]["router"], **told)


# -- for other programs, and for people

Format = Literal["json", "markdown"]


def as_list(rules: list[FoundRule]) -> list[dict[str, Any]]:
    """`{rule, evidence{runs, favorites}, configs[], input_pattern}` for each."""
    return [one.model_dump(include={"rule", "evidence", "configs", "input_pattern"}) for one in rules]


def as_markdown(found: Clustering, rules: list[FoundRule]) -> str:
    lines = [f"# Rules of job:{found.job_id}", ""]
    if found.label:
        lines += [f"**{found.label}**: a rehearsal teacher wrote these rules.", ""]
    for cluster in found.clusters:
        mine = [rule for rule in rules if rule.label == cluster.label]
        if not mine:
            continue
        lines += [f"## Cluster {cluster.cluster_id or cluster.label}", ""]
        lines += [
            f"{_said(cluster)}.",
            "",
            "| rule | sessions | share | favourites | configs |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {_cell(rule.rule)} | {rule.support} | {rule.coverage:.0%} | {rule.evidence.favorites} | {_cell(', '.join(rule.configs))} |"
            for rule in mine
        ]
        lines.append("")
    return "\n".join(lines)


def _said(cluster: ClusterView) -> str:
    parts = [f"{cluster.size} sessions"]
    if cluster.input_pattern:
        parts.append(f"inputs with {cluster.input_pattern}")
    if cluster.gap:
        mu = "" if cluster.gap.mu is None else f" {cluster.gap.mu:.2f}"
        parts.append(f"gap{mu} ({cluster.gap.decision})")
    if cluster.status == "fallback":
        parts.append("too small for an adapter")
    if cluster.route:
        parts.append(f"path {cluster.route.path}: {cluster.route.why}")
    if cluster.won and cluster.won.win_rate is not None:
        parts.append(f"{cluster.won.adapter} won {cluster.won.win_rate:.0%} of {cluster.won.n} over the base model")
    return "; ".join(parts)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
