"""Gold in batches: over real HTTP to a metering teacher that keeps the true bill, with a real ledger."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bench.metering import MeteringServer
from goldsmith.datasets import Example, Message
from goldsmith.db import Connection, Database
from goldsmith.errors import GoldsmithError, InvalidInput, Requeue
from goldsmith.kinds.gold.run import run
from goldsmith.kinds.gold.schema import GoldConfig, GoldResult
from goldsmith.settings import Settings
from goldsmith.teacher import collect, metered, open_teacher, rehearsal_batches
from goldsmith.teacher.keeper import keep
from goldsmith.teacher.limited import Limited
from goldsmith.teacher.rehearsal_messages import Dropped, Refused
from tests.fakes import FakeContext
from tests.kinds.gold.test_gold import BASE, corpus

CONFIG = {**BASE, "batch": None}
Run = Callable[..., GoldResult]


def long_prompts() -> list[Example]:
    """The corpus with a prefix of more than 1,024 tokens."""
    rule = "Regel des Handwerks. " * 400
    return [
        row.model_copy(update={"messages": [Message(role="user", content=f"{rule}\n{row.messages[0].content}")]})
        for row in corpus()
    ]


@pytest.fixture
def server() -> Iterator[MeteringServer]:
    with MeteringServer(batch_s=0.05) as server:
        yield server


@pytest.fixture
def context(
    tmp_path: Path, database: Database, server: MeteringServer, job_factory: Callable[..., UUID]
) -> Callable[..., FakeContext]:
    """A context of an attempt of a gold job, with the corpus `dataset:prompts@1` (and half of it in `dataset:half@1`)."""

    def make(job_id: UUID | None = None, attempt: int = 1, **job: Any) -> FakeContext:
        ctx = FakeContext(tmp_path, job_id=job_id or job_factory(kind="gold", **job), kind="gold", attempt=attempt)
        ctx.save_dataset("prompts", corpus(), manifest={}, parents=[], rehearsal=False)
        ctx.save_dataset("half", corpus()[::2], manifest={}, parents=[], rehearsal=False)
        ctx.save_dataset("long", long_prompts(), manifest={}, parents=[], rehearsal=False)

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


@pytest.fixture
def finish(context: Callable[..., FakeContext], conn: Connection) -> Run:
    """Run a job attempt after attempt, as the queue does, until it has a result."""

    def go(ctx: FakeContext | None = None, *, seconds: float = 120, **change: Any) -> GoldResult:
        ctx = ctx or context()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                return asyncio.run(run(GoldConfig(**{**CONFIG, **change}), ctx))
            except Requeue:
                ctx = put_back(conn, ctx, context)
                time.sleep(0.02)
        raise AssertionError(f"no result within {seconds} s")

    return go


def put_back(conn: Connection, ctx: FakeContext, context: Callable[..., FakeContext]) -> FakeContext:
    """The job's next attempt."""
    conn.execute("UPDATE jobs SET attempt = attempt + 1 WHERE id = %s", (ctx.job_id,))
    return context(ctx.job_id, ctx.attempt + 1)


def once(ctx: FakeContext, **change: Any) -> str:
    """One attempt, which must end by being put back; returns why."""
    with pytest.raises(Requeue) as requeue:
        asyncio.run(run(GoldConfig(**{**CONFIG, **change}), ctx))
    return str(requeue.value)


def ledger(conn: Connection, job_id: UUID | None = None) -> dict[str, float]:
    row = conn.execute(
        "SELECT coalesce(sum(cost_usd), 0)::float AS usd, count(*) FILTER (WHERE answer IS NOT NULL) AS answers,"
        " count(DISTINCT request_sha256) FILTER (WHERE answer IS NOT NULL) AS requests,"
        " count(*) FILTER (WHERE status = 'reserved') AS reserved, count(*) FILTER (WHERE status = 'released') AS released,"
        " count(*) AS calls FROM teacher_calls WHERE %(job)s::uuid IS NULL OR job_id = %(job)s",
        {"job": job_id},
    ).fetchone()
    assert row is not None
    return dict(row)


def settled_exactly(conn: Connection, server: MeteringServer) -> None:
    """Every billed answer stands in the ledger, once, at its price; nothing is reserved any more."""
    told, book = server.report(), ledger(conn)
    assert book["answers"] == book["requests"] == told["requests"]
    assert book["usd"] == pytest.approx(told["usd"], abs=1e-6 * told["requests"])  # the ledger rounds each call up
    assert book["usd"] >= told["usd"] - 1e-9
    assert book["reserved"] == 0
    held = conn.execute("SELECT max(reserved_usd) AS held FROM budgets").fetchone()
    assert held is not None
    assert held["held"] == 0


def test_batches_are_the_default_and_cost_half(finish: Run, conn: Connection, server: MeteringServer) -> None:
    batched = finish()
    assert batched.asked == batched.rows == 72
    assert batched.repaired > 0
    assert server.report()["batch_requests"] == server.report()["requests"] > 72
    settled_exactly(conn, server)
    assert batched.spent_usd == pytest.approx(server.report()["usd"], abs=1e-4)
    direct = sum(
        (row["input_tokens"] * 2 + row["output_tokens"] * 10) / 1e6 for row in conn.execute("SELECT * FROM teacher_calls")
    )
    assert batched.spent_usd == pytest.approx(direct / 2, rel=0.01)


def test_near_duplicates_are_asked_for_again_in_a_batch_of_their_own(
    finish: Run, conn: Connection, server: MeteringServer
) -> None:
    result = finish(near_duplicate=0.8)
    assert server.batches.created == 3
    assert result.asked == 72
    assert result.passed + sum(result.dropped.values()) == 72
    assert result.first_try_failed["near_duplicate"] > result.dropped["near_duplicate"] > 0
    settled_exactly(conn, server)


def test_while_a_batch_is_under_way_no_question_is_asked(
    context: Callable[..., FakeContext], conn: Connection, server: MeteringServer
) -> None:
    server.batches.takes_s = 3600
    ctx = context()
    assert once(ctx) == "72 questions were sent in a batch"
    for _ in range(3):
        ctx = put_back(conn, ctx, context)
        assert "0 of 72 processed" in once(ctx)
    assert server.batches.created == 1
    assert ledger(conn)["reserved"] == 72


def test_only_what_has_no_answer_is_asked_again(finish: Run, conn: Connection, server: MeteringServer) -> None:
    """Errored and expired items, foreign lines, any order: the rest is not bought twice."""
    server.batches.errored, server.batches.expired, server.batches.foreign = 0.1, 0.1, 3
    result = finish()
    assert result.asked == 72
    assert ledger(conn)["released"] > 0
    settled_exactly(conn, server)
    assert server.batches.created > 2


def test_a_question_that_is_never_answered_is_dropped_by_name(finish: Run, conn: Connection, server: MeteringServer) -> None:
    real = server.batches.create

    def create(body: Any, version: str) -> dict[str, Any]:
        for request in body["requests"]:
            if "Ein Wal tanzt" in str(request["params"]["messages"]):
                request["params"]["max_tokens"] = -1
        return real(body, version)

    server.batches.create = create  # type: ignore[method-assign]
    result = finish()
    assert result.dropped["no_answer"] == sum(row.input.startswith("Ein Wal tanzt") for row in corpus())
    assert result.asked == 72


def test_a_fresh_batch_that_is_not_to_be_seen_yet_is_waited_for(finish: Run, conn: Connection, server: MeteringServer) -> None:
    server.batches.fresh_404 = 3
    assert finish().asked == 72
    settled_exactly(conn, server)


def test_a_batch_whose_answer_was_lost_is_found_and_not_bought_again(
    finish: Run, context: Callable[..., FakeContext], conn: Connection, server: MeteringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between creating a batch and writing its id down. Another one's batch of the same size is no hit."""
    ready, answer = threading.Event(), rehearsal_batches._Batch._answer
    monkeypatch.setattr(rehearsal_batches._Batch, "_answer", lambda *given: ready.wait(120) and answer(*given))
    strangers = [{"custom_id": f"s{n}", "params": {"model": "rehearsal-1"}} for n in range(72)]
    server.batches.create({"requests": strangers}, "2023-06-01")
    server.batches.lost_creates = 1
    ctx = context()
    once(ctx)
    assert ledger(conn)["reserved"] == 72
    ctx = put_back(conn, ctx, context)
    assert "may be the one that was sent before a crash" in once(ctx)
    assert ledger(conn)["reserved"] == 72
    ready.set()
    result = finish(put_back(conn, ctx, context))
    assert result.asked == 72
    settled_exactly(conn, server)


def test_an_intent_that_never_reached_the_provider_is_bought_after_a_while(
    finish: Run, context: Callable[..., FakeContext], conn: Connection, server: MeteringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context()
    real = server.batches.create

    def vanish(*_: object) -> dict[str, Any]:
        raise Dropped

    server.batches.create = vanish  # type: ignore[method-assign]
    once(ctx)
    server.batches.create = real  # type: ignore[method-assign]
    ctx = put_back(conn, ctx, context)
    assert "looking for a batch" in once(ctx)
    assert ledger(conn)["reserved"] == 72
    monkeypatch.setattr(collect, "UNSEEN_S", 0)
    result = finish(put_back(conn, ctx, context))
    assert result.asked == 72
    settled_exactly(conn, server)


def test_a_cancelled_jobs_batch_is_settled_and_used_by_the_next_job(
    finish: Run, context: Callable[..., FakeContext], conn: Connection, database: Database, server: MeteringServer
) -> None:
    ctx = context()
    once(ctx)
    conn.execute("UPDATE jobs SET status = 'cancelled', completed_at = now() WHERE id = %s", (ctx.job_id,))
    end = time.monotonic() + 120
    while ledger(conn)["reserved"] and time.monotonic() < end:
        asyncio.run(keep(database, Settings(rehearsal_url=server.url)))
    bought = server.report()["requests"]
    result = finish()
    settled_exactly(conn, server)
    assert server.report()["requests"] > bought >= 1  # the repairs are new, and what the cancel reached
    assert result.saved_by_reuse_usd > 0


def test_what_another_job_has_in_a_batch_is_not_bought_even_at_once(
    finish: Run, context: Callable[..., FakeContext], conn: Connection, server: MeteringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed config is another job: same questions, now in direct mode. It waits for the batch and pays for repairs only."""
    monkeypatch.setattr(metered, "PATIENCE_S", 0)
    first = context()
    once(first)
    second = finish(batch=False)
    assert second.asked == 72
    third = finish(put_back(conn, first, context))
    assert third.asked == 72
    settled_exactly(conn, server)


def test_a_larger_corpus_buys_only_what_is_new(finish: Run, conn: Connection, server: MeteringServer) -> None:
    half = finish(dataset="dataset:half@1")
    bought = server.report()["requests"]
    whole = finish()
    settled_exactly(conn, server)
    assert half.rows == 36
    assert whole.rows == 72
    assert whole.reused == bought
    assert whole.saved_by_reuse_usd == pytest.approx(half.spent_usd)


@pytest.mark.parametrize("budget", [0.01, 0.03])
def test_a_small_budget_is_used_up_batch_by_batch_and_never_exceeded(
    finish: Run, conn: Connection, server: MeteringServer, budget: float
) -> None:
    result = finish(budget_usd=budget)
    assert result.stopped_by == "budget"
    assert 0 < result.asked < 72
    assert result.passed > 0
    assert budget / 2 < result.spent_usd <= budget
    settled_exactly(conn, server)


def test_a_wrong_key_ends_it_at_once_and_the_items_are_free(
    context: Callable[..., FakeContext], conn: Connection, server: MeteringServer
) -> None:
    def refuse(*_: object) -> dict[str, Any]:
        raise Refused(401, "invalid x-api-key")

    server.batches.create = refuse  # type: ignore[method-assign]
    with pytest.raises(GoldsmithError, match="refused the key"):
        asyncio.run(run(GoldConfig(**CONFIG), context()))
    assert ledger(conn)["reserved"] == 0


def test_long_prefixes_are_written_to_the_cache_once_and_read_by_the_batch(finish: Run, server: MeteringServer) -> None:
    result = finish(dataset="dataset:long@1", repair=False, min_words=1, max_words=2000)
    told = server.report()
    prefixes = len({row.messages[0].content[: row.messages[0].content.rfind(row.input)] for row in long_prompts()})
    assert told["requests"] == 72 + prefixes
    assert told["cache_write_1h"] > 0
    assert told["cache_read"] == pytest.approx(told["cache_write_1h"] * 72 / prefixes, rel=0.05)
    assert result.spent_usd == pytest.approx(told["usd"], abs=1e-4)


def spoilt(server: MeteringServer, change: Callable[[list[dict[str, Any]]], list[Any]]) -> None:
    """The first batch's results as `change` makes them of its lines; those of all others as they are."""
    real, first = server.batches.results, list[str]()

    def results(batch_id: str) -> Iterator[bytes]:
        first.append(batch_id)
        if batch_id != first[0]:
            return real(batch_id)
        lines = change([json.loads(line) for line in real(batch_id)])
        return iter([line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines])

    server.batches.results = results  # type: ignore[method-assign]


def lost(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute("SELECT * FROM teacher_calls WHERE status = 'settled' AND answer IS NULL ORDER BY id").fetchall()


def test_an_answer_in_a_batch_longer_than_asked_for_is_paid_dropped_and_not_asked_for_again(
    finish: Run, conn: Connection, server: MeteringServer
) -> None:
    def change(lines: list[dict[str, Any]]) -> list[Any]:
        message = lines[0]["result"]["message"]
        message["usage"]["output_tokens"] = 40_000
        return lines

    spoilt(server, change)
    result = finish()
    [row] = lost(conn)
    assert row["cost_usd"] > row["reserved_usd"]
    assert row["error"].startswith("too_long: a batch answered with 40000 tokens; at most 200")
    assert result.dropped["no_answer"] == 1
    assert result.asked == 72
    assert conn.execute("SELECT 1 FROM teacher_calls WHERE request_sha256 = %s", (row["request_sha256"],)).fetchall() == [
        {"?column?": 1}
    ]


def test_a_bill_above_its_worst_case_ends_the_job_by_its_budget_and_says_so(
    finish: Run, conn: Connection, server: MeteringServer
) -> None:
    def change(lines: list[dict[str, Any]]) -> list[Any]:
        lines[0]["result"]["message"]["usage"]["output_tokens"] = 400_000  # 2 USD, and the budget is 1
        return lines

    spoilt(server, change)
    result = finish()
    assert result.stopped_by == "budget"
    assert result.spent_usd > 2
    assert result.passed > 0
    assert any("above" in warning and "worst case" in warning for warning in result.warnings)
    budget = conn.execute("SELECT * FROM budgets WHERE scope LIKE 'job:%'").fetchone()
    assert budget is not None
    assert (budget["cap_usd"], budget["reserved_usd"]) == (1, 0)
    assert server.batches.created == 1


@pytest.mark.parametrize("how", ["half", "html", "other_shape"])
def test_a_line_of_results_that_cannot_be_read_costs_its_own_question_only(
    finish: Run, conn: Connection, server: MeteringServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(collect, "UNREADABLE_LINES_S", 0)

    def change(lines: list[dict[str, Any]]) -> list[Any]:
        broken = {
            "half": json.dumps(lines[3]).encode()[:99] + b"\n",
            "html": b"<html>Sign in</html>\n",
            "other_shape": {"custom_id": lines[3]["custom_id"], "result": {"type": "succeeded", "message": {"text": "?"}}},
        }
        return [*lines[:3], broken[how], *lines[4:]]

    spoilt(server, change)
    result = finish()
    assert (result.asked, result.rows) == (72, 72)
    [row] = lost(conn)
    assert row["cost_usd"] == row["reserved_usd"]
    assert row["error"].startswith("broken: ")
    assert ledger(conn)["reserved"] == 0


def test_broken_lines_are_read_again_before_they_are_given_up(
    context: Callable[..., FakeContext], conn: Connection, server: MeteringServer
) -> None:
    whole = False

    def change(lines: list[dict[str, Any]]) -> list[Any]:
        return lines if whole else [b"<html>\n", *lines[1:]]

    spoilt(server, change)
    ctx = context()
    once(ctx)
    while "cannot be read" not in once(ctx := put_back(conn, ctx, context)):
        time.sleep(0.02)
    assert (ledger(conn)["answers"], ledger(conn)["reserved"]) == (71, 1)
    whole = True
    once(put_back(conn, ctx, context))
    assert ledger(conn)["answers"] == 72
    assert lost(conn) == []


def test_a_line_under_the_name_of_another_row_is_not_that_rows_second_answer(
    finish: Run, conn: Connection, server: MeteringServer
) -> None:
    """The first line of a name counts. The row whose answer never came is paid at its worst case, and asked once more."""
    texts: dict[str, str] = {}

    def change(lines: list[dict[str, Any]]) -> list[Any]:
        texts["right"] = lines[0]["result"]["message"]["content"][0]["text"]
        lines[1]["custom_id"] = lines[0]["custom_id"]
        texts["id"] = lines[0]["custom_id"]
        return lines

    spoilt(server, change)
    result = finish()
    assert result.asked == 72
    row = conn.execute("SELECT answer FROM teacher_calls WHERE id = %s", (UUID(hex=texts["id"]),)).fetchone()
    assert row is not None
    assert row["answer"]["text"] == texts["right"]
    [missing] = lost(conn)
    assert missing["cost_usd"] == missing["reserved_usd"]


def test_a_line_that_comes_twice_is_paid_once(finish: Run, conn: Connection, server: MeteringServer) -> None:
    spoilt(server, lambda lines: [*lines, *lines[:5]])
    assert finish().asked == 72
    settled_exactly(conn, server)


def test_an_empty_answer_in_a_batch_is_repaired_as_any_other(finish: Run, conn: Connection, server: MeteringServer) -> None:
    def change(lines: list[dict[str, Any]]) -> list[Any]:
        lines[0]["result"]["message"]["content"] = []
        return lines

    spoilt(server, change)
    result = finish()
    assert result.asked == 72
    assert lost(conn) == []
    assert any(outcome.startswith("K") or outcome == "empty" for outcome in result.first_try_failed)


def test_a_question_whose_batches_are_never_readable_is_bought_three_times_at_most(
    finish: Run, conn: Connection, server: MeteringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "UNREADABLE_LINES_S", 0)
    real = server.batches.results
    broken: set[str] = set()

    def results(batch_id: str) -> Iterator[bytes]:
        for line in real(batch_id):
            custom_id = json.loads(line)["custom_id"]
            call = conn.execute("SELECT item FROM teacher_calls WHERE id = %s", (UUID(hex=custom_id),)).fetchone()
            is_it = call is not None and call["item"] == f"{corpus()[0].source}/{corpus()[0].config_id}"
            broken.update([custom_id] if is_it else [])
            yield b"{\n" if is_it else line

    server.batches.results = results  # type: ignore[method-assign]
    result = finish(repair=False)
    same = [row for row in corpus() if (row.source, row.config_id) == (corpus()[0].source, corpus()[0].config_id)]
    assert result.dropped["no_answer"] == len(same)
    assert len(broken) == 3 * len(same)


def test_a_teacher_without_batches_says_so(context: Callable[..., FakeContext], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limited, "batches", None)
    with pytest.raises(InvalidInput, match="takes no batches"):
        asyncio.run(run(GoldConfig(**{**CONFIG, "batch": True}), context()))
