"""What is told before, held against what the metering teacher billed after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from bench.metering import MeteringServer
from goldsmith import datasets, estimates
from goldsmith.datasets import Example
from goldsmith.db import Connection, Database
from goldsmith.errors import GoldsmithError, InvalidInput, Requeue
from goldsmith.judge import rubric
from goldsmith.keys import LOCAL
from goldsmith.kinds.gold.run import run
from goldsmith.kinds.gold.schema import GoldConfig, JudgeConfig
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from goldsmith.teacher import open_teacher
from tests.api.conftest import Serve, serve  # noqa: F401
from tests.fakes import FakeContext
from tests.kinds.gold.conftest import each_answer_is_checked_once  # noqa: F401
from tests.kinds.gold.test_gold import BASE, corpus
from tests.kinds.gold.test_gold_batches import long_prompts

JUDGE = {"samples": 1, "drop": False}


@pytest.fixture
def server() -> Iterator[MeteringServer]:
    with MeteringServer(batch_s=0.05) as server:
        yield server


@pytest.fixture
def corpora(conn: Connection, tmp_path: Path, job_factory: Callable[..., UUID]) -> None:
    job_id = job_factory(kind="corpus")
    for name, rows in (
        ("prompts", corpus()),
        ("long", long_prompts()),
        ("few", corpus()[:24]),
        ("few_long", long_prompts()[:24]),
    ):
        datasets.save_version(conn, Storage(tmp_path), job_id, 1, name, rows, manifest={}, parents=[], rehearsal=False)


def bill_of(
    conn: Connection,
    database: Database,
    server: MeteringServer,
    tmp_path: Path,
    rows: list[Example],
    job_id: UUID,
    config: GoldConfig,
) -> float:
    """Runs the job to its end; returns what the teacher billed."""
    before = server.report()["usd"]
    attempt, end = 1, time.monotonic() + 120
    while time.monotonic() < end:
        ctx = FakeContext(tmp_path, job_id=job_id, kind="gold", attempt=attempt)
        ctx.save_dataset(config.dataset.partition(":")[2].partition("@")[0], rows, manifest={}, parents=[], rehearsal=False)
        ctx.teacher_factory = lambda provider, attempt=attempt, **more: open_teacher(
            database, settings=Settings(rehearsal_url=server.url), job_id=job_id, attempt=attempt, provider=provider, **more
        )
        try:
            asyncio.run(run(config, ctx))
            return float(server.report()["usd"] - before)
        except Requeue:
            conn.execute("UPDATE jobs SET attempt = attempt + 1 WHERE id = %s", (job_id,))
            attempt += 1
            time.sleep(0.02)
    raise AssertionError("no result within 120 s")


@pytest.mark.parametrize(
    ("name", "batch", "near_duplicate"),
    [("prompts", None, None), ("prompts", False, None), ("long", None, None), ("long", False, None), ("prompts", False, 0.8)],
)
def test_an_estimate_is_within_a_tenth_of_the_bill(
    conn: Connection,
    database: Database,
    server: MeteringServer,
    tmp_path: Path,
    corpora: None,
    job_factory: Callable[..., UUID],
    name: str,
    batch: bool | None,
    near_duplicate: float | None,
) -> None:
    change = {"dataset": f"dataset:{name}@1", "batch": batch, "budget_usd": 20.0, "near_duplicate": near_duplicate}
    config = GoldConfig(**{**BASE, **change})
    told = estimates.estimate(conn, Settings(rehearsal_url=server.url), config, LOCAL)
    assert server.report()["usd"] == 0
    long = name == "long"
    assert (
        told.mode
        == {(None, False): "batch", (None, True): "batch_cached", (False, False): "direct", (False, True): "cached"}[
            batch, long
        ]
    )
    rows = long_prompts() if long else corpus()
    job_id = job_factory(kind="gold", config=config.model_dump(mode="json"))
    real = bill_of(conn, database, server, tmp_path, rows, job_id, config)
    assert told.expected_usd == pytest.approx(real, rel=0.1)
    assert told.usd.batch == pytest.approx(told.usd.direct / 2, rel=0.01)
    assert told.usd.batch_cached is not None
    assert (told.usd.cached < told.usd.direct) == long

    again = estimates.estimate(conn, Settings(rehearsal_url=server.url), config, LOCAL)
    assert (again.reused, again.questions, again.expected_usd) == (72, 0, 0)


@pytest.mark.parametrize(
    ("name", "batch", "first"),
    [
        ("few", None, "half"),
        ("few", False, "all_without_repairs"),
        ("few_long", None, "nothing"),
        ("few_long", False, "half"),
    ],
)
def test_with_a_judge_and_with_what_is_paid_already_it_is_as_near(
    conn: Connection,
    database: Database,
    server: MeteringServer,
    tmp_path: Path,
    corpora: None,
    job_factory: Callable[..., UUID],
    name: str,
    batch: bool | None,
    first: str,
) -> None:
    rows = (long_prompts() if name == "few_long" else corpus())[:24]
    base = {**BASE, "dataset": f"dataset:{name}@1", "batch": batch, "budget_usd": 20.0, "near_duplicate": 0.8}
    if first != "nothing":
        before = GoldConfig(**{**base, "repair": first == "half", "judge": JUDGE if first == "half" else None})
        bought = rows[::2] if first == "half" else rows
        bill_of(conn, database, server, tmp_path / "before", bought, job_factory(kind="gold"), before)
    config = GoldConfig(**{**base, "judge": JUDGE})
    told = estimates.estimate(conn, Settings(rehearsal_url=server.url), config, LOCAL)
    real = bill_of(conn, database, server, tmp_path, rows, job_factory(kind="gold"), config)
    assert told.expected_usd == pytest.approx(real, rel=0.1)
    assert told.reused == {"nothing": 0, "half": 12, "all_without_repairs": 24}[first]
    assert told.judge is not None
    assert 0 < told.judge.expected_usd < told.expected_usd
    assert told.judge.questions < told.questions
    assert (told.judge.reused > 0) == (first == "half")


def test_a_teacher_that_nobody_knows_is_estimated_with_its_judge_too(
    conn: Connection, corpora: None, server: MeteringServer
) -> None:
    settings = Settings(_env_file=None, ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=server.url, allow_providers=["anthropic"])
    plain = GoldConfig(**{**BASE, "teacher": "anthropic"})
    told = estimates.estimate(conn, settings, plain.model_copy(update={"judge": JudgeConfig(samples=3)}), LOCAL)
    without = estimates.estimate(conn, settings, plain, LOCAL)
    assert told.judge is not None
    assert without.judge is None
    examination = len(rubric().planted) * 4 * 3
    assert told.judge.questions == examination + round(72 * estimates.PASSED * 3)
    assert told.expected_usd == pytest.approx(without.expected_usd + told.judge.expected_usd)
    assert told.judge.expected_usd > without.expected_usd


def test_of_a_large_corpus_a_part_stands_for_all(
    conn: Connection, corpora: None, server: MeteringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = GoldConfig(**{**BASE, "judge": {"samples": 1}})
    whole = estimates.estimate(conn, Settings(rehearsal_url=server.url), config, LOCAL)
    monkeypatch.setattr(estimates, "SAMPLED", 36)
    half = estimates.estimate(conn, Settings(rehearsal_url=server.url), config, LOCAL)
    assert half.expected_usd == pytest.approx(whole.expected_usd, rel=0.1)
    assert "36 of 72 rows were run dry, and stand for all" in half.based_on


def test_the_ledger_is_believed_once_it_has_seen_enough(
    conn: Connection, corpora: None, job_factory: Callable[..., UUID], server: MeteringServer
) -> None:
    config = GoldConfig(**{**BASE, "teacher": "anthropic"})
    settings = Settings(_env_file=None, ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=server.url, allow_providers=["anthropic"])
    guessed = estimates.estimate(conn, settings, config, LOCAL)
    assert "assumed" in guessed.based_on[1]
    assert "counted by the provider" in guessed.based_on[0]
    job_id = job_factory(kind="gold", config=config.model_dump(mode="json"))
    made = conn.execute("INSERT INTO budgets (scope, cap_usd) VALUES ('x', 1) RETURNING id").fetchone()
    assert made is not None
    conn.execute(
        "INSERT INTO teacher_calls (job_id, attempt, budget_id, item, request_sha256, provider, model, status, reserved_usd,"
        " cost_usd, input_tokens, output_tokens, answer, settled_at) SELECT %s, 1, %s, 'row' || n %% 40, 'x' || n, 'anthropic',"
        " %s, 'settled', 1, 0, 9, 33, '{}', now() FROM generate_series(0, 49) n",
        (job_id, made["id"], settings.teacher_model),
    )
    seen = estimates.estimate(conn, settings, config, LOCAL)
    assert "50 answers" in seen.based_on[1]
    assert seen.repairs == round(72 * 0.25)
    assert seen.output_tokens == pytest.approx(90 * 33)


def test_what_the_job_would_be_refused_for_is_told(conn: Connection, corpora: None) -> None:
    settings = Settings(_env_file=None, ANTHROPIC_API_KEY="k")
    config = GoldConfig(**{**BASE, "teacher": "anthropic"})
    with pytest.raises(InvalidInput, match="GOLDSMITH_ALLOW_PROVIDERS"):
        estimates.estimate(conn, settings, config, LOCAL)
    with pytest.raises(InvalidInput, match="no price"):
        estimates.estimate(conn, settings, config.model_copy(update={"model": "gpt-9"}), LOCAL)
    with pytest.raises(GoldsmithError, match="--rehearsal"):
        estimates.estimate(conn, settings, config.model_copy(update={"teacher": "rehearsal"}), LOCAL)


def test_over_http(serve: Serve, corpora: None, server: MeteringServer) -> None:  # noqa: F811
    client: TestClient = serve(rehearsal_url=server.url)
    body: dict[str, Any] = {"kind": "gold", **BASE, "dataset": "dataset:prompts@latest"}
    told = client.post("/v1/estimate", json=body)
    assert told.status_code == 200, told.text
    assert told.json()["rows"] == 72
    assert set(told.json()["usd"]) == {"direct", "cached", "batch", "batch_cached"}
    assert client.post("/v1/estimate", json={"kind": "noop"}).status_code == 422
    assert client.post("/v1/estimate", json={**body, "budget_usd": 0}).status_code == 422
    assert client.post("/v1/estimate", json={**body, "dataset": "dataset:none@1"}).status_code == 422
    for path in ("/v1/estimate", "/v1/jobs"):
        refused = client.post(path, json={**body, "teacher": "anthropic", "model": "gpt-9"})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == "model"
    assert serve(rehearsal_url=None).post("/v1/estimate", json=body).status_code == 503
