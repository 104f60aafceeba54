"""What came of a clustering, cluster by cluster: its rules, its gap, where its queries go, and what its adapter won."""

from __future__ import annotations

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
    adapter: str
    passed: bool
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
    gap: Gap | None = Field(description="By the newest gap job of this clustering; null: none was measured.")
    route: Route | None = Field(description="By its newest router; null: there is none.")
    won: Won | None = Field(description="By the newest verification of the router's expert; null: none was held.")


class Clustering(BaseModel):
    job_id: UUID
    encoder: str | None
    space: str | None
    delta_sse_max: float | None
    stability_ari: float | None
    label: str = Field(description="REHEARSAL when a rehearsal teacher wrote the rules.")
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


def get(conn: Connection, job_id: UUID) -> Clustering:
    """Raises `NotFound` when it is no cluster job that has ended well."""
    job = conn.execute("SELECT kind, status, result FROM jobs WHERE id = %s", (job_id,)).fetchone()
    if job is None or job["kind"] != "cluster" or job["status"] != "completed":
        what = "does not exist" if job is None else f"is a {job['kind']} job and {job['status']}"
        raise NotFound(f"job:{job_id} {what}; a completed cluster job is wanted")
    gap_id, gap = _newest_result(conn, "gap", job_id)
    router_id, router = _newest_result(conn, "router", job_id)
    gaps = {one["label"]: one for one in gap.get("clusters", [])}
    routes = {one["label"]: one for one in router.get("clusters", [])}
    won = _won(conn, [one["expert"] for one in routes.values() if one.get("expert")])
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
                won=won.get(route["expert"]) if route else None,
            )
        )
    told = job["result"] or {}
    return Clustering(
        job_id=job_id,
        **{name: told.get(name) for name in ("encoder", "space", "delta_sse_max", "stability_ari")},
        label=told.get("label", ""),
        clusters=clusters,
    )


def _newest_result(conn: Connection, kind: str, clusters: UUID) -> tuple[UUID, dict[str, Any]]:
    row = conn.execute(
        "SELECT id, result FROM jobs WHERE kind = %s AND status = 'completed' AND config->>'clusters' = %s"
        " ORDER BY completed_at DESC, id DESC LIMIT 1",
        (kind, f"job:{clusters}"),
    ).fetchone()
    return (row["id"], row["result"]) if row else (clusters, {})


def _won(conn: Connection, experts: list[str]) -> dict[str, Won]:
    rows = conn.execute(
        "SELECT DISTINCT ON (result->>'adapter') id, result FROM jobs WHERE kind = 'verify' AND status = 'completed'"
        " AND result->>'adapter' = ANY(%s) ORDER BY result->>'adapter', completed_at DESC",
        (experts,),
    ).fetchall()
    return {
        row["result"]["adapter"]: Won(
            job_id=row["id"],
            n=row["result"]["n_gate"],
            **{name: row["result"][name] for name in ("adapter", "passed", "win_rate", "interval")},
        )
        for row in rows
    }


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
