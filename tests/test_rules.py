from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from goldsmith.db import Connection
from goldsmith.errors import FencedOut, InvalidInput
from goldsmith.rules import Cluster, Rule, clusters_of, rules_of, save_clusters, save_rules

JobFactory = Callable[..., UUID]
RULES = [
    Rule(0, "run_1", "loom", "de", "feedback", "Nenne das Garn.", {"run_id": "run_1", "signal": "user_edit"}),
    Rule(1, "run_2", None, None, "model", "Show the bridge.", {"run_id": "run_2", "signal": "none"}),
]
CLUSTERS = [Cluster(0, 2, "active", ["run_1", "run_2"], {"words": ["Garn"]}), Cluster(1, 1, "fallback", ["run_3"])]


def test_rules_come_back_as_they_were_saved(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory(kind="rules")
    save_rules(conn, job_id, 1, RULES)
    assert list(rules_of(conn, job_id)) == RULES
    assert list(rules_of(conn, job_factory())) == []


def test_clusters_come_back_as_they_were_saved(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory(kind="cluster")
    save_clusters(conn, job_id, 1, CLUSTERS)
    assert list(clusters_of(conn, job_id)) == CLUSTERS


def test_saving_again_replaces(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory(kind="rules", attempt=2)
    save_rules(conn, job_id, 2, RULES)
    save_rules(conn, job_id, 2, RULES[:1])
    save_clusters(conn, job_id, 2, CLUSTERS)
    save_clusters(conn, job_id, 2, CLUSTERS[1:])
    assert list(rules_of(conn, job_id)) == RULES[:1]
    assert list(clusters_of(conn, job_id)) == CLUSTERS[1:]


def test_an_attempt_that_was_given_up_writes_nothing(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory(kind="rules", attempt=2)
    save_rules(conn, job_id, 2, RULES)
    with pytest.raises(FencedOut):
        save_rules(conn, job_id, 1, [])
    with pytest.raises(FencedOut):
        save_clusters(conn, job_id, 1, CLUSTERS)
    assert list(rules_of(conn, job_id)) == RULES
    assert list(clusters_of(conn, job_id)) == []


def test_a_cluster_has_as_many_members_as_it_says() -> None:
    with pytest.raises(InvalidInput, match="size 2"):
        Cluster(0, 2, "active", ["run_1"])
    with pytest.raises(InvalidInput, match="at least 1"):
        Cluster(0, 0, "active", [])
