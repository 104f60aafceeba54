"""The meter between a run and its teacher: reuse, reserve, ask, settle; at once, or in batches."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import UUID

from goldsmith import budgets, message_batches, metrics
from goldsmith.budgets import Account, Bill, Call, InFlight, Known, NoRoom, Paid, Refused, Statement
from goldsmith.errors import GoldsmithError, InvalidInput, Requeue, RetryableError
from goldsmith.message_batches import Batch, Intent
from goldsmith.teacher import Answer, BudgetReached, NotAnswered, Waiting
from goldsmith.teacher.collect import FIRST_LOOK_S, bill, collect
from goldsmith.teacher.counting import Counting, by_bytes, guessed_prefix
from goldsmith.teacher.grouped import Grouped
from goldsmith.teacher.prices import CachePlan, plan_cache
from goldsmith.teacher.provider import Batches, Failed, Provider, Reply, Request, Sending
from goldsmith.teacher.providers import open_provider

if TYPE_CHECKING:
    from goldsmith.db import Database
    from goldsmith.settings import Settings

T = TypeVar("T")
TRIES = 3  # of one request that ends without an answer to it
LOST_IN_A_ROW = 5  # answers that are none, one after the other: it is not the questions
COUNTED_AT_ONCE = 20  # of a batch that finds no room by the first bound
LOOK_AGAIN_S, PATIENCE_S = 0.5, 30.0  # for an answer that another job is buying at this moment
BUSY_S = 30.0
LAST_WORD_S = 30.0  # for the answer to a question that is cancelled on the way; then it is charged at its worst case
GATHER_S = 0.05  # an answer waits for others so long before it is written down: a transaction costs as much for one as for ten
WARM_S = 3000.0  # a prefix is kept for an hour; after fifty minutes it is written anew


@dataclass(frozen=True)
class _Question:
    item: str
    sha256: str
    request: Request
    prefix: str
    """What it shares with others: system prompt and the start of the prompt; empty: nothing."""
    sharing: int
    """How many questions have that prefix."""


class MeteredTeacher:
    """One attempt's teacher. The database holds the budgets; this object only waits for its own calls in flight."""

    def __init__(self, database: Database, provider: Provider, account: Account, *, recorded: bool, spent_usd: Decimal) -> None:
        self.provider = provider.name
        self.model = provider.model
        self.rehearsal = provider.name == "rehearsal"
        self.local = provider.local or self.rehearsal
        self._database = database
        self._teacher = provider
        self._account = account
        self._recorded = recorded
        self._spent = spent_usd
        self._saved = Decimal(0)
        self._in_flight = 0
        self._ended = 0
        self._room = asyncio.Event()
        """A call has ended: what was reserved for it may be free."""
        self._refused: GoldsmithError | None = None
        """Why no question of this job can succeed: nothing more is sent."""
        self._same_request: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._warm: dict[str, asyncio.Event] = {}
        self._queued: dict[str, _Question] = {}
        self._elsewhere = False
        """Something is being bought by another job, or was before a crash."""
        self._batches_of_others: set[UUID] = set()
        self._counting = Counting(provider)
        self._lost_in_a_row = 0
        self._known: Grouped[str, Known | None] = Grouped(self._look_up)
        self._reserved: Grouped[Call, UUID | NoRoom | None] = Grouped(self._reserve_all)
        self._billed: Grouped[Bill, None] = Grouped(
            self._settle_all, gather_s=GATHER_S, more=lambda bills: self._in_flight > bills
        )

    @property
    def takes_batches(self) -> bool:
        return self._teacher.batches is not None

    @property
    def takes_temperature(self) -> bool:
        return self._teacher.price.temperature

    @property
    def spent_usd(self) -> float:
        return float(self._spent)

    @property
    def saved_usd(self) -> float:
        return float(self._saved)

    @property
    def prices(self) -> dict[str, Any]:
        dollars = {"input", "output", "batch", "cache_read", "cache_write_5m", "cache_write_1h"}
        return self._teacher.price.model_dump(mode="json", include=dollars)

    @property
    def counted(self) -> str:
        return self._counting.told

    async def statement(self) -> Statement:
        return await self._database.run(budgets.statement, self._account.job_id)

    async def cache_plan(self, *, system: str | None, prompt: str, shared: int, sharing: int, batch: bool) -> CachePlan:
        return await self._plan(Request(prompt, 1, system=system, shared=shared), sharing, batch=batch)

    async def ask(
        self,
        *,
        item: str,
        system: str | None,
        prompt: str,
        max_tokens: int,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        json_schema: dict[str, Any] | None = None,
        ordinal: int = 0,
        recorded: bool | None = None,
        batch: bool = False,
        shared: int = 0,
        sharing: int = 1,
    ) -> Answer:
        recorded = self._recorded if recorded is None else recorded
        request = Request(
            prompt,
            max_tokens,
            system=system,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            json_schema=json_schema,
            recorded=recorded,
            shared=shared,
        )
        identity = self._teacher.identity(request) | ({"ordinal": ordinal} if ordinal else {})
        sha256 = budgets.request_sha256(identity)
        later = batch and self._teacher.batches is not None
        async with self._same_request[sha256]:  # two rows with one prompt: the second waits and gets the first one's answer
            known = await self._not_in_flight(sha256, wait=not later)
            if isinstance(known, Paid):
                own = known.job_id == self._account.job_id
                self._saved += 0 if own else known.cost_usd
                return self._answer(Reply(**known.answer), Decimal(0), reused=True, own=own)
            lost = known.lost if isinstance(known, Refused) else 0
            if isinstance(known, Refused):
                tries = known.lost + (known.times if later else 0)  # at once, what was not billed is the job's to ask again
                if tries >= TRIES or known.too_long:
                    raise NotAnswered(
                        f"the teacher gave no answer to it, asked {known.times + known.lost} times ({known.error})"
                    )
            prefix = f"{system or ''}\0{prompt[:shared]}" if shared else ""
            question = _Question(item, sha256, request, prefix, sharing)
            await self._check_length(request)
            if later:
                self._queued[sha256] = question
                raise Waiting("it is going to be asked in a batch")
            return await self._ask_until_answered(question, lost)

    # -- at once

    async def _ask_until_answered(self, question: _Question, lost: int) -> Answer:
        """An answer that is none is paid, and asked for again, a few times; when none comes any more the job should wait."""
        while True:
            try:
                answer = await self._ask_now(question)
            except Failed as failed:
                if failed.why == "too_long":
                    raise NotAnswered(failed.error.detail) from failed
                self._lost_in_a_row += 1
                if failed.billed == "no" or self._lost_in_a_row >= LOST_IN_A_ROW:
                    raise failed.error from failed
                lost += 1
                if lost >= TRIES:
                    raise NotAnswered(
                        f"the teacher gave no answer to it, asked {lost} times ({failed.error.detail})"
                    ) from failed
            else:
                self._lost_in_a_row = 0
                return answer

    async def _ask_now(self, question: _Question) -> Answer:
        """The first question with a prefix goes alone, so that all others find it in the provider's cache."""
        question = await self._marked(question, question.sharing, batch=False)
        if question.request.cache is None:
            return await self._ask(question)
        warm = self._warm.get(question.prefix)
        if warm is not None:
            await warm.wait()
            return await self._ask(question)
        warm = self._warm[question.prefix] = asyncio.Event()
        try:
            return await self._ask(question)
        finally:
            warm.set()

    async def _marked(self, question: _Question, sharing: int, *, batch: bool) -> _Question:
        """With a mark for the provider's cache, where `sharing` questions with its prefix make that pay."""
        ttl = (await self._plan(question.request, sharing, batch=batch)).ttl if question.prefix else None
        return replace(question, request=replace(question.request, cache=ttl)) if ttl else question

    async def _plan(self, request: Request, sharing: int, *, batch: bool) -> CachePlan:
        tokens = await self._counting.prefix(request, sharing=sharing) if sharing > 1 else None
        tokens = guessed_prefix(request) if tokens is None else tokens
        return plan_cache(self._teacher.price, prefix_tokens=tokens, requests=sharing, batch=batch)

    async def _call(self, question: _Question, *, batch: bool, exactly: bool = False) -> Call | None:
        """For the ledger, at its worst case; None: it cannot be counted exactly."""
        request, price = question.request, self._teacher.price
        if exactly:
            bound = await self._counting.exactly(request)
            if bound is None:
                return None
        else:
            bound = await self._counting.bound(request, sharing=question.sharing)
        worst = price.worst_case(
            bound.tokens, request.max_tokens, prefix_tokens=bound.prefix_tokens, batch=batch, cache=request.cache
        )
        return Call(
            question.item,
            question.sha256,
            self.provider,
            self.model,
            worst,
            self.rehearsal,
            request.recorded,
            max_tokens=request.max_tokens + price.headroom,
        )

    async def _check_length(self, request: Request) -> None:
        """A model that has no known price for long prompts is not asked any."""
        most = self._teacher.price.max_prompt
        if most is None or (sent := by_bytes(request).tokens) <= most:
            return
        exact = await self._counting.exactly(request)
        if exact is None or exact.tokens > most:
            said = f"{sent} bytes" if exact is None else f"some {exact.tokens} tokens"
            raise InvalidInput(f"the prompt has {said}; {self.model} has a known price up to {most} tokens")

    async def _ask(self, question: _Question) -> Answer:
        """Cancelled, it ends at once where nothing is on the wire; else the answer is waited for, and kept for who asks again."""
        sending = Sending()
        asking = asyncio.create_task(self._reserve_and_ask(question, sending))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            sending.given_up = True
            try:
                if sending.on_the_wire:
                    await asyncio.wait([asking], timeout=LAST_WORD_S)
            finally:  # cancelled once more: then it is charged
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            raise

    async def _reserve_and_ask(self, question: _Question, sending: Sending) -> Answer:
        call_id: UUID | None = None

        async def reserve() -> None:
            nonlocal call_id
            if self._refused is not None:
                raise self._refused
            call_id = await self._reserve(question)

        try:
            try:
                reply = await self._teacher.ask(question.request, ready=reserve, sending=sending)
            except Failed as failed:
                if failed.why in ("key", "money", "model"):
                    self._refused = failed.error
                if call_id is not None:
                    await self._billed(bill(call_id, failed, self._teacher.price))
                raise
            except BaseException:  # cancelled: if it was on the wire, the answer may have been made
                if call_id is not None:
                    end: Literal["unknown", "free"] = "unknown" if sending.on_the_wire else "free"
                    await self._billed(Bill(call_id, end, error="cancelled"))
                raise
            assert call_id is not None
            paid = bill(call_id, reply, self._teacher.price)
            await asyncio.shield(self._billed(paid))
            return self._answer(reply, paid.cost_usd)
        finally:
            if call_id is not None:
                self._in_flight -= 1
                self._ended += 1
                self._room.set()

    async def _reserve(self, question: _Question) -> UUID:
        """Wait for room that calls in flight may leave, then look closer; raises `BudgetReached` when there is none."""
        call = await self._call(question, batch=False)
        assert call is not None
        exactly = False
        while True:
            ended = self._ended
            place = await self._reserve_once(call)
            if isinstance(place, UUID):
                return place
            full = self._ended == ended and not self._in_flight
            while not full and self._ended == ended:
                self._room.clear()
                await self._room.wait()
            if full and not exactly:
                exactly = True
                call = await self._call(question, batch=False, exactly=True) or call
            elif full:
                raise BudgetReached(
                    f"the next question may cost {call.worst_usd} USD, and the budget {place.scope!r} has no room for it;"
                    f" {self._spent} USD of the job's are spent",
                    usd=float(call.worst_usd),
                    budget=place.scope,
                )

    async def _reserve_once(self, call: Call) -> UUID | NoRoom:
        reserving = self._reserved(call)
        try:
            place = await asyncio.shield(reserving)
        except asyncio.CancelledError:
            if isinstance(place := await reserving, UUID):  # reserved by now, and never asked
                self._in_flight -= 1
                await self._billed(Bill(place, "free"))
            raise
        if place is None:
            self._elsewhere = True
            raise Waiting("another job began to ask the same at this very moment")
        return place

    async def _not_in_flight(self, sha256: str, *, wait: bool) -> Known | None:
        """What is known of a request, once nobody has it in flight; raises `Waiting` when that takes long."""
        patience = PATIENCE_S
        while isinstance(known := await self._known(sha256), InFlight):
            if not wait or patience <= 0:
                self._elsewhere = True
                if known.batch_id is not None:
                    self._batches_of_others.add(known.batch_id)
                raise Waiting("its answer was asked for before and is not there yet")
            await asyncio.sleep(LOOK_AGAIN_S)
            patience -= LOOK_AGAIN_S
        return known

    # -- in batches

    async def collect(self) -> None:
        batches = self._teacher.batches
        open_ = await self._database.run(message_batches.open_of, self._account.job_id)
        if open_ and batches is None:
            raise RetryableError(f"teacher {self.provider!r} takes no batches any more; {len(open_)} are not settled")
        if batches is not None:
            await self._look_after(open_, batches)

    async def send(self) -> None:
        batches = self._teacher.batches
        sent = 0
        if batches is not None:
            sent = await self._send_all(batches)
            others = list(self._batches_of_others)
            await self._look_after(await self._database.run(message_batches.open_by_id, others), batches)
        if sent:
            raise Requeue(FIRST_LOOK_S, f"{sent} questions were sent in a batch")
        if self._elsewhere:
            raise Requeue(FIRST_LOOK_S, "some answers are being bought by another job")

    async def _send_all(self, batches: Batches) -> int:
        """Send what the budgets hold, in as many batches as it takes; returns how many questions that are."""
        sharing = Counter(question.prefix for question in self._queued.values())
        queued = {
            f"{number:032x}": await self._marked(question, sharing[question.prefix], batch=True)
            for number, question in enumerate(self._queued.values())
        }
        self._queued = {}
        sent = 0
        await self._warm_up(queued.values())
        for portion in batches.portions((name, question.request) for name, question in queued.items()):
            questions = [queued[name] for name, _ in portion]
            intent = await self._intend(questions)
            if isinstance(intent, NoRoom):
                questions = questions[:COUNTED_AT_ONCE]
                intent = await self._intend(questions, exactly=True)
            if isinstance(intent, NoRoom):
                break
            if intent is None:
                self._elsewhere = True
                continue
            await self._create(batches, intent, questions)
            sent += len(intent.calls)
            if len(intent.calls) < len(portion):
                break  # the budgets are full until these are settled
        return sent

    async def _intend(self, questions: Sequence[_Question], *, exactly: bool = False) -> Intent | NoRoom | None:
        counted = [await self._call(question, batch=True, exactly=exactly) for question in questions]
        calls = [call for call in counted if call is not None]
        if len(calls) < len(questions):
            return NoRoom("not counted")
        return await self._database.run(message_batches.intend, self._account, calls)

    async def _warm_up(self, questions: Iterable[_Question]) -> None:
        """Write each marked prefix into the provider's cache once: requests of a batch run side by side, and would all write."""
        for question in {one.prefix: one for one in questions if one.request.cache is not None}.values():
            prefix = question.request.prompt[: question.request.shared]
            request = replace(question.request, prompt=prefix, max_tokens=0, temperature=None, top_p=None, json_schema=None)
            identity = self._teacher.identity(request) | {"warms": int(time.time() // WARM_S)}
            warm = _Question("cache", budgets.request_sha256(identity), request, "", question.sharing)
            if isinstance(await self._known(warm.sha256), Paid | InFlight):
                continue
            try:
                await self._ask(warm)
            except BudgetReached:
                return  # the batch has no room either
            except Failed as failed:
                raise failed.error from failed

    async def _create(self, batches: Batches, intent: Intent, questions: Sequence[_Question]) -> None:
        requests = [(call_id.hex, questions[index].request) for index, call_id in intent.calls.items()]
        try:
            made = await batches.create(requests)
        except Failed as failed:
            why = failed.error.detail
            if failed.billed == "no":
                await self._surely(self._database.run(message_batches.void, intent.batch_id, why))
                if not isinstance(failed.error, RetryableError):
                    raise failed.error from failed
            raise Requeue(failed.retry_after_s or BUSY_S, why) from failed  # where it may exist, the provider's list will tell
        await self._surely(self._database.run(message_batches.sent, intent.batch_id, made.id))

    async def _look_after(self, open_: Sequence[Batch], batches: Batches) -> None:
        """Settle what has ended; raises `Requeue` when something has not."""
        looked = [await collect(self._database, batches, self._teacher.price, batch) for batch in open_]
        if open_:
            self._spent = await self._database.run(budgets.spent, self._scope)
        if not_yet := [found for found in looked if found is not None]:
            first = min(not_yet, key=lambda found: found.after_s)
            raise Requeue(first.after_s, first.why)

    # -- the ledger, in groups

    @property
    def _scope(self) -> str:
        return f"job:{self._account.job_id}"

    async def _look_up(self, requests: list[str]) -> list[Known | None]:
        known = await self._database.run(budgets.known, self._account, requests)
        return [known.get(request) for request in requests]

    async def _reserve_all(self, calls: list[Call]) -> list[UUID | NoRoom | None]:
        places = await self._database.run(budgets.reserve, self._account, calls)
        self._in_flight += sum(isinstance(place, UUID) for place in places)
        return places

    async def _settle_all(self, bills: list[Bill]) -> list[None]:
        self._spent += await self._database.run(budgets.settle, bills)
        return [None] * len(bills)

    async def _surely(self, work: Coroutine[Any, Any, T]) -> T:
        """To the end, also when this question is cancelled meanwhile."""
        working = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await working
            raise

    def _answer(self, reply: Reply, cost: Decimal, *, reused: bool = False, own: bool = True) -> Answer:
        return Answer(
            text=reply.text,
            stop_reason=reply.stop_reason,
            model=reply.model,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            cost_usd=float(cost),
            request_id=reply.request_id,
            rehearsal=self.rehearsal,
            reused=reused,
            own=own,
        )

    async def aclose(self) -> None:
        await self._billed.done()
        if alone := self._teacher.alone:
            await self._database.run(metrics.limiter_was_unavailable, self.provider, alone)
        await self._teacher.aclose()


def open_metered(
    database: Database,
    *,
    settings: Settings,
    job_id: UUID,
    attempt: int,
    provider: str,
    model: str | None,
    budget_usd: float,
    recorded: bool,
) -> MeteredTeacher:
    """See `goldsmith.teacher.open_teacher`."""
    teacher = open_provider(settings, provider, model, recorded=recorded)
    with database.connection() as conn:
        account = budgets.open_account(conn, job_id, attempt, budget_usd=budget_usd, day_usd=settings.budget_usd_per_day)
        budgets.charge_lost(conn, account)
        spent = budgets.spent(conn, f"job:{job_id}")
    return MeteredTeacher(database, teacher, account, recorded=recorded, spent_usd=spent)
