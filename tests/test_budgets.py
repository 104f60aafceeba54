from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from goldsmith import budgets
from goldsmith.budgets import Call
from goldsmith.db import Connection, connect
from goldsmith.errors import FencedOut, InvalidInput, NotFound

JobFactory = Callable[..., UUID]
ONE = Decimal("1.000000")
CALL = Call("run_1/loom", "a" * 64, "anthropic", "claude-sonnet-5-5")


def budget_of(conn: Connection, budget_id: UUID) -> tuple[float, float, float]:
    row = conn.execute("SELECT cap_usd, reserved_usd, spent_usd FROM budgets WHERE id = %s", (budget_id,)).fetchone()
    assert row is not None
    return float(row["cap_usd"]), float(row["reserved_usd"]), float(row["spent_usd"])


def call_of(conn: Connection, call_id: UUID) -> dict[str, Any]:
    row = conn.execute("SELECT * FROM teacher_calls WHERE id = %s", (call_id,)).fetchone()
    assert row is not None
    return row


def cost_of(conn: Connection, job_id: UUID) -> float:
    row = conn.execute("SELECT cost_usd FROM jobs WHERE id = %s", (job_id,)).fetchone()
    assert row is not None
    return float(row["cost_usd"])


def reserve(conn: Connection, budget_id: UUID, job_id: UUID, usd: Decimal = ONE, attempt: int = 1, call: Call = CALL) -> UUID:
    call_id = budgets.reserve(conn, budget_id, job_id, attempt, call, usd)
    assert call_id is not None
    return call_id


def settle(conn: Connection, call_id: UUID, usd: str = "0.25", text: str = "Ein Absatz.") -> None:
    budgets.settle(
        conn, call_id, cost_usd=Decimal(usd), input_tokens=10, output_tokens=20, request_id="req_1", answer={"text": text}
    )


def test_a_call_is_reserved_and_then_settled_at_its_price(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    budget_id = budgets.open(conn, f"job:{job_id}", 2)
    call_id = reserve(conn, budget_id, job_id)
    assert budget_of(conn, budget_id) == (2, 1, 0)
    assert call_of(conn, call_id)["status"] == "reserved"

    settle(conn, call_id)
    assert budget_of(conn, budget_id) == (2, 0, 0.25)
    assert cost_of(conn, job_id) == 0.25
    row = call_of(conn, call_id)
    assert (row["status"], row["input_tokens"], row["output_tokens"], row["request_id"]) == ("settled", 10, 20, "req_1")
    assert row["answer"] == {"text": "Ein Absatz."}


def test_what_does_not_fit_under_the_cap_is_not_reserved_and_leaves_no_row(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    budget_id = budgets.open(conn, f"job:{job_id}", 1.5)
    reserve(conn, budget_id, job_id)
    assert budgets.reserve(conn, budget_id, job_id, 1, CALL, ONE) is None
    assert budget_of(conn, budget_id) == (1.5, 1, 0)
    count = conn.execute("SELECT count(*) AS n FROM teacher_calls").fetchone()
    assert count is not None
    assert count["n"] == 1
    reserve(conn, budget_id, job_id, Decimal("0.5"))  # exactly the cap fits


def test_a_released_call_costs_nothing(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    budget_id = budgets.open(conn, f"job:{job_id}", 1)
    call_id = reserve(conn, budget_id, job_id)
    budgets.release(conn, call_id)
    budgets.release(conn, call_id)
    assert budget_of(conn, budget_id) == (1, 0, 0)
    assert call_of(conn, call_id)["status"] == "released"
    assert cost_of(conn, job_id) == 0


def test_settling_twice_pays_once(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    budget_id = budgets.open(conn, f"job:{job_id}", 1)
    call_id = reserve(conn, budget_id, job_id)
    settle(conn, call_id, text="first")
    settle(conn, call_id, "0.75", text="second")
    budgets.release(conn, call_id)
    assert budget_of(conn, budget_id) == (1, 0, 0.25)
    assert call_of(conn, call_id)["answer"] == {"text": "first"}


def test_a_fenced_out_attempt_cannot_reserve_but_can_still_settle(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    budget_id = budgets.open(conn, f"job:{job_id}", 5)
    call_id = reserve(conn, budget_id, job_id)
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    with pytest.raises(FencedOut):
        budgets.reserve(conn, budget_id, job_id, 1, CALL, ONE)
    assert budget_of(conn, budget_id) == (5, 1, 0)
    settle(conn, call_id)
    assert budget_of(conn, budget_id) == (5, 0, 0.25)
    assert cost_of(conn, job_id) == 0.25


def test_the_next_attempt_charges_lost_calls_at_their_worst_case(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    budget_id = budgets.open(conn, f"job:{job_id}", 5)
    lost = reserve(conn, budget_id, job_id)
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    mine = reserve(conn, budget_id, job_id, attempt=2)

    assert budgets.charge_lost(conn, job_id, 2) == 1
    assert budgets.charge_lost(conn, job_id, 2) == 0
    assert budget_of(conn, budget_id) == (5, 1, 1)
    assert cost_of(conn, job_id) == 1
    assert (call_of(conn, lost)["status"], call_of(conn, lost)["answer"]) == ("settled", None)
    assert call_of(conn, mine)["status"] == "reserved"
    with pytest.raises(FencedOut):
        budgets.charge_lost(conn, job_id, 1)


@pytest.mark.parametrize(("ending", "spent", "status"), [("settle", 0.25, "settled"), ("release", 0, "released")])
def test_a_lost_call_that_comes_back_corrects_its_charge(
    conn: Connection, job_factory: JobFactory, ending: str, spent: float, status: str
) -> None:
    job_id = job_factory()
    budget_id = budgets.open(conn, f"job:{job_id}", 5)
    call_id = reserve(conn, budget_id, job_id)
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    budgets.charge_lost(conn, job_id, 2)
    if ending == "settle":
        settle(conn, call_id)
    else:
        budgets.release(conn, call_id)
    assert budget_of(conn, budget_id) == (5, 0, spent)
    assert cost_of(conn, job_id) == spent
    assert call_of(conn, call_id)["status"] == status


def test_a_bill_above_its_worst_case_exhausts_the_budget_and_is_not_lost(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    budget_id = budgets.open(conn, f"job:{job_id}", 1)
    settle(conn, reserve(conn, budget_id, job_id), "1.5")
    assert budget_of(conn, budget_id) == (1.5, 0, 1.5)
    assert budgets.reserve(conn, budget_id, job_id, 1, CALL, Decimal("0.000001")) is None


def test_a_paid_answer_is_found_by_its_request(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    budget_id = budgets.open(conn, f"job:{job_id}", 5)
    assert budgets.paid_answer(conn, CALL.request_sha256) is None
    reserve(conn, budget_id, job_id)
    assert budgets.paid_answer(conn, CALL.request_sha256) is None
    settle(conn, reserve(conn, budget_id, job_id), text="bought")
    budgets.charge(conn, reserve(conn, budget_id, job_id))
    paid = budgets.paid_answer(conn, CALL.request_sha256)
    assert paid is not None
    assert (paid.answer, paid.cost_usd, paid.job_id) == ({"text": "bought"}, Decimal("0.25"), job_id)


def test_only_identical_requests_have_one_name() -> None:
    request = {"provider": "anthropic", "model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hund"}]}
    name = budgets.request_sha256(request)
    assert name == budgets.request_sha256(dict(reversed(request.items())))
    for key, value in [("provider", "x"), ("model", "n"), ("max_tokens", 11), ("system", ""), ("messages", [])]:
        assert name != budgets.request_sha256({**request, key: value})


def test_opening_again_changes_the_cap_and_never_below_what_is_gone(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    budget_id = budgets.open(conn, "job:x", 5)
    reserve(conn, budget_id, job_id)
    assert budgets.open(conn, "job:x", 3) == budget_id
    assert budget_of(conn, budget_id)[0] == 3
    budgets.open(conn, "job:x", 0.5)
    assert budget_of(conn, budget_id)[0] == 1
    with pytest.raises(InvalidInput, match="budget -1"):
        budgets.open(conn, "job:x", -1)


def test_an_unknown_call_or_budget_is_named(conn: Connection) -> None:
    with pytest.raises(NotFound, match="teacher call"):
        budgets.release(conn, uuid4())
    with pytest.raises(NotFound, match="budget"):
        budgets.spent(conn, uuid4())


def test_eight_threads_never_exceed_the_cap(conn: Connection, database_url: str, job_factory: JobFactory) -> None:
    """Each reserves 0.10, settles at 0.07 or releases; the cap holds at every moment and the sums are exact in the end."""
    job_ids = [job_factory() for _ in range(2)]
    cap = Decimal("2")
    budget_id = budgets.open(conn, "job:shared", float(cap))
    settled: list[UUID] = []
    refused: list[int] = []
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with connect(database_url) as mine:
                start.wait()
                for turn in range(12):
                    call_id = budgets.reserve(mine, budget_id, job_ids[number % 2], 1, CALL, Decimal("0.10"))
                    if call_id is None:
                        refused.append(number)
                    elif turn % 4 == 3:
                        budgets.release(mine, call_id)
                    else:
                        settle(mine, call_id, "0.07")
                        settled.append(call_id)
                    row = mine.execute(
                        "SELECT spent_usd + reserved_usd AS gone FROM budgets WHERE id = %s", (budget_id,)
                    ).fetchone()
                    assert row is not None
                    assert row["gone"] <= cap
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    assert refused, "72 settled calls of 0.07 would cost 5.04: the cap of 2 must have refused some"
    cap_usd, reserved, spent = budget_of(conn, budget_id)
    assert cap_usd == 2
    assert reserved == 0
    assert spent == pytest.approx(0.07 * len(settled))
    assert sum(cost_of(conn, job_id) for job_id in job_ids) == pytest.approx(spent)
    assert 1.9 < spent <= 2  # it was used up, not given up early
