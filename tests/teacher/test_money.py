"""Money at its edges: prices of nothing, a server that says nothing, four jobs at one key's budget, another key's answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bench.metering import MeteringServer
from goldsmith.db import Connection, Database
from goldsmith.errors import InvalidInput
from goldsmith.keys import NewKey
from goldsmith.keys import create as create_key
from goldsmith.settings import Settings
from goldsmith.teacher import Answer, BudgetReached, NotAnswered, Teacher, metered, open_teacher
from goldsmith.teacher.bounded import for_each
from tests.teacher.test_other_wires import COMPLETION, Server
from tests.teacher.test_other_wires import server as local_server  # noqa: F401

JobFactory = Callable[..., UUID]


@pytest.fixture
def server() -> Iterator[MeteringServer]:
    with MeteringServer() as server:
        yield server


def claude(database: Database, job_id: UUID, server: MeteringServer, *, budget_usd: float = 1, **settings: Any) -> Teacher:
    known = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": server.url, "allow_providers": ["anthropic"], **settings}
    return open_teacher(
        database,
        settings=Settings(_env_file=None, **known),
        job_id=job_id,
        attempt=1,
        provider="anthropic",
        model=None,
        budget_usd=budget_usd,
        recorded=True,
    )


def with_teacher(teacher: Teacher, do: Callable[[Teacher], Awaitable[Any]]) -> Any:
    async def work() -> Any:
        async with aclosing(teacher):
            return await do(teacher)

    return asyncio.run(work())


def whale(number: int = 0) -> Callable[[Teacher], Awaitable[Answer]]:
    return lambda teacher: teacher.ask(
        item="row", system="Be brief.", prompt=f"Whale {number} is stuck in the lift.", max_tokens=200
    )


def test_a_model_of_our_own_is_not_stopped_by_a_budget_that_is_used_up(
    conn: Connection,
    database: Database,
    job_factory: JobFactory,
    local_server: Server,  # noqa: F811
) -> None:
    local_server.answer = COMPLETION
    create_key(conn, NewKey(name="tablet", scopes=["jobs:write"], budget_usd=0, budget_usd_per_day=0), actor="test")
    teacher = open_teacher(
        database,
        settings=Settings(_env_file=None, openai_compatible_url=local_server.url, budget_usd_per_day=0),
        job_id=job_factory(created_by="tablet"),
        attempt=1,
        provider="openai-compatible",
        model="qwen3:4b",
        budget_usd=0.0001,
        recorded=True,
    )
    assert with_teacher(teacher, whale()).text
    assert teacher.spent_usd == 0
    row = conn.execute("SELECT status, reserved_usd, cost_usd FROM teacher_calls").fetchone()
    assert row == {"status": "settled", "reserved_usd": 0, "cost_usd": 0}


def test_a_price_list_of_ones_own_goes_before_and_a_price_of_zero_is_a_price(
    database: Database, job_factory: JobFactory, server: MeteringServer, tmp_path: Path
) -> None:
    own = tmp_path / "prices.yaml"
    own.write_text("models:\n  claude-sonnet-5-5: {input: 0, output: 0}\n")
    teacher = claude(database, job_factory(), server, budget_usd=0.0001, prices=own)
    assert with_teacher(teacher, whale()).text
    assert (teacher.spent_usd, teacher.counted) == (0, "a token for every byte: the model costs nothing")
    own = tmp_path / "dear.yaml"
    own.write_text("models:\n  claude-sonnet-5-5: {input: 2000, output: 10000}\n")
    with pytest.raises(BudgetReached, match=r"may cost 2\."):
        with_teacher(claude(database, job_factory(), server, prices=own), whale(1))


def test_a_teacher_that_never_answers_is_charged_at_its_worst_case(
    conn: Connection, database: Database, job_factory: JobFactory, server: MeteringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metered, "TRIES", 1)
    server.faults, server.slow_s = {"slow": 1.0}, 30
    teacher = claude(database, job_factory(), server, teacher_timeout_s=1)
    with pytest.raises(NotAnswered, match="gave no answer"):
        with_teacher(teacher, whale())
    [row] = conn.execute("SELECT * FROM teacher_calls").fetchall()
    assert (row["status"], row["answer"], row["cost_usd"]) == ("settled", None, row["reserved_usd"])
    server.let_go()


def test_four_jobs_of_one_key_share_its_budget_of_the_day(
    conn: Connection, database: Database, job_factory: JobFactory, server: MeteringServer
) -> None:
    create_key(conn, NewKey(name="tablet", scopes=["jobs:write"], budget_usd_per_day=0.02), actor="test")
    jobs = [job_factory(created_by="tablet") for _ in range(4)]

    async def buy(teacher: Teacher, start: int, at_once: int = 5) -> None:
        async def one(number: int) -> bool:
            try:
                await whale(number)(teacher)
            except BudgetReached:
                return False
            return True

        await for_each(range(start, start + 100), one, concurrency=at_once)

    def run(number: int) -> None:
        teacher = claude(database, jobs[number], server, budget_usd=5)
        with_teacher(teacher, lambda teacher: buy(teacher, 1000 * number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    # What the others had reserved when the last was refused may have cost little; one at a time goes to the end of the budget.
    with_teacher(claude(database, jobs[0], server, budget_usd=5), lambda teacher: buy(teacher, 4000, at_once=1))
    budget = conn.execute("SELECT * FROM budgets WHERE scope LIKE 'key:tablet:20%'").fetchone()
    assert budget is not None
    assert budget["reserved_usd"] == 0
    assert 0.015 < float(budget["spent_usd"]) <= 0.02
    assert float(budget["spent_usd"]) == pytest.approx(server.report()["usd"], abs=1e-6 * server.report()["requests"])


def test_another_key_buys_its_own_answer_to_a_recorded_prompt(
    conn: Connection, database: Database, job_factory: JobFactory, server: MeteringServer
) -> None:
    for name in ("tablet", "desk"):
        create_key(conn, NewKey(name=name, scopes=["jobs:write"]), actor="test")
    first, own, other = (
        with_teacher(claude(database, job_factory(created_by=name), server), whale()) for name in ("tablet", "tablet", "desk")
    )
    assert (first.reused, own.reused, other.reused) == (False, True, False)
    assert server.report()["requests"] == 2


def test_a_prompt_too_long_for_its_known_price_is_refused_and_one_that_only_has_many_bytes_is_not(
    database: Database, job_factory: JobFactory, server: MeteringServer
) -> None:
    def ask(length: int) -> Any:
        teacher = open_teacher(
            database,
            settings=Settings(
                _env_file=None, ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=server.url, allow_providers=["anthropic"]
            ),
            job_id=job_factory(),
            attempt=1,
            provider="anthropic",
            model="claude-haiku-5-5",
            budget_usd=1,
            recorded=True,
        )
        return with_teacher(teacher, lambda it: it.ask(item="row", system=None, prompt="wool " * length, max_tokens=50))

    assert ask(40_000).input_tokens == 50_000  # of 200,000 bytes
    with pytest.raises(InvalidInput, match="known price up to 100000 tokens"):
        ask(100_000)
