"""A thousand runs with random faults: four workers at once, and whatever happens, no budget is exceeded and nothing is lost.

What a worker can meet between two statements is drawn for each call: it is answered, answered late or for less, refused,
never answered; its worker dies before it is sent, on the wire, or before the answer is written; a fenced-out worker comes back.
The provider's side is kept beside it: what it billed must be in the ledger.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from goldsmith import budgets, message_batches
from goldsmith.budgets import Account, Bill, Call, NoRoom
from goldsmith.db import Connection, connect
from goldsmith.errors import FencedOut

RUNS, WORKERS = 1000, 4
FAULTS = (
    "none",
    "none",
    "none",
    "refused",
    "died_before",
    "died_on_the_wire",
    "died_after",
    "comes_back",
    "batch",
    "batch_dies",
)
DAY_USD = 60.0


class Provider:
    """What was really billed, by request."""

    def __init__(self) -> None:
        self.billed: Counter[str] = Counter()
        self.usd = Decimal(0)
        self._guard = threading.Lock()

    def bill(self, request: str, usd: Decimal) -> Decimal:
        with self._guard:
            self.billed[request] += 1
            self.usd += usd
        return usd


def one_run(conn: Connection, luck: random.Random, provider: Provider, job_id: UUID, number: int) -> None:
    cap = luck.choice((0.05, 0.2, 0.5))
    account = budgets.open_account(conn, job_id, 1, budget_usd=cap, day_usd=DAY_USD)
    for step in range(luck.randint(1, 2)):
        # every third request is one that other runs ask too
        shared = luck.random() < 0.33
        request = f"{luck.randint(0, 40) if shared else 1000 + number * 10 + step:064x}"
        fault = luck.choice(FAULTS)
        worst = Decimal(luck.randint(1, 120)) / 1000
        call = Call("row", request, "rehearsal", "rehearsal-1", worst, rehearsal=True, recorded=False)
        if fault.startswith("batch"):
            account = in_a_batch(conn, luck, provider, account, call, dies=fault == "batch_dies")
        else:
            account = at_once(conn, luck, provider, account, call, fault)
    within(conn, job_id, cap)


def within(conn: Connection, job_id: UUID, cap: float) -> None:
    row = conn.execute(
        "SELECT cap_usd, spent_usd + reserved_usd AS gone FROM budgets WHERE scope = %s", (f"job:{job_id}",)
    ).fetchone()
    assert row is not None
    assert row["gone"] <= Decimal(str(cap)), (row, cap)


def at_once(conn: Connection, luck: random.Random, provider: Provider, account: Account, call: Call, fault: str) -> Account:
    [place] = budgets.reserve(conn, account, [call])
    if not isinstance(place, UUID):
        return account
    if fault == "refused":
        budgets.settle(conn, [Bill(place, "free", error="busy")])
        return account
    if fault == "died_before":
        return next_attempt(conn, account)
    cost = provider.bill(call.request_sha256, real(call, luck))
    paid = Bill(place, "answered", cost, input_tokens=1, output_tokens=1, answer={"text": "x"})
    if fault == "died_on_the_wire":
        return next_attempt(conn, account)
    if fault == "comes_back":  # given up for dead, charged, and then it writes its answer down
        after = next_attempt(conn, account)
        budgets.settle(conn, [paid])
        try:
            budgets.reserve(conn, account, [call])
        except FencedOut:
            return after
        raise AssertionError("a dead attempt bought something")
    budgets.settle(conn, [paid])
    if luck.random() < 0.2:
        budgets.settle(conn, [paid])  # the same bill again
    return next_attempt(conn, account) if fault == "died_after" else account


def in_a_batch(
    conn: Connection, luck: random.Random, provider: Provider, account: Account, call: Call, *, dies: bool
) -> Account:
    intent = message_batches.intend(conn, account, [call])
    if intent is None or isinstance(intent, NoRoom):
        return account
    received = luck.random() < 0.8
    if dies:
        account = next_attempt(conn, account)
        [row] = message_batches.open_of(conn, account.job_id)
        assert row.provider_id is None
        assert message_batches.reserved(conn, intent.batch_id) == list(intent.calls.values()), "a lost call is not free"
    if not received:
        message_batches.void(conn, intent.batch_id, "the provider never got it")
        return account
    message_batches.sent(conn, intent.batch_id, f"batch {intent.batch_id}")
    ends = luck.choice(("answered", "expired"))
    if ends == "answered":
        cost = provider.bill(call.request_sha256, real(call, luck))
        budgets.settle(conn, [Bill(intent.calls[0], "answered", cost, input_tokens=1, output_tokens=1, answer={"text": "x"})])
    else:
        budgets.settle(conn, [Bill(intent.calls[0], "free", error="expired")])
    message_batches.settled(conn, intent.batch_id)
    return account


def real(call: Call, luck: random.Random) -> Decimal:
    return budgets.micro_usd(call.worst_usd * Decimal(str(luck.random())))


def next_attempt(conn: Connection, account: Account) -> Account:
    conn.execute("UPDATE jobs SET attempt = attempt + 1 WHERE id = %s", (account.job_id,))
    cap = conn.execute("SELECT cap_usd FROM budgets WHERE scope = %s", (f"job:{account.job_id}",)).fetchone()
    assert cap is not None
    after = budgets.open_account(conn, account.job_id, account.attempt + 1, budget_usd=float(cap["cap_usd"]), day_usd=DAY_USD)
    budgets.charge_lost(conn, after)
    return after


def test_no_budget_is_exceeded_in_a_thousand_runs_with_random_faults(
    conn: Connection, database_url: str, job_factory: Callable[..., UUID]
) -> None:
    jobs = [job_factory(kind="gold") for _ in range(RUNS)]
    provider = Provider()
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            with connect(database_url) as mine:
                mine.execute("SET synchronous_commit = off")
                for number in range(worker, RUNS, WORKERS):
                    one_run(mine, random.Random(number), provider, jobs[number], number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures

    for row in conn.execute("SELECT scope, cap_usd, spent_usd, reserved_usd FROM budgets"):
        assert row["spent_usd"] + row["reserved_usd"] <= row["cap_usd"], row
        assert row["reserved_usd"] == 0, row
    totals = conn.execute(
        "SELECT (SELECT spent_usd FROM budgets WHERE scope = 'all') AS spent, (SELECT sum(cost_usd) FROM teacher_calls) AS calls,"
        " (SELECT sum(cost_usd) FROM jobs) AS jobs, (SELECT sum(spent_usd) FROM budgets WHERE scope LIKE 'job:%') AS by_job,"
        " (SELECT sum(spent_usd) FROM budgets WHERE scope LIKE 'day:%') AS by_day"
    ).fetchone()
    assert totals is not None
    assert totals["spent"] == totals["calls"] == totals["jobs"] == totals["by_job"] == totals["by_day"]
    assert provider.usd <= totals["spent"] <= Decimal(str(DAY_USD))
    lost = conn.execute(
        "SELECT request_sha256, count(*) AS n FROM teacher_calls WHERE status = 'settled' AND answer IS NULL GROUP BY 1"
    ).fetchall()
    in_flight_at_a_kill = {row["request_sha256"]: row["n"] for row in lost}
    again = {request: times for request, times in provider.billed.items() if times > 1 + in_flight_at_a_kill.get(request, 0)}
    assert not again, "bought twice, though none of it was in flight at a kill"
