from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from goldsmith import audit, cluster_rules
from goldsmith.cluster_rules import ClusterRule
from goldsmith.db import Connection
from goldsmith.errors import FencedOut, InvalidInput, NotFound
from goldsmith.rules import rules_of
from tests.clustered import BRIDGE, NAME_YARN, SHORT, JobFactory, cluster


@pytest.fixture
def clustered(conn: Connection, job_factory: JobFactory) -> UUID:
    return cluster(conn, job_factory)


def texts(found: list[cluster_rules.FoundRule]) -> list[str]:
    return [one.rule for one in found]


def test_they_come_back_as_they_were_saved_and_saving_again_replaces(conn: Connection, clustered: UUID) -> None:
    saved = list(cluster_rules.of_job(conn, clustered))
    assert [(one.rule, one.support, one.coverage, one.rule_ordinals) for one in saved] == [
        (NAME_YARN, 2, 1.0, [0, 1]),
        (SHORT, 1, 0.5, [2]),
        (BRIDGE, 1, 1.0, [3]),
    ]
    conn.execute("UPDATE jobs SET status = 'running', completed_at = NULL WHERE id = %s", (clustered,))
    cluster_rules.save(conn, clustered, 1, saved[:1])
    assert list(cluster_rules.of_job(conn, clustered)) == saved[:1]
    with pytest.raises(FencedOut):
        cluster_rules.save(conn, clustered, 2, saved)
    assert list(cluster_rules.of_job(conn, clustered)) == saved[:1]


def test_a_rule_has_as_many_sessions_as_it_says() -> None:
    with pytest.raises(InvalidInput, match="support 2 is no count"):
        ClusterRule(0, 0, BRIDGE, 2, 1.0, ["s1"], ["turns"], [""], [0])


def test_one_is_found_by_words_cluster_config_and_status(conn: Connection, clustered: UUID) -> None:
    def found(**asked: object) -> list[str]:
        return texts(cluster_rules.find(conn, job_id=clustered, **asked))  # type: ignore[arg-type]

    assert found() == [NAME_YARN, SHORT, BRIDGE]
    assert found(search="GARN nenne") == [NAME_YARN]
    assert found(search="garn bridge") == []
    assert found(search="50%") == [SHORT]
    assert found(search="%") == [SHORT]
    assert found(search="_") == []
    assert found(cluster="c22222222") == [BRIDGE]
    assert found(config="loom") == [NAME_YARN, SHORT]
    assert found(status="retired") == []


def test_one_says_what_speaks_for_it(conn: Connection, clustered: UUID) -> None:
    first = cluster_rules.find(conn, job_id=clustered)[0]
    assert first.evidence.model_dump() == {"runs": 2, "favorites": 1}
    assert (first.configs, first.sessions, first.cluster_id) == (["loom"], ["s1", "s2"], "c11111111")
    assert first.input_pattern == "wool, loom"
    assert cluster_rules.find(conn, cluster="c22222222")[0].configs == []
    assert [(one.session_id, one.rule, one.signal, one.quote) for one in cluster_rules.examples(conn, first.id)] == [
        ("s1", NAME_YARN, "turns", "which yarn?"),
        ("s2", "nenne das garn", "turns", "which yarn?"),
    ]


def test_pages_cover_all_clusterings_the_newest_first(conn: Connection, clustered: UUID, job_factory: JobFactory) -> None:
    newer = cluster(conn, job_factory)
    after, seen = None, []
    while page := cluster_rules.find(conn, after=after, limit=2):
        seen += [(one.job_id, one.rule) for one in page]
        after = page[-1].id
    assert seen == [(job, rule) for job in (newer, clustered) for rule in (NAME_YARN, SHORT, BRIDGE)]
    with pytest.raises(InvalidInput, match="cursor must be the next_cursor"):
        cluster_rules.find(conn, after=uuid4())


def test_a_retired_rule_takes_those_with_it_that_it_stands_for(conn: Connection, clustered: UUID) -> None:
    of_rules = conn.execute("SELECT substr(config->>'rules', 5)::uuid AS id FROM jobs WHERE id = %s", (clustered,)).fetchone()
    assert of_rules is not None
    yarn = cluster_rules.find(conn, search="Garn")[0]
    for _ in range(2):
        assert cluster_rules.set_status(conn, yarn.id, "retired", actor="ada").status == "retired"
    assert [rule.rule for rule in rules_of(conn, of_rules["id"])] == [SHORT, BRIDGE]
    assert texts(cluster_rules.find(conn, status="active")) == [SHORT, BRIDGE]
    assert cluster_rules.set_status(conn, yarn.id, "active", actor="ada").status == "active"
    assert len(list(rules_of(conn, of_rules["id"]))) == 4
    assert [(one.actor, one.action) for one in audit.entries(conn)] == [("ada", "rule.restore"), ("ada", "rule.retire")]
    with pytest.raises(NotFound, match="there is no rule"):
        cluster_rules.set_status(conn, uuid4(), "retired", actor="ada")


def test_taking_back_does_not_free_a_rule_from_quarantine(conn: Connection, clustered: UUID) -> None:
    conn.execute("UPDATE rules SET status = 'quarantined', reason = 'it commands' WHERE ordinal = 0")
    yarn = cluster_rules.find(conn, search="Garn")[0]
    cluster_rules.set_status(conn, yarn.id, "retired", actor="ada")
    cluster_rules.set_status(conn, yarn.id, "active", actor="ada")
    row = conn.execute("SELECT status, reason FROM rules WHERE ordinal = 0").fetchone()
    assert row == {"status": "quarantined", "reason": "it commands"}


def test_a_forgotten_session_supports_nothing(conn: Connection, clustered: UUID) -> None:
    conn.execute(cluster_rules.FORGET, {"runs": ["s1"]})
    first = next(cluster_rules.of_job(conn, clustered))
    assert first.coverage == 0.5
    assert (first.support, first.session_ids, first.signals, first.configs) == (1, ["s2"], ["turns"], ["loom"])
