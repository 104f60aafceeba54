"""What `goldsmith uno` says before there is anything to show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from goldsmith.cli import output
from tests.client.server import Api
from tests.clustered import JobFactory

Goldsmith = Callable[..., Result]


@pytest.mark.parametrize(("status", "says"), [("running", "has no plan yet: running"), ("failed", "has no plan: failed")])
def test_a_plan_that_is_not_there_is_told_with_the_jobs_state(
    goldsmith: Goldsmith, api: Api, job_factory: JobFactory, status: str, says: str
) -> None:
    job = job_factory(kind="uno", status=status)
    asked = goldsmith("uno", "plan", str(job))
    assert asked.exit_code == output.WRONG_INPUT
    assert says in asked.stderr


@pytest.mark.parametrize(("status", "says"), [("running", "has no router yet: running"), ("failed", "has no router: failed")])
def test_a_uno_job_without_a_router_says_so(
    goldsmith: Goldsmith, api: Api, job_factory: JobFactory, status: str, says: str
) -> None:
    asked = goldsmith("uno", "route", str(job_factory(kind="uno", status=status)), "What is this made of?")
    assert asked.exit_code == output.WRONG_INPUT
    assert says in asked.stderr


def test_a_base_model_that_cannot_be_there_is_refused_before_anything_is_paid(
    goldsmith: Goldsmith, api: Api, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"text": "a chair", "score": 1, "correction": "name the wood"}\n')
    asked = goldsmith(
        "uno", "run", str(log), "name=wood", "teacher=rehearsal", "budget_usd=1", "base_model=package:llm-nobody-made"
    )
    assert asked.exit_code == output.WRONG_INPUT
    assert "base_model: the package 'llm-nobody-made' is not installed" in asked.stderr
