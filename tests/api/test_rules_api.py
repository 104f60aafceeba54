from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from goldsmith.db import Connection
from tests.api.problems import problem
from tests.clustered import BRIDGE, NAME_YARN, SHORT, JobFactory, cluster, measured


@pytest.fixture
def job(conn: Connection, job_factory: JobFactory) -> UUID:
    return cluster(conn, job_factory)


def test_rules_come_in_pages_that_a_cursor_leads_through(client: TestClient, job: UUID) -> None:
    seen, cursor = [], None
    for _ in range(3):
        page = client.get("/v1/rules", params={"limit": 1} | ({"cursor": cursor} if cursor else {})).json()
        seen += [rule["rule"] for rule in page["rules"]]
        cursor = page["next_cursor"]
    assert (seen, cursor) == ([NAME_YARN, SHORT, BRIDGE], None)
    problem(client.get("/v1/rules", params={"cursor": str(uuid4())}), 422, "cursor", "must be the next_cursor")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"search": "garn"}, [NAME_YARN]),
        ({"search": "50%"}, [SHORT]),
        ({"cluster": "c22222222"}, [BRIDGE]),
        ({"config": "loom", "status": "active"}, [NAME_YARN, SHORT]),
        ({"status": "retired"}, []),
        ({"search": "a\0b"}, []),
    ],
)
def test_rules_are_searched(client: TestClient, job: UUID, asked: dict[str, str], found: list[str]) -> None:
    for params in (asked, asked | {"job": f"job:{job}"}, asked | {"job": str(job)}):
        assert [rule["rule"] for rule in client.get("/v1/rules", params=params).json()["rules"]] == found


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/rules?status=gone", "status"),
        ("/v1/rules?limit=0", "limit"),
        ("/v1/rules?search=", "search"),
        ("/v1/rules?words=a", "words"),
        ("/v1/clusters?job=latest", "job"),
        ("/v1/rules/export?format=xml", "format"),
        ("/v1/rules/first", "rule_id"),
    ],
)
def test_a_wrong_question_is_named(client: TestClient, path: str, field: str) -> None:
    problem(client.get(path), 422, field)


def test_a_rule_is_retired_and_taken_back(client: TestClient, job: UUID) -> None:
    rule = client.get("/v1/rules").json()["rules"][0]
    shown = client.get(f"/v1/rules/{rule['id']}").json()
    assert shown["rule"] == rule
    assert [(one["session_id"], one["quote"]) for one in shown["examples"]] == [("s1", "which yarn?"), ("s2", "which yarn?")]
    assert client.post(f"/v1/rules/{rule['id']}/retire").json() == rule | {"status": "retired"}
    assert [one["rule"] for one in client.get("/v1/rules/export").json()] == [SHORT, BRIDGE]
    assert client.post(f"/v1/rules/{rule['id']}/restore").json() == rule
    problem(client.post(f"/v1/rules/{uuid4()}/retire"), 404, says="there is no rule")


def test_rules_are_exported_in_their_layout_and_as_markdown(
    client: TestClient, job: UUID, conn: Connection, job_factory: JobFactory
) -> None:
    assert client.get("/v1/rules/export").json()[0] == {
        "rule": NAME_YARN,
        "evidence": {"runs": 2, "favorites": 1},
        "configs": ["loom"],
        "input_pattern": "wool, loom",
    }
    measured(conn, job_factory, job)
    answer = client.get("/v1/rules/export", params={"format": "markdown", "job": f"job:{job}"})
    assert answer.headers["content-type"].startswith("text/markdown")
    assert f"| {NAME_YARN} | 2 | 100% | 1 | loom |" in answer.text
    assert (
        "## Cluster c11111111\n\n2 sessions; inputs with wool, loom; gap 0.25 (primary); path primary: it passed;"
        in answer.text
    )


def test_clusters_say_what_came_of_them(client: TestClient, job: UUID, conn: Connection, job_factory: JobFactory) -> None:
    plain = client.get("/v1/clusters").json()
    assert (plain["job_id"], plain["encoder"], plain["space"], plain["stability_ari"]) == (str(job), "minilm", "unit", 0.9)
    first, second = plain["clusters"]
    assert (first["cluster_id"], first["size"], first["rules"], first["sessions"]) == ("c11111111", 2, 2, ["s1", "s2"])
    assert [rule["rule"] for rule in first["top_rules"]] == [NAME_YARN, SHORT]
    assert (first["gap"], first["route"], first["won"], second["status"]) == (None, None, None, "fallback")

    measured(conn, job_factory, job)
    first, second = client.get("/v1/clusters", params={"job": f"job:{job}"}).json()["clusters"]
    assert (first["gap"]["mu"], first["gap"]["decision"], first["gap"]["method"]) == (0.25, "primary", "reranker")
    assert (first["route"]["path"], first["route"]["expert"]) == ("primary", "adapter:loom@1")
    assert (first["won"]["win_rate"], first["won"]["interval"], first["won"]["n"]) == (0.75, [0.6, 0.85], 20)
    assert (second["route"]["path"], second["won"]) == ("base", None)


def test_where_nothing_was_clustered_that_is_said(client: TestClient, job_factory: JobFactory) -> None:
    assert client.get("/v1/rules").json() == {"rules": [], "next_cursor": None}
    problem(client.get("/v1/clusters"), 404, says="nothing was clustered yet")
    problem(client.get("/v1/rules/export"), 404, says="nothing was clustered yet")
    other = job_factory(kind="noop", status="running")
    problem(client.get("/v1/clusters", params={"job": f"job:{other}"}), 404, says="is a noop job and running")
    problem(client.get("/v1/clusters", params={"job": f"job:{uuid4()}"}), 404, says="does not exist")
