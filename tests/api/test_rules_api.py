from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from goldsmith.db import Connection
from tests.api.problems import problem
from tests.clustered import BRIDGE, NAME_YARN, SHORT, JobFactory, cluster, complete, measured, verified


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


@pytest.mark.parametrize(
    "path", ["clusters?job", "rules?job", "rules/export?job", "sessions?job", "quarantine?job", "routes?router"]
)
def test_a_wrong_job_is_answered_in_words(client: TestClient, path: str) -> None:
    for wrong in ("latest", "job:", f"dataset:{uuid4()}", f"job:{uuid4()}/rules.json"):
        answer = client.get(f"/v1/{path}={wrong}")
        problem(answer, 422, path.partition("?")[2], "must be the id of a job, as job:<id>")
        assert "^" not in answer.text


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


def test_what_was_won_is_what_the_newest_gate_of_each_clustering_says(
    client: TestClient, job: UUID, conn: Connection, job_factory: JobFactory
) -> None:
    """Two runs over the same sessions have clusters of the same ids; each shows its own, whatever its router came to."""
    again = cluster(conn, job_factory)
    verified(conn, job_factory, job, 1, ago_s=30, win_rate=0.9)
    newest = verified(conn, job_factory, job, 2, ago_s=20, win_rate=0.6, passed=False)
    none = {"win_rate": None, "interval": None, "adapter": None, "passed": False, "why": "no epoch won anything", "n_gate": 0}
    verified(conn, job_factory, again, 1, ago_s=10, **none)

    def won(of: UUID) -> list[dict[str, Any] | None]:
        return [one["won"] for one in client.get("/v1/clusters", params={"job": str(of)}).json()["clusters"]]

    assert won(job) == [
        {
            "job_id": str(newest),
            "adapter": "adapter:loom@2",
            "passed": False,
            "why": "",
            "win_rate": 0.6,
            "interval": [0.4, 0.6],
            "n": 20,
        },
        None,
    ]
    [first, _] = won(again)
    assert first is not None
    assert (first["adapter"], first["win_rate"], first["why"]) == (None, None, "no epoch won anything")


def test_the_gap_shown_is_the_one_that_the_router_was_made_with(
    client: TestClient, job: UUID, conn: Connection, job_factory: JobFactory
) -> None:
    """An ablation measures the gap by another method afterwards."""
    config, lite = {"clusters": f"job:{job}"}, [{"label": 0, "mu": 0.9, "decision": "reflective"}]
    gap = job_factory(kind="gap", config=config)
    complete(conn, gap, {"gap_method": "reranker", "clusters": [{"label": 0, "mu": 0.2, "decision": "primary"}]})
    complete(conn, job_factory(kind="gap", config=config), {"gap_method": "embedding", "clusters": lite})
    assert client.get("/v1/clusters").json()["clusters"][0]["gap"]["method"] == "embedding"
    complete(conn, job_factory(kind="router", config=config | {"gap": f"job:{gap}"}), {"clusters": []})
    assert client.get("/v1/clusters").json()["clusters"][0]["gap"]["method"] == "reranker"


def test_the_newest_ablation_of_a_clustering_is_named(
    client: TestClient, job: UUID, conn: Connection, job_factory: JobFactory
) -> None:
    assert client.get("/v1/clusters").json()["ablation"] is None
    for of in (job, cluster(conn, job_factory)):
        router = job_factory(kind="router", config={"clusters": f"job:{of}"})
        for said in ("no", "yes"):
            examined = job_factory(kind="ablation", config={"router": f"job:{router}"})
            complete(conn, examined, {"worth_it": f"{said}: {of}", "table": f"job:{examined}/ablation.md", "label": ""})
    found = client.get("/v1/clusters", params={"job": f"job:{job}"}).json()["ablation"]
    assert found["worth_it"] == f"yes: {job}"
    assert found["table"] == f"job:{found['job_id']}/ablation.md"


def test_a_uno_job_stands_for_its_clusters(client: TestClient, conn: Connection, job: UUID, job_factory: JobFactory) -> None:
    uno = job_factory(kind="uno", status="running")
    problem(client.get("/v1/clusters", params={"job": f"job:{uno}"}), 404, says="is a uno job and running")
    conn.execute("UPDATE jobs SET submitted_by = %s WHERE id = %s", (uno, job))
    cluster(conn, job_factory)
    assert client.get("/v1/clusters", params={"job": f"job:{uno}"}).json()["job_id"] == str(job)
    assert len(client.get("/v1/rules/export", params={"job": str(uno)}).json()) == 3


def test_where_nothing_was_clustered_that_is_said(client: TestClient, job_factory: JobFactory) -> None:
    assert client.get("/v1/rules").json() == {"rules": [], "next_cursor": None}
    problem(client.get("/v1/clusters"), 404, says="nothing was clustered yet")
    problem(client.get("/v1/rules/export"), 404, says="nothing was clustered yet")
    other = job_factory(kind="noop", status="running")
    problem(client.get("/v1/clusters", params={"job": f"job:{other}"}), 404, says="is a noop job and running")
    problem(client.get("/v1/clusters", params={"job": f"job:{uuid4()}"}), 404, says="does not exist")
