"""What `goldsmith uno` says before there is anything to show."""

from __future__ import annotations

from collections.abc import Callable

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
