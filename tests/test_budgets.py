from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from goldsmith import budgets
from goldsmith.budgets import Account, Bill, Call, InFlight, NoRoom, Paid, Refused
from goldsmith.db import Connection, connect
from goldsmith.errors import FencedOut, InvalidInput, NotFound
from goldsmith.keys import NewKey
from goldsmith.keys import create as create_key

JobFactory = Callable[..., UUID]
ONE = Decimal("1.000000")


def call(number: int = 1, usd: str | Decimal = ONE, **more: Any) -> Call:
    return Call(f"run_{number}/loom", f"{number:064x}", "anthropic", "claude-sonnet-5-5", Decimal(usd), **more)


def budget_of(conn: Connection, scope: str) -> tuple[float, float, float]:
    """Cap, reserved, spent."""
    row = conn.execute("SELECT cap_usd, reserved_usd, spent_usd FROM budgets WHERE scope = %s", (scope,)).fetchone()
    assert row is not None
    return float(row["cap_usd"]), float(row["reserved_usd"]), float(row["spent_usd"])


def scopes(conn: Connection) -> dict[str, tuple[float, float]]:
    """Reserved and spent, of every budget."""
    rows = conn.execute("SELECT scope, reserved_usd, spent_usd FROM budgets")
    return {row["scope"]: (float(row["reserved_usd"]), float(row["spent_usd"])) for row in rows}


def call_of(conn: Connection, call_id: UUID) -> dict[str, Any]:
    row = conn.execute("SELECT * FROM teacher_calls WHERE id = %s", (call_id,)).fetchone()
    assert row is not None
    return row


def cost_of(conn: Connection, job_id: UUID) -> float:
    row = conn.execute("SELECT cost_usd FROM jobs WHERE id = %s", (job_id,)).fetchone()
    assert row is not None
    return float(row["cost_usd"])


def opened(conn: Connection, job_id: UUID, usd: float = 5, **more: Any) -> tuple[Account, str]:
    return budgets.open_account(conn, job_id, more.pop("attempt", 1), budget_usd=usd, **more), f"job:{job_id}"


def reserve(conn: Connection, account: Account, number: int = 1, usd: str | Decimal = ONE, **more: Any) -> UUID:
    [place] = budgets.reserve(conn, account, [call(number, usd, **more)])
    assert isinstance(place, UUID), place
    return place


def settle(conn: Connection, call_id: UUID, usd: str = "0.25", text: str = "Ein Absatz.") -> Decimal:
    answer = {"text": text}
    paid = Bill(call_id, "answered", Decimal(usd), input_tokens=10, output_tokens=20, request_id="req_1", answer=answer)
    return budgets.settle(conn, [paid])


def release(conn: Connection, call_id: UUID) -> None:
    budgets.settle(conn, [Bill(call_id, "free")])


def test_a_call_is_reserved_and_then_settled_at_its_price(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    account, scope = opened(conn, job_id, 2)
    call_id = reserve(conn, account)
    assert budget_of(conn, scope) == (2, 1, 0)
    assert call_of(conn, call_id)["status"] == "reserved"

    assert settle(conn, call_id) == Decimal("0.25")
    assert budget_of(conn, scope) == (2, 0, 0.25)
    assert cost_of(conn, job_id) == 0.25
    row = call_of(conn, call_id)
    assert (row["status"], row["input_tokens"], row["output_tokens"], row["request_id"]) == ("settled", 10, 20, "req_1")
    assert row["answer"] == {"text": "Ein Absatz."}


def test_a_call_counts_in_all_five_budgets(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory(created_by="tablet")
    account, scope = opened(conn, job_id)
    day = conn.execute("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day").fetchone()
    assert day is not None
    names = {scope, "key:tablet", f"key:tablet:{day['day']}", f"day:{day['day']}", "all"}
    call_id = reserve(conn, account)
    assert scopes(conn) == dict.fromkeys(names, (1, 0))
    settle(conn, call_id)
    assert scopes(conn) == dict.fromkeys(names, (0, 0.25))


def test_what_does_not_fit_under_the_cap_is_not_reserved_and_leaves_no_row(conn: Connection, job_factory: JobFactory) -> None:
    account, scope = opened(conn, job_factory(), 1.5)
    reserve(conn, account, 1)
    assert budgets.reserve(conn, account, [call(2)]) == [NoRoom(scope)]
    assert budget_of(conn, scope) == (1.5, 1, 0)
    count = conn.execute("SELECT count(*) AS n FROM teacher_calls").fetchone()
    assert count is not None
    assert count["n"] == 1
    reserve(conn, account, 2, "0.5")  # exactly the cap fits


def test_of_many_calls_the_first_ones_that_fit_are_reserved(conn: Connection, job_factory: JobFactory) -> None:
    account, scope = opened(conn, job_factory(), 2.5)
    places = budgets.reserve(conn, account, [call(number) for number in range(4)])
    assert [isinstance(place, UUID) for place in places] == [True, True, False, False]
    assert places[2:] == [NoRoom(scope)] * 2
    assert budget_of(conn, scope) == (2.5, 2, 0)


@pytest.mark.parametrize("short", ["key", "key_day", "day"])
def test_the_tightest_budget_decides_and_is_named(conn: Connection, job_factory: JobFactory, short: str) -> None:
    caps = {"budget_usd": 1.5 if short == "key" else None, "budget_usd_per_day": 1.5 if short == "key_day" else None}
    create_key(conn, NewKey(name="tablet", scopes=["jobs:write"], **caps), actor="test")
    day_usd = 1.5 if short == "day" else None
    first, _ = opened(conn, job_factory(created_by="tablet"), 5, day_usd=day_usd)
    other, _ = opened(conn, job_factory(created_by="tablet"), 5, day_usd=day_usd)
    reserve(conn, first, 1)
    [place] = budgets.reserve(conn, other, [call(2)])
    assert isinstance(place, NoRoom)
    assert place.scope.startswith({"key": "key:tablet", "key_day": "key:tablet:2", "day": "day:2"}[short])
    if short != "day":  # another key's money is not this key's
        reserve(conn, opened(conn, job_factory(created_by="desk"), 5)[0], 3)


def test_a_day_is_over_at_midnight_utc(conn: Connection, job_factory: JobFactory) -> None:
    """Yesterday's spending is yesterday's: today's budget is made by the first call of the day."""
    account, _ = opened(conn, job_factory(), 5, day_usd=1)
    yesterday = reserve(conn, account, 1)
    conn.execute(
        "UPDATE budgets SET scope = replace(scope, right(scope, 10), '2020-01-01') WHERE scope ~ '\\d{4}-\\d\\d-\\d\\d$'"
    )
    reserve(conn, account, 2)
    settle(conn, yesterday)
    assert scopes(conn)["day:2020-01-01"] == (0, 0.25)
    assert isinstance(budgets.reserve(conn, account, [call(3)])[0], NoRoom)


def test_calls_that_cost_nothing_fit_into_any_budget(conn: Connection, job_factory: JobFactory) -> None:
    account, _ = opened(conn, job_factory(), 1, day_usd=1)
    settle(conn, reserve(conn, account, 1), "1")
    local = replace(call(2, "0"), provider="openai-compatible")
    assert isinstance(budgets.reserve(conn, account, [local])[0], UUID)


def test_a_released_call_costs_nothing(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    account, scope = opened(conn, job_id, 1)
    call_id = reserve(conn, account)
    release(conn, call_id)
    release(conn, call_id)
    assert budget_of(conn, scope) == (1, 0, 0)
    assert call_of(conn, call_id)["status"] == "released"
    assert cost_of(conn, job_id) == 0


def test_settling_twice_pays_once(conn: Connection, job_factory: JobFactory) -> None:
    account, scope = opened(conn, job_factory(), 1)
    call_id = reserve(conn, account)
    settle(conn, call_id, text="first")
    assert settle(conn, call_id, "0.75", text="second") == 0
    release(conn, call_id)
    assert budget_of(conn, scope) == (1, 0, 0.25)
    assert call_of(conn, call_id)["answer"] == {"text": "first"}


def test_a_paid_answer_is_never_changed(conn: Connection, job_factory: JobFactory) -> None:
    account, _ = opened(conn, job_factory())
    call_id = reserve(conn, account)
    settle(conn, call_id)
    with pytest.raises(psycopg.errors.IntegrityError, match="never changed"):
        conn.execute("""UPDATE teacher_calls SET answer = '{"text": "another"}' WHERE id = %s""", (call_id,))
    conn.execute("UPDATE teacher_calls SET job_id = NULL WHERE id = %s", (call_id,))


def test_a_fenced_out_attempt_cannot_reserve_but_can_still_settle(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    account, scope = opened(conn, job_id)
    call_id = reserve(conn, account)
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    with pytest.raises(FencedOut):
        budgets.reserve(conn, account, [call(2)])
    assert budget_of(conn, scope) == (5, 1, 0)
    settle(conn, call_id)
    assert budget_of(conn, scope) == (5, 0, 0.25)
    assert cost_of(conn, job_id) == 0.25


def test_the_next_attempt_charges_lost_calls_at_their_worst_case(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    first, scope = opened(conn, job_id)
    lost = reserve(conn, first)
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    second, _ = opened(conn, job_id, attempt=2)
    mine = reserve(conn, second, 2)

    assert budgets.charge_lost(conn, second) == 1
    assert budgets.charge_lost(conn, second) == 0
    assert budget_of(conn, scope) == (5, 1, 1)
    assert cost_of(conn, job_id) == 1
    assert (call_of(conn, lost)["status"], call_of(conn, lost)["answer"]) == ("settled", None)
    assert call_of(conn, mine)["status"] == "reserved"
    with pytest.raises(FencedOut):
        budgets.charge_lost(conn, first)


@pytest.mark.parametrize(("status", "lost"), [("running", 0), ("failed", 1), ("queued", 1), ("cancelled", 1)])
def test_calls_of_a_job_that_nobody_runs_are_charged(conn: Connection, job_factory: JobFactory, status: str, lost: int) -> None:
    job_id = job_factory()
    account, _ = opened(conn, job_id)
    call_id = reserve(conn, account)
    ended = status in ("failed", "cancelled")
    conn.execute(
        "UPDATE jobs SET status = %s, error = '{}', completed_at = CASE WHEN %s THEN now() END WHERE id = %s",
        (status, ended, job_id),
    )
    assert budgets.charge_abandoned(conn) == lost
    assert call_of(conn, call_id)["status"] == ("settled" if lost else "reserved")


@pytest.mark.parametrize(("ending", "spent", "status"), [("settle", 0.25, "settled"), ("release", 0, "released")])
def test_a_lost_call_that_comes_back_corrects_its_charge(
    conn: Connection, job_factory: JobFactory, ending: str, spent: float, status: str
) -> None:
    job_id = job_factory()
    account, scope = opened(conn, job_id)
    call_id = reserve(conn, account)
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    budgets.charge_lost(conn, replace(account, attempt=2))
    if ending == "settle":
        settle(conn, call_id)
    else:
        release(conn, call_id)
    assert budget_of(conn, scope) == (5, 0, spent)
    assert cost_of(conn, job_id) == spent
    assert call_of(conn, call_id)["status"] == status


def test_a_call_that_was_thought_free_is_paid_when_its_answer_comes_after_all(
    conn: Connection, job_factory: JobFactory
) -> None:
    account, scope = opened(conn, job_factory())
    call_id = reserve(conn, account)
    release(conn, call_id)
    settle(conn, call_id)
    assert budget_of(conn, scope) == (5, 0, 0.25)


def test_a_bill_above_its_worst_case_exhausts_the_budget_and_is_not_lost(conn: Connection, job_factory: JobFactory) -> None:
    account, scope = opened(conn, job_factory(), 1)
    settle(conn, reserve(conn, account), "1.5")
    assert budget_of(conn, scope) == (1, 0, 1.5)
    assert budgets.reserve(conn, account, [call(2, "0.000001")]) == [NoRoom(scope)]
    assert budgets.statement(conn, account.job_id).overbilled_usd == Decimal("0.5")
    reserve(conn, account, 3, "0")  # what costs nothing is never stopped


def test_after_a_bill_above_its_worst_case_what_others_leave_is_not_given_out_again(
    conn: Connection, job_factory: JobFactory
) -> None:
    account, scope = opened(conn, job_factory(), 1)
    dear, cheap = reserve(conn, account, 1, "0.1"), reserve(conn, account, 2, "0.9")
    settle(conn, dear, "0.6")
    assert budget_of(conn, scope) == (1, 0.9, 0.6)
    settle(conn, cheap, "0.1")
    assert budget_of(conn, scope) == (1, 0, 0.7)
    assert budgets.reserve(conn, account, [call(3, "0.4")]) == [NoRoom(scope)]
    reserve(conn, account, 4, "0.3")


def test_a_bill_above_its_worst_case_is_said_of_every_budget_that_it_overran(conn: Connection, job_factory: JobFactory) -> None:
    account, scope = opened(conn, job_factory(created_by="tablet"), 1, day_usd=2)
    settle(conn, reserve(conn, account, 1, "0.5"), "1.5")
    over = {row["scope"]: row["overrun_usd"] for row in conn.execute("SELECT scope, overrun_usd FROM budgets")}
    assert {name for name, usd in over.items() if usd} == {scope}
    assert over[scope] == Decimal("0.5")


def test_what_is_known_of_a_request(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory()
    account, _ = opened(conn, job_id)
    calls = [call(number, "0.5") for number in range(5)]
    more = [call(number, "0.01") for number in (6, 7)]
    places = budgets.reserve(conn, account, [*calls[:4], *more])
    settled, charged, refused, _, html, huge = (place for place in places if isinstance(place, UUID))
    settle(conn, settled, text="bought")
    budgets.settle(conn, [Bill(charged, "unknown"), Bill(refused, "free", error="expired")])
    budgets.settle(
        conn,
        [
            Bill(html, "unknown", error="broken: HTML"),
            Bill(huge, "answered", Decimal(1), output_tokens=40_000, error="too_long: 40000 tokens"),
        ],
    )
    assert budgets.known(conn, account, [one.request_sha256 for one in [*calls, *more]]) == {
        more[0].request_sha256: Refused(0, "broken: HTML", lost=1),
        more[1].request_sha256: Refused(0, "too_long: 40000 tokens", lost=1, too_long=True),
        calls[0].request_sha256: Paid({"text": "bought"}, Decimal("0.25"), job_id),
        calls[2].request_sha256: Refused(1, "expired"),
        calls[3].request_sha256: InFlight(None),
    }


def test_nothing_is_reserved_twice_or_again_when_it_is_paid(conn: Connection, job_factory: JobFactory) -> None:
    first, _ = opened(conn, job_factory())
    second, scope = opened(conn, job_factory())
    paid, flying = reserve(conn, first, 1), reserve(conn, first, 2)
    settle(conn, paid)
    places = budgets.reserve(conn, second, [call(1), call(2), call(3), call(3)])
    assert [type(place) for place in places] == [type(None), type(None), UUID, type(None)]
    assert budget_of(conn, scope) == (5, 1, 0)
    release(conn, flying)
    reserve(conn, second, 2)


def test_answers_to_recorded_prompts_are_their_buyers_and_the_admins(conn: Connection, job_factory: JobFactory) -> None:
    create_key(conn, NewKey(name="chief", scopes=["admin"]), actor="test")
    accounts = {name: opened(conn, job_factory(created_by=name))[0] for name in ("tablet", "desk", "chief", "local")}
    settle(conn, reserve(conn, accounts["tablet"], 1, recorded=True))
    settle(conn, reserve(conn, accounts["tablet"], 2, recorded=False))
    shas = {call(number).request_sha256: number for number in (1, 2)}
    may_read = {
        name: sorted(shas[sha] for sha in budgets.known(conn, account, list(shas))) for name, account in accounts.items()
    }
    assert may_read == {"tablet": [1, 2], "desk": [2], "chief": [1, 2], "local": [1, 2]}
    reserve(conn, accounts["desk"], 1)  # it has no right to the answer, and buys its own


def test_a_schedules_jobs_are_those_of_whoever_made_it(conn: Connection, job_factory: JobFactory) -> None:
    conn.execute(
        "INSERT INTO schedules (name, cron, time_zone, config, options, enabled, next_at, created_by)"
        " VALUES ('nightly', '0 3 * * *', 'UTC', '{}', '{}', true, now(), 'tablet')"
    )
    assert opened(conn, job_factory(created_by="schedule:nightly"))[0].caller == "tablet"


def test_only_identical_requests_have_one_name() -> None:
    request = {"provider": "anthropic", "model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hund"}]}
    name = budgets.request_sha256(request)
    assert name == budgets.request_sha256(dict(reversed(request.items())))
    for key, value in [("provider", "x"), ("model", "n"), ("max_tokens", 11), ("system", ""), ("messages", []), ("ordinal", 1)]:
        assert name != budgets.request_sha256({**request, key: value})


def test_opening_again_changes_the_cap_and_one_below_what_is_gone_buys_nothing(
    conn: Connection, job_factory: JobFactory
) -> None:
    job_id = job_factory()
    account, scope = opened(conn, job_id)
    flying = reserve(conn, account)
    opened(conn, job_id, 3)
    assert budget_of(conn, scope)[0] == 3
    opened(conn, job_id, 0.5)
    assert budget_of(conn, scope)[0] == 0.5
    settle(conn, flying, "0.4")
    assert budgets.reserve(conn, account, [call(2, "0.2")]) == [NoRoom(scope)]
    with pytest.raises(InvalidInput, match="budget -1"):
        opened(conn, job_id, -1)


def test_an_unknown_call_budget_or_job_is_named(conn: Connection) -> None:
    with pytest.raises(NotFound, match="teacher call"):
        release(conn, uuid4())
    with pytest.raises(NotFound, match="budget"):
        budgets.spent(conn, "job:x")
    with pytest.raises(NotFound, match="job"):
        opened(conn, uuid4())


def test_eight_threads_never_exceed_the_cap(conn: Connection, database_url: str, job_factory: JobFactory) -> None:
    """Each reserves 0.10, settles at 0.07 or releases; the caps hold at every moment and the sums are exact in the end."""
    jobs = [job_factory() for _ in range(2)]
    cap = Decimal(2)
    accounts = [opened(conn, job_id, 50, day_usd=float(cap))[0] for job_id in jobs]
    settled: list[UUID] = []
    refused: list[int] = []
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with connect(database_url) as mine:
                start.wait()
                for turn in range(12):
                    [place] = budgets.reserve(mine, accounts[number % 2], [call(100 * number + turn, "0.10")])
                    if isinstance(place, NoRoom):
                        refused.append(number)
                    elif isinstance(place, UUID) and turn % 4 == 3:
                        release(mine, place)
                    elif isinstance(place, UUID):
                        settle(mine, place, "0.07")
                        settled.append(place)
                    row = mine.execute("SELECT max(spent_usd + reserved_usd) AS gone FROM budgets").fetchone()
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
    _, reserved, spent = budget_of(conn, "all")
    assert reserved == 0
    assert spent == pytest.approx(0.07 * len(settled))
    assert sum(cost_of(conn, job_id) for job_id in jobs) == pytest.approx(spent)
    assert 1.9 < spent <= 2  # it was used up, not given up early
