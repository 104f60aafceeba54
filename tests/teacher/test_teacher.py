"""The metered teacher, over real HTTP to the rehearsal server and with a real ledger."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any, TypeVar
from uuid import UUID

import pytest
from pydantic import SecretStr

from bench.metering import MeteringServer
from goldsmith import metrics
from goldsmith.db import Connection, Database
from goldsmith.errors import FencedOut, GoldsmithError, InvalidInput, RetryableError, Unavailable
from goldsmith.settings import Settings
from goldsmith.teacher import Answer, BudgetReached, NotAnswered, Teacher, counting, metered, open_teacher
from goldsmith.teacher.bounded import for_each
from goldsmith.teacher.limited import Limited
from goldsmith.teacher.provider import Failed, Request
from goldsmith.teacher.rehearsal import RehearsalServer
from tests.conftest import free_port

T = TypeVar("T")
Open = Callable[..., Teacher]

PROMPT = (
    "Task:\nRewrite the prompt.\n\n"
    "Context:\nThink of the scene as cloth on a loom. The warp holds, the weft brings, the shuttle turns.\n\n"
    "Important: Answer in the language of the prompt.\n\nPrompt:\n"
)
RULES = {"type": "object", "properties": {"rules": {"type": "array", "items": {"type": "string"}}}, "required": ["rules"]}


@pytest.fixture
def server() -> Iterator[RehearsalServer]:
    with RehearsalServer() as server:
        yield server


@pytest.fixture
def opened(database: Database, server: RehearsalServer, job_factory: Callable[..., UUID]) -> Open:
    """`opened(budget_usd=…, job_id=…, attempt=…)`: a rehearsal teacher of a running job."""

    def make(job_id: UUID | None = None, attempt: int = 1, budget_usd: float = 5.0, **settings: Any) -> Teacher:
        return open_teacher(
            database,
            settings=Settings(**{"rehearsal_url": server.url, **settings}),
            job_id=job_id or job_factory(kind="gold", attempt=attempt),
            attempt=attempt,
            provider="rehearsal",
            model=None,
            budget_usd=budget_usd,
            recorded=True,
        )

    return make


def with_teacher(teacher: Teacher, do: Callable[[Teacher], Awaitable[T]]) -> T:
    async def work() -> T:
        async with aclosing(teacher):
            return await do(teacher)

    return asyncio.run(work())


async def ask(teacher: Teacher, typed: str = "A whale is stuck in the lift.", **more: Any) -> Answer:
    return await teacher.ask(**{"item": "row", "system": "Be brief.", "prompt": PROMPT + typed, "max_tokens": 300, **more})


def ledger(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute("SELECT * FROM teacher_calls ORDER BY id").fetchall()


def test_an_answer_is_metered_and_labelled(conn: Connection, opened: Open, server: RehearsalServer) -> None:
    teacher = opened()
    got = with_teacher(teacher, ask)
    assert got.text.startswith("A whale is stuck in the lift: ")
    assert (got.stop_reason, got.model, got.rehearsal, got.reused) == ("end_turn", "rehearsal-1", True, False)
    assert got.request_id is not None
    assert got.request_id.startswith("req_rehearsal_")
    assert got.input_tokens > 50
    assert got.cost_usd == pytest.approx((got.input_tokens * 2 + got.output_tokens * 10) / 1e6, abs=1e-6)
    assert teacher.spent_usd == got.cost_usd

    [row] = ledger(conn)
    assert (row["status"], row["rehearsal"], row["provider"], row["item"]) == ("settled", True, "rehearsal", "row")
    assert row["reserved_usd"] > row["cost_usd"]
    job = conn.execute("SELECT cost_usd FROM jobs WHERE id = %s", (row["job_id"],)).fetchone()
    assert job is not None
    assert float(job["cost_usd"]) == got.cost_usd

    [body] = server.requests
    assert body["system"] == "Be brief."
    assert "temperature" not in body
    assert "output_config" not in body


def test_top_p_goes_out_under_the_version_that_takes_one(opened: Open, server: RehearsalServer) -> None:
    assert opened().takes_temperature
    with_teacher(opened(), lambda teacher: ask(teacher, temperature=1.0, top_p=0.9))
    [body] = server.requests
    assert (body["top_p"], "temperature" in body) == (0.9, False)


def test_the_wire_carries_temperature_and_schema(opened: Open, server: RehearsalServer) -> None:
    def both(teacher: Teacher) -> Awaitable[Answer]:
        return ask(teacher, prompt="Input:\nEin Dackel im Weltraum", temperature=0.5, json_schema=RULES)

    got = with_teacher(opened(), both)
    [body] = server.requests
    assert body["temperature"] == 0.5
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": RULES}}
    assert isinstance(json.loads(got.text)["rules"], list)


def test_an_identical_request_is_never_paid_twice(conn: Connection, opened: Open, server: RehearsalServer) -> None:
    first = with_teacher(opened(), ask)
    other_job = opened()
    again = with_teacher(other_job, ask)
    assert (again.text, again.reused, again.cost_usd) == (first.text, True, 0)
    assert (other_job.spent_usd, other_job.saved_usd) == (0, first.cost_usd)
    assert len(server.requests) == 1
    assert len(ledger(conn)) == 1

    with_teacher(opened(), lambda teacher: ask(teacher, max_tokens=301))
    assert len(server.requests) == 2


def test_identical_questions_in_flight_are_asked_once(opened: Open, server: RehearsalServer) -> None:
    async def five(teacher: Teacher) -> list[Answer]:
        return await asyncio.gather(*(ask(teacher) for _ in range(5)))

    answers = with_teacher(opened(), five)
    assert len(server.requests) == 1
    assert sorted(got.reused for got in answers) == [False, True, True, True, True]


def test_a_retry_of_the_job_pays_only_for_what_is_new(opened: Open, conn: Connection, job_factory: Callable[..., UUID]) -> None:
    job_id = job_factory(kind="gold")
    first = with_teacher(opened(job_id), ask)
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    teacher = opened(job_id, 2)
    assert with_teacher(teacher, ask).reused
    assert teacher.spent_usd == first.cost_usd
    assert teacher.saved_usd == 0  # this job paid it itself


def test_the_budget_stops_before_it_is_exceeded(conn: Connection, opened: Open, server: RehearsalServer) -> None:
    teacher = opened(budget_usd=0.02)

    async def until_it_stops(teacher: Teacher) -> int:
        for number in range(1000):
            try:
                await ask(teacher, f"A whale number {number} is in the lift.")
            except BudgetReached:
                return number
        raise AssertionError("a thousand answers were bought for 2 cents")

    asked = with_teacher(teacher, until_it_stops)
    assert 1 < asked < 100
    assert len(server.requests) == asked
    assert 0.01 < teacher.spent_usd <= 0.02
    row = conn.execute("SELECT reserved_usd, spent_usd FROM budgets").fetchone()
    assert row is not None
    assert row["reserved_usd"] == 0
    assert float(row["spent_usd"]) == pytest.approx(teacher.spent_usd)


def test_a_tight_budget_buys_as_many_as_their_counted_tokens_and_max_tokens_allow(
    conn: Connection, opened: Open, server: RehearsalServer
) -> None:
    """A prompt of 8,000 bytes has 2,000 tokens: reserved by bytes it would not fit; nor would a long one of its own."""
    typed = "Ein Wal steckt im Aufzug fest. " * 250
    teacher = opened(budget_usd=2e-6 * 2100 + 10e-6 * 300)
    got = with_teacher(teacher, lambda teacher: ask(teacher, typed))
    [row] = ledger(conn)
    real = (got.input_tokens * 2 + 300 * 10) / 1e6
    assert real <= float(row["reserved_usd"]) <= 1.05 * real
    assert "counted by the provider" in teacher.counted


def test_a_prefix_that_many_share_is_counted_once(conn: Connection, opened: Open, server: RehearsalServer) -> None:
    prefix = PROMPT + "The warp holds. " * 400

    async def ten(teacher: Teacher) -> None:
        for number in range(10):
            got = await ask(teacher, prompt=f"{prefix}Whale {number}.", shared=len(prefix), sharing=10)
            assert got.text

    teacher = opened()
    with_teacher(teacher, ten)
    assert teacher.counted.startswith("counted by the provider (1 times)")
    for row in ledger(conn):
        real_usd = (row["input_tokens"] * 2.5 + 300 * 10) / 1e6
        assert 0.9 * real_usd <= float(row["reserved_usd"]) <= 1.1 * real_usd
    assert server.meter.tokens["cache_write_5m"] > 0


@pytest.mark.parametrize(("how", "says"), [("404", "a token for every byte"), ("none", "does not count"), ("slow", "within")])
def test_where_nobody_counts_the_bytes_are_the_bound(
    conn: Connection, opened: Open, monkeypatch: pytest.MonkeyPatch, how: str, says: str
) -> None:
    async def count_tokens(self: Limited, request: Request) -> int | None:
        if how == "404":
            raise Failed(GoldsmithError("404: no such path"), "no", why="model")
        if how == "slow":
            await asyncio.sleep(5)
        return None

    monkeypatch.setattr(Limited, "count_tokens", count_tokens)
    monkeypatch.setattr(counting, "WITHIN_S", 0.01)
    teacher = opened()
    got = with_teacher(teacher, ask)
    [row] = ledger(conn)
    assert float(row["reserved_usd"]) >= ((len(PROMPT) + counting.FRAME_TOKENS) * 2 + 300 * 10) / 1e6
    assert got.cost_usd < float(row["reserved_usd"])
    assert says in teacher.counted


@pytest.mark.parametrize("typed", ["Wal", "Ein Wal. " * 500, "鯨がエレベーターに挟まった。" * 60, "🐋" * 300, "\\n" * 400])
@pytest.mark.parametrize("schema", [None, RULES])
def test_the_worst_case_is_never_below_the_bill(
    conn: Connection, opened: Open, typed: str, schema: dict[str, Any] | None
) -> None:
    with_teacher(opened(), lambda teacher: ask(teacher, f"Input:\n{typed}", json_schema=schema, max_tokens=16))
    [row] = ledger(conn)
    assert row["cost_usd"] <= row["reserved_usd"]


def test_a_wrong_key_costs_nothing_however_many_are_asked_at_once(
    conn: Connection, opened: Open, server: RehearsalServer
) -> None:
    server.fail_next(*["401"] * 50)

    async def many(teacher: Teacher) -> None:
        async def one(number: int) -> bool:
            await ask(teacher, f"A whale number {number} is in the lift.")
            return True

        await for_each(range(50), one, concurrency=8)

    teacher = opened()
    with pytest.raises(GoldsmithError, match="refused the key") as caught:
        with_teacher(teacher, many)
    assert not isinstance(caught.value, RetryableError)
    assert teacher.spent_usd == 0
    assert {row["status"] for row in ledger(conn)} == {"released"}
    assert len(server.requests) <= 8


def test_many_at_once_use_the_budget_up_as_well_as_one_after_the_other(opened: Open) -> None:
    """A question that does not fit waits for those in flight, whose worst case gives way to their price."""
    teacher = opened(budget_usd=0.02)

    async def all_at_once(teacher: Teacher) -> list[Answer | BaseException]:
        questions = (ask(teacher, f"A whale number {number} is in the lift.") for number in range(60))
        return await asyncio.gather(*questions, return_exceptions=True)

    outcomes = with_teacher(teacher, all_at_once)
    assert {type(outcome) for outcome in outcomes} == {Answer, BudgetReached}
    assert 0.01 < teacher.spent_usd <= 0.02


@pytest.mark.parametrize("status", ["401", "403"])
def test_a_refused_key_is_permanent_and_not_retried(
    conn: Connection, opened: Open, server: RehearsalServer, status: str
) -> None:
    server.fail_next(status)
    with pytest.raises(
        GoldsmithError, match=rf"refused the key in GOLDSMITH_REHEARSAL_URL \({status}.*nothing was retried"
    ) as caught:
        with_teacher(opened(), ask)
    assert not isinstance(caught.value, RetryableError)
    assert len(server.requests) == 1
    assert [row["status"] for row in ledger(conn)] == ["released"]


def test_a_refused_request_is_permanent(opened: Open) -> None:
    schema = {"type": "object", "properties": {"other": {"type": "string"}}}
    with pytest.raises(
        GoldsmithError, match=r"refused the request \(400 invalid_request_error: output_config.format"
    ) as caught:
        with_teacher(opened(), lambda teacher: ask(teacher, json_schema=schema))
    assert not isinstance(caught.value, RetryableError)


@pytest.mark.parametrize("status", ["429", "500", "529"])
def test_a_busy_provider_is_retried_and_then_left_to_the_job(
    conn: Connection, opened: Open, server: RehearsalServer, status: str
) -> None:
    server.fail_next(status)
    assert with_teacher(opened(), ask).text
    assert len(server.requests) == 2

    server.fail_next(*[status] * 3)
    with pytest.raises(RetryableError, match=rf"busy or broken \({status}.*2 retries"):
        with_teacher(opened(), lambda teacher: ask(teacher, "Another whale is in the lift."))
    assert [row["status"] for row in ledger(conn)] == ["settled", "released"]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("html", "no message.*text/html"),
        ("half_json", "no message.*JSONDecodeError"),
        ("other_shape", "no message.*ValidationError"),
        ("drop", "gave no answer: RemoteProtocolError"),
    ],
)
def test_an_answer_that_is_none_is_charged_at_its_worst_case_and_asked_for_again_a_few_times(
    conn: Connection, opened: Open, server: RehearsalServer, how: str, says: str
) -> None:
    server.fail_next(how)
    teacher = opened()
    assert with_teacher(teacher, ask).text
    lost, good = ledger(conn)
    assert (lost["status"], lost["answer"], lost["cost_usd"]) == ("settled", None, lost["reserved_usd"])
    assert teacher.spent_usd == float(lost["cost_usd"] + good["cost_usd"])

    server.fail_next(*[how] * 3)
    with pytest.raises(NotAnswered, match=f"asked 3 times .*{says}"):
        with_teacher(opened(), lambda teacher: ask(teacher, "Another whale is in the lift."))
    assert len(ledger(conn)) == len(server.requests) == 5


def test_a_question_without_an_answer_is_not_bought_by_the_next_attempt_either(
    conn: Connection, opened: Open, server: RehearsalServer, job_factory: Callable[..., UUID]
) -> None:
    job_id = job_factory(kind="gold")
    server.fail_next(*["half_json"] * 3)
    for attempt in (1, 2):
        conn.execute("UPDATE jobs SET attempt = %s WHERE id = %s", (attempt, job_id))
        with pytest.raises(NotAnswered):
            with_teacher(opened(job_id, attempt), ask)
    assert len(server.requests) == 3
    assert with_teacher(opened(), ask).text  # another job tries for itself


def test_when_no_answer_is_one_any_more_the_job_waits(opened: Open, server: RehearsalServer) -> None:
    server.fail_next(*["html"] * 20)

    async def many(teacher: Teacher) -> None:
        for number in range(10):
            with suppress(NotAnswered):
                await ask(teacher, f"A whale number {number} is in the lift.")

    with pytest.raises(RetryableError, match="is it a proxy's page"):
        with_teacher(opened(), many)
    assert len(server.requests) == metered.LOST_IN_A_ROW


def test_an_answer_longer_than_asked_for_is_paid_as_billed_and_never_asked_for_again(
    conn: Connection, opened: Open, server: RehearsalServer, job_factory: Callable[..., UUID]
) -> None:
    """40,000 tokens: above the worst case, so the budget is overrun, and nothing more is bought."""
    job_id = job_factory(kind="gold")
    server.fail_next("huge")

    async def two(teacher: Teacher) -> None:
        with pytest.raises(NotAnswered, match="at most 300 were asked for"):
            await ask(teacher)
        with pytest.raises(BudgetReached):
            await ask(teacher, "Another whale is in the lift.")

    teacher = opened(job_id, budget_usd=0.01)
    with_teacher(teacher, two)
    [row] = ledger(conn)
    assert (row["answer"], row["output_tokens"] >= 40_000) == (None, True)
    assert row["cost_usd"] > row["reserved_usd"]
    assert float(row["cost_usd"]) == pytest.approx(server.meter.usd, abs=1e-6)
    budget = conn.execute("SELECT * FROM budgets WHERE scope = %s", (f"job:{job_id}",)).fetchone()
    assert budget is not None
    assert (float(budget["cap_usd"]), budget["spent_usd"], budget["reserved_usd"]) == (0.01, row["cost_usd"], 0)
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    with pytest.raises(NotAnswered):
        with_teacher(opened(job_id, 2, budget_usd=5), ask)
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_costs_nothing(conn: Connection, opened: Open) -> None:
    with pytest.raises(RetryableError, match="gave no answer"):
        with_teacher(opened(rehearsal_url=f"http://127.0.0.1:{free_port()}"), ask)
    assert [row["status"] for row in ledger(conn)] == ["released"]


@pytest.mark.parametrize(("how", "text", "stop_reason"), [("empty", "", "end_turn"), ("refusal", "", "refusal")])
def test_an_answer_of_no_use_is_paid_and_says_so(
    conn: Connection, opened: Open, server: RehearsalServer, how: str, text: str, stop_reason: str
) -> None:
    server.fail_next(how)
    got = with_teacher(opened(), ask)
    assert (got.text, got.stop_reason) == (text, stop_reason)
    assert got.cost_usd > 0
    assert [row["status"] for row in ledger(conn)] == ["settled"]


def test_a_cut_answer_says_so(opened: Open) -> None:
    got = with_teacher(opened(), lambda teacher: ask(teacher, max_tokens=5))
    assert got.stop_reason == "max_tokens"
    assert 0 < len(got.text) <= 20


def test_thinking_is_no_part_of_the_text(opened: Open, server: RehearsalServer) -> None:
    server.fail_next("thinking")
    assert with_teacher(opened(), ask).text.startswith("A whale is stuck in the lift: ")


async def cancelled_on_the_way(teacher: Teacher, server: RehearsalServer) -> asyncio.Task[Answer]:
    question = asyncio.create_task(ask(teacher))
    while not server.waiting:
        await asyncio.sleep(0.01)
    question.cancel()
    await asyncio.sleep(0)
    assert not question.done()
    return question


def test_a_question_that_is_cancelled_on_the_way_is_settled_and_its_answer_kept(
    conn: Connection, opened: Open, server: RehearsalServer
) -> None:
    server.fail_next("slow")

    async def cancel(teacher: Teacher) -> None:
        question = await cancelled_on_the_way(teacher, server)
        server.let_go()
        with pytest.raises(asyncio.CancelledError):
            await question

    with_teacher(opened(), cancel)
    [row] = ledger(conn)
    assert row["status"] == "settled"
    assert row["cost_usd"] < row["reserved_usd"]
    assert with_teacher(opened(), ask).reused


def test_a_question_that_is_cancelled_again_is_charged_at_its_worst_case(
    conn: Connection, opened: Open, server: RehearsalServer
) -> None:
    server.fail_next("slow")

    async def give_up(teacher: Teacher) -> None:
        question = await cancelled_on_the_way(teacher, server)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question

    teacher = opened()
    with_teacher(teacher, give_up)
    [row] = ledger(conn)
    assert (row["status"], row["cost_usd"]) == ("settled", row["reserved_usd"])
    assert teacher.spent_usd == float(row["cost_usd"])


def test_a_question_that_is_cancelled_between_two_tries_costs_nothing(conn: Connection, opened: Open) -> None:
    server = MeteringServer(rate=0.05, burst=1)
    with server:

        async def cancel(teacher: Teacher) -> None:
            await ask(teacher)
            question = asyncio.create_task(ask(teacher, "Another whale is in the lift."))
            while not server.statuses["429"]:
                await asyncio.sleep(0.01)
            question.cancel()
            with pytest.raises(asyncio.CancelledError):
                await question

        with_teacher(opened(rehearsal_url=server.url), cancel)
    assert [row["status"] for row in ledger(conn)] == ["settled", "released"]


def test_when_one_question_fails_those_on_the_way_are_settled_and_no_other_is_sent(
    conn: Connection, opened: Open, server: RehearsalServer
) -> None:
    server.fail_next("slow", "401")

    async def three(teacher: Teacher) -> None:
        async def one(number: int) -> bool:
            while number and not server.waiting:
                await asyncio.sleep(0.01)
            try:
                await ask(teacher, f"A whale number {number} is in the lift.")
            except GoldsmithError:
                asyncio.get_running_loop().call_later(0.05, server.let_go)
                raise
            return True

        with pytest.raises(GoldsmithError, match="refused the key"):
            await for_each(range(20), one, concurrency=2)

    with_teacher(opened(), three)
    assert len(server.requests) == 2
    rows = ledger(conn)
    assert sorted(row["status"] for row in rows) == ["released", "settled"]
    assert all(row["answer"] is not None for row in rows if row["status"] == "settled")


def test_an_attempt_that_was_given_up_cannot_ask(conn: Connection, opened: Open, job_factory: Callable[..., UUID]) -> None:
    job_id = job_factory(kind="gold")
    teacher = opened(job_id)
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    with pytest.raises(FencedOut):
        with_teacher(teacher, ask)
    assert ledger(conn) == []


def test_an_answer_that_comes_after_the_attempt_was_given_up_is_settled(
    conn: Connection, opened: Open, server: RehearsalServer, job_factory: Callable[..., UUID]
) -> None:
    job_id = job_factory(kind="gold")
    server.fail_next("slow")

    async def late(teacher: Teacher) -> Answer:
        question = asyncio.create_task(ask(teacher))
        while not server.waiting:
            await asyncio.sleep(0.01)
        conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
        next_attempt = opened(job_id, 2)
        [row] = ledger(conn)
        assert next_attempt.spent_usd == float(row["reserved_usd"])  # charged as lost
        await next_attempt.aclose()
        server.let_go()
        return await question

    got = with_teacher(opened(job_id), late)
    [row] = ledger(conn)
    assert float(row["cost_usd"]) == got.cost_usd
    assert opened(job_id, 2).spent_usd == got.cost_usd


# -- what is checked before the first question


def open_anthropic(
    database: Database, job_id: UUID, *, recorded: bool = False, model: str | None = None, **settings: Any
) -> Teacher:
    settings = {"anthropic_api_key": SecretStr("sk-not-a-key"), **settings}
    return open_teacher(
        database,
        settings=Settings(
            _env_file=None, **{("ANTHROPIC_API_KEY" if k == "anthropic_api_key" else k): v for k, v in settings.items()}
        ),
        job_id=job_id,
        attempt=1,
        provider="anthropic",
        model=model,
        budget_usd=1,
        recorded=recorded,
    )


def test_recorded_data_leaves_the_machine_only_when_the_admin_allows_it(
    database: Database, job_factory: Callable[..., UUID]
) -> None:
    with pytest.raises(InvalidInput, match="GOLDSMITH_ALLOW_PROVIDERS=anthropic"):
        open_anthropic(database, job_factory(), recorded=True)
    assert open_anthropic(database, job_factory(), recorded=True, allow_providers=["anthropic"]).provider == "anthropic"
    assert not open_anthropic(database, job_factory()).rehearsal


def test_claude_needs_a_key(database: Database, job_factory: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(Unavailable, match="set ANTHROPIC_API_KEY") as caught:
        open_anthropic(database, job_factory(), anthropic_api_key=None)
    assert not isinstance(caught.value, RetryableError)


def test_the_models_of_teachers_are_not_mixed_up(database: Database, job_factory: Callable[..., UUID]) -> None:
    with pytest.raises(InvalidInput, match="'rehearsal-1' is not one of teacher 'anthropic'"):
        open_anthropic(database, job_factory(), model="rehearsal-1")
    with pytest.raises(InvalidInput, match=r"'gpt-9' has no price.*claude-sonnet-5-5.*GOLDSMITH_PRICES"):
        open_anthropic(database, job_factory(), model="gpt-9")


@pytest.mark.parametrize(
    ("url", "error"), [(None, "start Goldsmith with --rehearsal"), ("http://teacher.example.org", "must be on loopback")]
)
def test_the_rehearsal_teacher_is_on_loopback(opened: Open, url: str | None, error: str) -> None:
    with pytest.raises(GoldsmithError, match=error):
        opened(rehearsal_url=url)


def test_an_unknown_provider_is_named(database: Database, job_factory: Callable[..., UUID]) -> None:
    with pytest.raises(InvalidInput, match="teacher 'oracle': one of anthropic, bedrock, openai-compatible, rehearsal"):
        open_teacher(
            database,
            settings=Settings(),
            job_id=job_factory(),
            attempt=1,
            provider="oracle",
            model=None,
            budget_usd=1,
            recorded=False,
        )


def test_asking_without_the_shared_limit_is_counted(conn: Connection, opened: Open) -> None:
    def count() -> int:
        return metrics.read(conn).limiter_unavailable.get("rehearsal", 0)

    before = count()
    with_teacher(opened(broker_url=f"redis://127.0.0.1:{free_port()}/0"), ask)
    assert count() == before + 1
