"""What an evaluation found, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from starlette.testclient import TestClient
from typer.testing import CliRunner

from goldsmith.cli import evaluations
from goldsmith.cli.app import app
from tests.api.test_datasets_api import Through
from tests.kinds.evaluate.test_scoring import evaluated, exam, right, wrong


def test_the_command_shows_every_scorer_and_why(
    client: TestClient, job_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluations, "connect", lambda: Through(client))

    def said(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["evaluations", *arguments], env={"COLUMNS": "160"})
        assert result.exit_code == code, result.output
        return result.output

    result = evaluated(exam(tmp_path, {None: right, "lora": wrong})).model_dump(mode="json")
    job = job_factory(kind="evaluate", status="completed", result=Jsonb(result))
    before = {"adapter": "adapter:old@1", "dataset": "dataset:gold@1", "verdict": "wins"}  # of before there was a `passed`
    job_factory(kind="evaluate", status="completed", result=Jsonb(before))
    other = job_factory(kind="gold", status="completed", result=Jsonb({}))

    shown = said("show", f"job:{job}")
    assert "lora beside base: loses" in shown
    assert "not passed: worse than base by exact" in " ".join(shown.split())
    assert json.loads(said("show", str(job), "--json"))["passed"] is False
    listed = json.loads(said("list", "--json"))
    assert [(one["adapter"], one["passed"]) for one in listed] == [("adapter:old@1", None), ("adapter:lora@1", False)]
    said("show", str(other), code=2)
