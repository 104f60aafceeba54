"""Rules are shown, searched, retired and exported: by the command line, and by the SDK below it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from goldsmith.cli import output
from goldsmith.client import Client
from goldsmith.db import Connection
from tests.client.server import Api
from tests.clustered import BRIDGE, NAME_YARN, SHORT, JobFactory, cluster, measured

Goldsmith = Callable[..., Result]


def test_clusters_are_shown_with_what_came_of_them(
    goldsmith: Goldsmith, api: Api, conn: Connection, job_factory: JobFactory
) -> None:
    nothing = goldsmith("rules", "show")
    assert nothing.exit_code == output.WRONG_INPUT
    assert "nothing was clustered yet" in nothing.stderr
    job = cluster(conn, job_factory)
    measured(conn, job_factory, job)
    shown = goldsmith("rules", "show")
    assert shown.exit_code == output.OK
    for text in (
        "c11111111",
        "wool, loom",
        "0.250, primary (reranker)",
        "primary: it passed",
        "75% of 20 (60% to 85%)",
        NAME_YARN,
        "s1, s2",
    ):
        assert text in shown.stdout, text
    one = goldsmith("rules", "show", "c22222222").stdout
    assert BRIDGE in one
    assert NAME_YARN not in one
    assert goldsmith("rules", "show", "c99999999").exit_code == output.WRONG_INPUT
    none = goldsmith("rules", "show", "--ablation")
    assert (none.exit_code, "`ablation=all` in a uno job makes one" in none.stderr) == (output.WRONG_INPUT, True)
    assert json.loads(goldsmith("rules", "show", "--job", f"job:{job}", "--json").stdout)["job_id"] == str(job)


def test_a_rule_is_found_retired_and_taken_back(
    goldsmith: Goldsmith, api: Api, conn: Connection, job_factory: JobFactory
) -> None:
    cluster(conn, job_factory)
    assert NAME_YARN in goldsmith("rules", "search", "garn").stdout
    [rule] = json.loads(goldsmith("rules", "search", "garn", "--json").stdout)
    assert goldsmith("rules", "retire", rule["id"]).stdout == f"retired: {NAME_YARN}\n"
    assert NAME_YARN not in goldsmith("rules", "search", "--status", "active").stdout
    assert goldsmith("rules", "restore", rule["id"]).stdout == f"active: {NAME_YARN}\n"
    assert "which yarn?" in goldsmith("rules", "show", rule["id"]).stdout
    assert goldsmith("rules", "retire", "no-id").exit_code == output.WRONG_INPUT
    with Client() as client:
        assert [one["rule"] for one in client.rules(limit=1)] == [NAME_YARN, SHORT, BRIDGE]


def test_rules_are_written_to_a_file(
    goldsmith: Goldsmith, api: Api, conn: Connection, job_factory: JobFactory, tmp_path: Path
) -> None:
    cluster(conn, job_factory)
    as_json, as_markdown = tmp_path / "rules.json", tmp_path / "rules.md"
    assert goldsmith("rules", "export", "--to", str(as_json)).exit_code == output.OK
    assert [one["rule"] for one in json.loads(as_json.read_text())] == [NAME_YARN, SHORT, BRIDGE]
    assert json.loads(goldsmith("rules", "export").stdout) == json.loads(as_json.read_text())
    assert goldsmith("rules", "export", "--to", str(as_markdown)).exit_code == output.OK
    assert as_markdown.read_text().startswith("# Rules of job:")
    assert goldsmith("rules", "export", "--markdown").stdout.startswith("# Rules of job:")


def test_an_id_is_never_folded_and_a_rule_is_shown_as_it_is(
    goldsmith: Goldsmith, api: Api, conn: Connection, job_factory: JobFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(conn, job_factory)
    conn.execute("UPDATE cluster_rules SET rule = 'Keep [bold] marks, and say so in many words that need a second line.'")
    ids = [str(row["id"]) for row in conn.execute("SELECT id FROM cluster_rules")]
    for width in ("80", "120"):
        monkeypatch.setenv("COLUMNS", width)
        shown = goldsmith("rules", "search", "marks").stdout
        assert all(one in shown for one in ids)
        assert "[bold]" in shown
