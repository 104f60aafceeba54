"""The kind in-process: the rehearsal server over real HTTP, a real ledger, everything else in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from goldsmith import gates
from goldsmith.datasets import Example, Message
from goldsmith.db import Connection, Database
from goldsmith.devserver.checkout import read_checkout
from goldsmith.devserver.prompts import render
from goldsmith.errors import GoldsmithError, InvalidInput, JobCancelled, RetryableError
from goldsmith.kinds.gold.run import run
from goldsmith.kinds.gold.schema import GoldConfig, GoldResult
from goldsmith.settings import Settings
from goldsmith.teacher import open_teacher
from goldsmith.teacher.rehearsal import RehearsalServer
from tests.fakes import FakeContext

CHECKOUT = read_checkout(Path("examples/workshop"))[0]
INPUTS = {
    "de": [
        f"{who} {does}"
        for who, does in product(["Ein Wal", "Meine Oma", "Der Bus"], ["tanzt auf dem Dach", "backt für den Mond"])
    ],
    "en": [
        f"{who} {does}"
        for who, does in product(["A whale", "My aunt", "The bus"], ["dances on the roof", "bakes for the moon"])
    ],
}
BASE: dict[str, Any] = {
    "dataset": "dataset:prompts@1",
    "name": "gold",
    "teacher": "rehearsal",
    "budget_usd": 1.0,
    "batch": False,
    "max_tokens": 200,
    "min_words": 25,
    "max_words": 45,
    "near_duplicate": None,  # the rehearsal writes the same few frames again and again
}


def corpus() -> list[Example]:
    return [
        Example(
            split="heldout" if number % 5 == 0 else "train",
            messages=[Message(role="user", content=prompt.content)],
            config_id=config.config_id,
            context_lang=prompt.context_lang,
            context_sha256=prompt.context_sha256,
            template_version=prompt.template_version,
            input=typed,
            language=language,
            group=str(number),
            source=f"run_{number}",
        )
        for language in INPUTS
        for number, typed in enumerate(INPUTS[language])
        for config in CHECKOUT.configs
        for prompt in [render(CHECKOUT, config.config_id, language, typed)]
    ]


@pytest.fixture
def server() -> Iterator[RehearsalServer]:
    with RehearsalServer() as server:
        yield server


@pytest.fixture
def context(
    tmp_path: Path, database: Database, server: RehearsalServer, job_factory: Callable[..., UUID]
) -> Callable[..., FakeContext]:
    """A context of a running gold job, with the corpus `dataset:prompts@1` and a real teacher."""

    def make(job_id: UUID | None = None, attempt: int = 1) -> FakeContext:
        ctx = FakeContext(tmp_path, job_id=job_id or job_factory(kind="gold"), kind="gold", attempt=attempt)
        ctx.save_dataset("prompts", corpus(), manifest={}, parents=[], rehearsal=False)

        def teacher(provider: str, *, model: str | None, budget_usd: float, recorded: bool) -> Any:
            return open_teacher(
                database,
                settings=Settings(rehearsal_url=server.url),
                job_id=ctx.job_id,
                attempt=attempt,
                provider=provider,
                model=model,
                budget_usd=budget_usd,
                recorded=recorded,
            )

        ctx.teacher_factory = teacher
        return ctx

    return make


def buy(ctx: FakeContext, **change: Any) -> GoldResult:
    return asyncio.run(run(GoldConfig(**{**BASE, **change}), ctx))


def test_it_buys_checks_repairs_drops_and_says_so(context: Callable[..., FakeContext], conn: Connection) -> None:
    ctx = context()
    result = buy(ctx)
    rows = corpus()
    assert (result.rows, result.asked, result.stopped_by) == (len(rows), len(rows), None)
    assert result.passed + sum(result.dropped.values()) == result.asked
    assert result.repaired > 0
    assert result.dropped
    assert len(result.first_try_failed) >= 3
    assert (result.teacher, result.model, result.rehearsal, result.label) == ("rehearsal", "rehearsal-1", True, "REHEARSAL")
    assert result.note == ""

    version = ctx.dataset(result.dataset)
    assert version.parents == ["dataset:prompts@1"]
    assert version.rehearsal
    assert version.manifest["prices"]["output"] > version.manifest["prices"]["input"] > 0
    assert version.manifest["filters"] == result.dropped
    examples = list(ctx.examples(result.dataset))
    assert len(examples) == result.passed == sum(version.counts.values())
    order = [(row.input, row.config_id) for row in rows]
    assert [(row.input, row.config_id) for row in examples] == [
        pair for pair in order if pair in {(row.input, row.config_id) for row in examples}
    ]
    for row in examples:
        assert [message.role for message in row.messages] == ["user", "assistant"]
        assert row.rehearsal
        assert row.gates["model"] == "rehearsal-1"
        context_text = CHECKOUT.config(row.config_id).context[row.language]
        assert gates.passes(
            row.messages[1].content, input=row.input, context=context_text, language=row.language, min_words=25, max_words=45
        )
    assert sum(bool(row.gates["repaired"]) for row in examples) == result.repaired

    report = json.loads(ctx.artifact(result.report).read_bytes())
    dropped = [row for row in report["failed"] if row["outcome"] == "dropped"]
    assert len(dropped) == sum(result.dropped.values())
    assert all(row["reasons"] and row["first_reasons"] and len(row["answers"]) == 2 for row in dropped)
    assert sum(row["outcome"] == "repaired" for row in report["failed"]) == result.repaired

    _, message, metrics = ctx.events[-1]
    assert message == f"{len(rows)} of {len(rows)} rows"
    assert metrics["bought"] == len(rows) + len(report["failed"])
    assert metrics["repaired"] == result.repaired
    assert metrics["spent_usd"] == result.spent_usd > 0
    job = conn.execute("SELECT cost_usd FROM jobs WHERE id = %s", (ctx.job_id,)).fetchone()
    assert job is not None
    assert float(job["cost_usd"]) == pytest.approx(result.spent_usd)


def test_the_teacher_sees_the_students_prompt_and_a_system_prompt_of_its_own(
    context: Callable[..., FakeContext], server: RehearsalServer
) -> None:
    buy(context(), concurrency=1)
    prompts = {row.messages[0].content for row in corpus()}
    first = [body for body in server.requests if "\n\nRejected answer:\n" not in body["messages"][0]["content"]]
    assert {body["messages"][0]["content"] for body in first} == prompts
    assert all("same sober tone" in body["system"] for body in server.requests)
    repair = next(body["messages"][0]["content"] for body in server.requests if body not in first)
    assert "Reasons:\n- " in repair


def test_without_repair_every_failing_row_is_dropped(context: Callable[..., FakeContext]) -> None:
    result = buy(context(), repair=False)
    assert result.repaired == 0
    assert sum(result.dropped.values()) == result.asked - result.passed > 5


def test_it_stops_within_the_budget_and_keeps_what_it_has(context: Callable[..., FakeContext]) -> None:
    result = buy(context(), budget_usd=0.02)
    assert result.stopped_by == "budget"
    assert 0 < result.asked < result.rows
    assert result.passed > 0
    assert 0.01 < result.spent_usd <= 0.02


def test_a_budget_too_small_for_one_question_fails(context: Callable[..., FakeContext], server: RehearsalServer) -> None:
    with pytest.raises(GoldsmithError, match="too small for one question"):
        buy(context(), budget_usd=0.001)
    assert not server.requests


def test_after_a_crash_what_was_paid_is_not_paid_again(
    context: Callable[..., FakeContext], conn: Connection, server: RehearsalServer
) -> None:
    ctx = context()
    ctx.cancel_after(31)
    with pytest.raises(JobCancelled):
        buy(ctx)
    settled = conn.execute("SELECT count(*) AS n FROM teacher_calls WHERE answer IS NOT NULL").fetchone()
    in_flight = conn.execute("SELECT count(*) AS n FROM teacher_calls WHERE status = 'reserved'").fetchone()
    assert settled is not None
    assert in_flight is not None
    assert settled["n"] >= 30
    assert in_flight["n"] == 0

    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (ctx.job_id,))
    again = context(ctx.job_id, 2)
    result = buy(again)
    assert result.asked == result.rows
    assert result.reused == result.saved_by_reuse_usd == 0  # the job paid for them itself
    assert len(server.requests) == sum(1 for _ in conn.execute("SELECT 1 FROM teacher_calls WHERE status = 'settled'"))
    metrics = again.events[-1][2]
    assert metrics["bought"] + metrics["reused"] == result.rows + len(
        json.loads(again.artifact(result.report).read_bytes())["failed"]
    )
    ledger = conn.execute("SELECT sum(cost_usd) AS usd FROM teacher_calls").fetchone()
    assert ledger is not None
    assert float(ledger["usd"]) == pytest.approx(result.spent_usd)


def test_a_second_job_gets_the_same_answers_for_nothing(context: Callable[..., FakeContext], server: RehearsalServer) -> None:
    first_ctx = context()
    first = buy(first_ctx)
    asked = len(server.requests)
    second_ctx = context()
    second = buy(second_ctx)
    assert len(server.requests) == asked
    assert second.spent_usd == 0
    assert second.saved_by_reuse_usd == pytest.approx(first.spent_usd)
    assert second.reused == asked
    assert list(second_ctx.examples(second.dataset)) == list(first_ctx.examples(first.dataset))


def test_answers_that_are_cut_or_declined_are_dropped_by_name(
    context: Callable[..., FakeContext], server: RehearsalServer
) -> None:
    server.fail_next("refusal", "refusal", "empty", "empty")
    result = buy(context(), concurrency=1)
    assert result.dropped["refusal"] == 1
    ctx = context()
    with pytest.raises(GoldsmithError, match=r"none of the 72 answers passed \(\{'truncated': 72\}\).*gold\.json"):
        buy(ctx, max_tokens=16, budget_usd=5)
    report = json.loads(ctx.artifact(f"{ctx.ref}/gold.json").read_bytes())
    assert report["failed"][0]["reasons"]["truncated"] == "the answer was cut (max_tokens) at 16 tokens"


def test_a_provider_that_stays_away_puts_the_job_back(context: Callable[..., FakeContext], server: RehearsalServer) -> None:
    server.fail_next(*["529"] * 200)
    with pytest.raises(RetryableError, match="busy or broken"):
        buy(context())


def test_without_repair_answers_that_repeat_an_earlier_one_are_dropped_and_the_first_is_kept(
    context: Callable[..., FakeContext],
) -> None:
    every_ctx, ctx = context(), context()
    every, result = buy(every_ctx, repair=False), buy(ctx, near_duplicate=0.8, repair=False)
    dropped = result.dropped["near_duplicate"]
    assert dropped > 0
    assert result.passed == every.passed - dropped
    texts = [row.output or "" for row in ctx.examples(result.dataset)]
    assert gates.near_duplicates(texts, 0.8) == {}
    report = json.loads(ctx.artifact(result.report).read_bytes())
    reasons = [row["reasons"]["near_duplicate"] for row in report["failed"] if "near_duplicate" in row["reasons"]]
    assert len(reasons) == dropped
    assert all(reason.startswith("nearly the answer of run_") for reason in reasons)


def test_an_answer_that_repeats_an_earlier_one_is_asked_for_once_more_with_what_it_repeats(
    context: Callable[..., FakeContext], server: RehearsalServer
) -> None:
    every, ctx = buy(context()), context()
    before = len(server.requests)
    result = buy(ctx, near_duplicate=0.8)
    assert gates.near_duplicates([row.output or "" for row in ctx.examples(result.dataset)], 0.8) == {}
    varied = [row for row in ctx.examples(result.dataset) if row.gates["repaired"] == ["near_duplicate"]]
    assert varied  # the rehearsal takes another frame, and some of them are free
    assert result.dropped["near_duplicate"] > 0
    assert result.passed == every.passed - result.dropped["near_duplicate"]
    report = json.loads(ctx.artifact(result.report).read_bytes())
    rows = [row for row in report["failed"] if "near_duplicate" in row["first_reasons"]]
    assert all(len(row["answers"]) == 2 for row in rows)
    asked = [body["messages"][0]["content"] for body in list(server.requests)[before:]]
    assert len(asked) == len(rows)  # the rest was paid by the first job
    texts = {row.output for row in ctx.examples(result.dataset)}
    assert all(
        any(f"- nearly the same text was written for another prompt: {text!r}" in one for text in texts) for one in asked
    )
    assert not any("run_" in one for one in asked)


def test_where_the_budget_has_no_room_for_another_answer_the_repeated_one_is_dropped(
    context: Callable[..., FakeContext],
) -> None:
    spent = buy(context(), model="rehearsal-1").spent_usd
    result = buy(context(), budget_usd=0.0001, near_duplicate=0.8)  # the answers are there already
    assert spent > 0
    assert (result.spent_usd, result.stopped_by, result.asked) == (0, "budget", result.rows)
    assert result.dropped["near_duplicate"] > 0


def test_the_result_says_how_varied_the_answers_are(context: Callable[..., FakeContext]) -> None:
    ctx = context()
    found = buy(ctx).diversity
    assert found.entropy_bits > 4
    assert 0 < found.distinct_1 < found.distinct_2 < 1
    assert found.contrast is not None
    assert 0.5 < found.contrast < 1
    told = json.loads(ctx.artifact(found.report).read_bytes())
    assert told["anti_default"] == found.anti_default.model_dump()
    assert {(part["config_id"], part["language"]) for part in told["by_config"]} == {
        (config.config_id, language) for config in CHECKOUT.configs for language in ("de", "en")
    }
    assert sum(part["rows"] for part in told["by_config"]) == told["rows"]


def test_only_a_corpus_can_be_bought_for(context: Callable[..., FakeContext]) -> None:
    ctx = context()
    result = buy(ctx)
    with pytest.raises(InvalidInput, match="dataset:gold@1 is no corpus: a row from run_0 holds 2 messages"):
        buy(ctx, dataset=result.dataset)


def test_prompts_of_another_template_are_bought_without_the_vocabulary_rule(context: Callable[..., FakeContext]) -> None:
    ctx = context()
    rows = [
        row.model_copy(update={"messages": [Message(role="user", content=f"Mach etwas daraus: {row.input}")]})
        for row in corpus()[:6]
    ]
    ctx.save_dataset("plain", rows, manifest={}, parents=[], rehearsal=False)
    assert "K1_vocabulary was not checked on 6 rows" in buy(ctx, dataset="dataset:plain@1", min_words=5).note


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"budget_usd": 0}, "greater than 0"),
        ({"budget_usd": -1}, "greater than 0"),
        ({"budget_usd": float("nan")}, "finite number"),
        ({"budget_usd": float("inf")}, "finite number"),
        ({"budget_usd": 1e9}, "less than or equal to 100000"),
        ({"concurrency": 65}, "less than or equal to 64"),
        ({"teacher": "oracle"}, "'openai-compatible' or 'rehearsal'"),
        ({"dataset": "prompts"}, "should match pattern"),
        ({"min_words": 50}, "min_words: 50 is above max_words 45"),
        ({"colour": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_config_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        GoldConfig(**{**BASE, **change})
