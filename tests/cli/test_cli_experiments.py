"""`goldsmith experiments …`: from a plan in a file to its end, against the real API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from goldsmith import adapters
from goldsmith.adapters import NewAdapter
from goldsmith.db import connect
from tests.client.server import Api

Goldsmith = Callable[..., Result]


@pytest.fixture
def plan(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a plan for an adapter that is there; returns the file's name."""
    monkeypatch.setenv("GOLDSMITH_URL", api.url)
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    with connect(api.database_url) as conn:
        job = conn.execute(
            "INSERT INTO jobs (kind, config, queue, timeout, status, attempt, worker, heartbeat_at, started_at)"
            " VALUES ('train', '{\"kind\": \"train\"}', 'cpu', 60, 'running', 1, 'test', now(), now()) RETURNING id"
        ).fetchone()
        assert job is not None
        adapters.register(
            conn, api.storage, job["id"], 1, NewAdapter("workshop", folder, "p", "b", "t", "c", "dataset:g@1", {})
        )
        adapters.approve(conn, api.storage, "workshop", 1, actor="anna")

    def write(**more: Any) -> str:
        arms = [{"name": "base"}, {"name": "lora", "adapter": "adapter:workshop@1", "model": "small-lora"}]
        path = tmp_path / "plan.json"
        path.write_text(json.dumps({"name": "spring", "arms": arms, "configs": ["bauhaus"]} | more))
        return str(path)

    return write


def ok(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_a_life_by_hand(goldsmith: Goldsmith, plan: Callable[..., str]) -> None:
    made = ok(goldsmith("experiments", "create", plan(ramp=[{"weights": {"lora": 0.1}}, {"weights": {"lora": 0.5}}]), "--json"))
    shown = goldsmith("experiments", "show", made["id"])
    assert all(text in shown.output for text in ("spring, version 1", "draft", "1 of 2", "10.00%", "at the start")), (
        shown.output
    )
    ok(goldsmith("experiments", "change", made["id"], plan(alpha=0.01), "--json"))
    started = ok(goldsmith("experiments", "start", made["id"], "--reason", "The week begins.", "--json"))
    assert (started["status"], started["plan"]["alpha"], len(started["plan_sha256"])) == ("running", 0.01, 64)
    assert ok(goldsmith("experiments", "pause", made["id"], "--json"))["status"] == "paused"
    assert ok(goldsmith("experiments", "resume", made["id"], "--json"))["status"] == "running"
    second = ok(goldsmith("experiments", "change", made["id"], plan(), "--json"))
    assert (second["version"], second["supersedes"]) == (2, made["id"])
    clash = goldsmith("experiments", "start", second["id"])
    assert clash.exit_code == 2
    assert "spring already runs on these configs: bauhaus" in clash.output
    listed = goldsmith("experiments", "list")
    assert "spring v2" in listed.output
    assert "spring v1" in listed.output
    retired = ok(goldsmith("adapters", "retire", "workshop@1", "--force", "--reason", "It swears.", "--json"))
    assert retired["adapter"]["status"] == "retired"
    held = goldsmith("experiments", "show", made["id"])
    assert "It swears." in held.output
    assert "adapter_retired" in held.output
    assert ok(goldsmith("experiments", "end", made["id"], "--reason", "Over.", "--json"))["status"] == "completed"
    assert ok(goldsmith("experiments", "delete", second["id"], "--json")) == {"deleted": second["id"]}
    assert ok(goldsmith("experiments", "list", "--status", "draft", "--json")) == []


def test_what_is_wrong_with_a_plan_is_said(goldsmith: Goldsmith, plan: Callable[..., str], tmp_path: Path) -> None:
    shrinking = goldsmith("experiments", "create", plan(ramp=[{"weights": {"lora": 0.5}}, {"weights": {"lora": 0.1}}]))
    assert shrinking.exit_code == 2
    assert "ramp.1.weights.lora: 0.1 is less than 0.5 of the step before" in " ".join(shrinking.output.split())
    (tmp_path / "broken.json").write_text("{")
    broken = goldsmith("experiments", "create", str(tmp_path / "broken.json"))
    assert broken.exit_code == 2
    assert "is not JSON" in broken.output
