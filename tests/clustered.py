"""A clustering in the database: three sessions in two clusters, and what they taught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from goldsmith import cluster_rules
from goldsmith.cluster_rules import ClusterRule
from goldsmith.db import Connection
from goldsmith.rules import Cluster, Rule, save_clusters, save_rules

JobFactory = Callable[..., UUID]

NAME_YARN, SHORT, BRIDGE = "Nenne das Garn.", "Keep it to 50% of the length.", "Show the bridge."
RESULT = {"encoder": "minilm", "space": "unit", "delta_sse_max": 8.0, "stability_ari": 0.9, "label": ""}


def cluster(conn: Connection, job_factory: JobFactory) -> UUID:
    of_rules = job_factory(kind="rules")
    learned = [("s1", "loom", NAME_YARN), ("s2", "loom", "nenne das garn"), ("s2", "loom", SHORT), ("s3", None, BRIDGE)]
    evidence = {"signal": "turns", "quote": "which yarn?"}
    save_rules(
        conn, of_rules, 1, [Rule(i, s, config, "de", "feedback", rule, evidence) for i, (s, config, rule) in enumerate(learned)]
    )
    job_id = job_factory(kind="cluster", config={"kind": "cluster", "rules": f"job:{of_rules}"})
    save_clusters(
        conn,
        job_id,
        1,
        [
            Cluster(0, 2, "active", ["s1", "s2"], {"input_pattern": "wool, loom", "configs": {"loom": 2}}, "c11111111"),
            Cluster(1, 1, "fallback", ["s3"], {}, "c22222222"),
        ],
    )
    cluster_rules.save(
        conn,
        job_id,
        1,
        [
            ClusterRule(0, 0, NAME_YARN, 2, 1.0, ["s1", "s2"], ["favorite", "turns"], ["loom", "loom"], [0, 1]),
            ClusterRule(1, 0, SHORT, 1, 0.5, ["s2"], ["turns"], ["loom"], [2]),
            ClusterRule(2, 1, BRIDGE, 1, 1.0, ["s3"], ["turns"], [""], [3]),
        ],
    )
    complete(conn, job_id, RESULT)
    return job_id


def complete(conn: Connection, job_id: UUID, result: dict[str, Any]) -> None:
    conn.execute(
        "UPDATE jobs SET status = 'completed', completed_at = now(), result = %s WHERE id = %s", (Jsonb(result), job_id)
    )


def measured(conn: Connection, job_factory: JobFactory, clusters: UUID) -> None:
    """What gap, router and verify jobs say of it, as far as it is read."""
    config = {"clusters": f"job:{clusters}"}
    gap = [{"label": 0, "mu": 0.25, "decision": "primary"}, {"label": 1, "mu": None, "decision": "fallback"}]
    complete(conn, job_factory(kind="gap", config=config), {"gap_method": "reranker", "clusters": gap})
    routes = [
        {"label": 0, "path": "primary", "why": "it passed", "expert": "adapter:loom@1", "critic": None},
        {"label": 1, "path": "base", "why": "too small", "expert": None, "critic": None},
    ]
    complete(conn, job_factory(kind="router", config=config), {"clusters": routes})
    won = {"adapter": "adapter:loom@1", "passed": True, "win_rate": 0.75, "interval": [0.6, 0.85], "n_gate": 20}
    complete(conn, job_factory(kind="verify"), won)


def verified(
    conn: Connection,
    job_factory: JobFactory,
    clusters: UUID,
    version: int,
    *,
    ago_s: int,
    cluster_id: str = "c11111111",
    **won: Any,
) -> UUID:
    """A gate of an expert that learned from this cluster, held so long ago."""
    manifest = {"config": {"clusters": f"job:{clusters}"}, "cluster": {"cluster_id": cluster_id}}
    name = f"loom-{str(clusters)[-8:]}-pairs"
    conn.execute("INSERT INTO datasets (name) VALUES (%s) ON CONFLICT DO NOTHING", (name,))
    conn.execute(
        "INSERT INTO dataset_versions (dataset_id, version, manifest, content_sha256)"
        " SELECT id, %s, %s, '' FROM datasets WHERE name = %s",
        (version, Jsonb(manifest), name),
    )
    told = {
        "adapter": f"adapter:loom@{version}",
        "passed": True,
        "win_rate": 0.5,
        "interval": [0.4, 0.6],
        "n_gate": 20,
        "why": "",
    }
    job_id = job_factory(kind="verify")
    complete(conn, job_id, told | {"dataset": f"dataset:{name}@{version}"} | won)
    conn.execute("UPDATE jobs SET completed_at = now() - make_interval(secs => %s) WHERE id = %s", (ago_s, job_id))
    return job_id
