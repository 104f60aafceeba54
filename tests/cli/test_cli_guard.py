"""What a person reads of an experiment, and decides about its safety, on the command line and through the SDK below it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from typer.testing import Result

from goldsmith.cli import output
from goldsmith.db import Connection
from goldsmith.storage import Storage
from tests.ab_data import mixed
from tests.client.server import Api
from tests.experimenting import begin, register, write_units


def test_an_experiment_is_read_rolled_back_forced_on_and_not_promoted(
    goldsmith: Callable[..., Result], api: Api, conn: Connection, job_factory: Callable[..., UUID], tmp_path: Path
) -> None:
    register(conn, Storage(tmp_path / "storage"), job_factory(kind="train"), tmp_path / "trained", alias="challenger")
    experiment = begin(conn, "adapter:workshop@challenger")
    ref = str(experiment.id)
    write_units(conn, experiment.id, mixed({"base": 900, "lora": 100}, favorites=(0.2, 0.3), blocks=(0.02, 0.02)))
    shown = goldsmith("experiments", "report", ref)
    assert shown.exit_code == output.OK, shown.stderr
    said = " ".join(shown.stdout.split())
    assert "spring running" in said
    assert "Continue: No difference is proved yet" in said
    assert "Created" in said or "Started." in said
    assert json.loads(goldsmith("experiments", "report", ref, "--json").stdout)["look"]["events"] == 1000

    assert goldsmith("experiments", "rollback", ref).exit_code != output.OK, "a reason is needed"
    # the API runs in this process, and so does its log
    assert goldsmith("experiments", "rollback", ref, "-r", "Too [dark].").stdout.endswith("spring is rolled_back\n")
    assert goldsmith("experiments", "force", ref, "-r", "A [false] alarm.").stdout.endswith("spring is running\n")
    again = goldsmith("experiments", "report", ref)
    assert "Too [dark]." in again.stdout
    assert "decided to go on in spite of a guardrail: A [false] alarm." in " ".join(again.stdout.split())
    assert "local: A [false] alarm." in goldsmith("experiments", "show", ref).stdout
    refused = goldsmith("experiments", "promote", ref, "-r", "Go.")
    assert refused.exit_code != output.OK
    assert "there is no completed bias_audit job of adapter:workshop@1" in refused.stderr
