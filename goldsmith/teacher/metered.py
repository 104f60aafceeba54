"""The meter between a run and its teacher: reuse, reserve, ask, settle."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from goldsmith import budgets
from goldsmith.errors import InvalidInput
from goldsmith.teacher import Answer, BudgetReached
from goldsmith.teacher.provider import Failed, Provider, Reply, Request
from goldsmith.teacher.providers import open_provider

if TYPE_CHECKING:
    from goldsmith.db import Database
    from goldsmith.settings import Settings


class MeteredTeacher:
    """One attempt's teacher. The database holds the budget; this object only waits for its own calls in flight."""

    def __init__(
        self,
        database: Database,
        provider: Provider,
        *,
        recorded: bool,
        job_id: UUID,
        attempt: int,
        budget_id: UUID,
        spent_usd: Decimal,
    ) -> None:
        self.provider = provider.name
        self.model = provider.model
        self.rehearsal = provider.name == "rehearsal"
        self._database = database
        self._teacher = provider
        self._recorded = recorded
        self._job_id = job_id
        self._attempt = attempt
        self._budget_id = budget_id
        self._spent = spent_usd
        self._saved = Decimal(0)
        self._in_flight = 0
        self._ended = 0
        self._end_of_a_call = asyncio.Condition()
        self._reserving = asyncio.Lock()
        self._same_request: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def spent_usd(self) -> float:
        return float(self._spent)

    @property
    def saved_usd(self) -> float:
        return float(self._saved)

    async def ask(
        self,
        *,
        item: str,
        system: str | None,
        prompt: str,
        max_tokens: int,
        temperature: float | None = None,
        json_schema: dict[str, Any] | None = None,
    ) -> Answer:
        request = Request(
            prompt, max_tokens, system=system, temperature=temperature, json_schema=json_schema, recorded=self._recorded
        )
        identity = self._teacher.identity(request)
        sha256 = budgets.request_sha256(identity)
        async with self._same_request[sha256]:  # two rows with one prompt: the second waits and gets the first one's answer
            paid = await self._db(budgets.paid_answer, sha256)
            if paid is not None:
                if paid.job_id != self._job_id:
                    self._saved += paid.cost_usd
                return self._answer(Reply(**paid.answer), Decimal(0), reused=True)
            call = budgets.Call(item, sha256, self.provider, self.model, self.rehearsal)
            call_id = await self._reserve(call, self._worst_case(identity, max_tokens))
            try:
                return await self._ask(call_id, request)
            finally:
                async with self._end_of_a_call:
                    self._in_flight -= 1
                    self._ended += 1
                    self._end_of_a_call.notify_all()

    async def _reserve(self, call: budgets.Call, usd: Decimal) -> UUID:
        """Wait for room that calls in flight may leave; raises `BudgetReached` when there are none."""
        while True:
            ended = self._ended
            async with self._reserving:  # one at a time, so that whoever finds no room sees who took it in flight
                writing = asyncio.ensure_future(
                    self._db(budgets.reserve, self._budget_id, self._job_id, self._attempt, call, usd)
                )
                try:
                    call_id: UUID | None = await asyncio.shield(writing)
                except asyncio.CancelledError:
                    if (call_id := await writing) is not None:  # reserved by now, and never asked
                        await self._surely(budgets.release, call_id)
                    raise
                if call_id is not None:
                    self._in_flight += 1
                    return call_id
            async with self._end_of_a_call:
                if self._ended == ended and not self._in_flight:
                    raise BudgetReached(
                        f"the next question may cost {usd} USD; {self._spent} USD of the job's budget are spent", usd=float(usd)
                    )
                while self._ended == ended:
                    await self._end_of_a_call.wait()

    async def _ask(self, call_id: UUID, request: Request) -> Answer:
        try:
            reply = await self._teacher.ask(request)
        except Failed as failed:
            if failed.billed == "no":
                await self._surely(budgets.release, call_id)
            else:
                await self._charge(call_id, failed.request_id)
            raise failed.error from failed
        except BaseException:  # cancelled on the way: the answer may have been made
            await self._charge(call_id, None)
            raise
        cost = self._teacher.price.cost(reply.usage)
        await self._surely(
            budgets.settle,
            call_id,
            cost_usd=cost,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            request_id=reply.request_id,
            answer=asdict(reply),
        )
        self._spent += cost
        return self._answer(reply, cost, reused=False)

    async def _charge(self, call_id: UUID, request_id: str | None) -> None:
        await self._surely(budgets.charge, call_id, request_id)
        self._spent = await self._db(budgets.spent, self._budget_id)

    def _worst_case(self, identity: dict[str, Any], max_tokens: int) -> Decimal:
        price = self._teacher.price
        prompt_bytes = len(str(identity).encode())
        if price.max_prompt is not None and prompt_bytes > price.max_prompt:
            raise InvalidInput(
                f"the prompt has {prompt_bytes} bytes; {self.model} has a known price up to {price.max_prompt} tokens"
            )
        return price.worst_case(prompt_bytes, max_tokens)

    def _answer(self, reply: Reply, cost: Decimal, *, reused: bool) -> Answer:
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
        )

    async def _db(self, do: Any, *args: Any, **more: Any) -> Any:
        def with_connection() -> Any:
            with self._database.connection() as conn:
                return do(conn, *args, **more)

        return await asyncio.to_thread(with_connection)

    async def _surely(self, do: Any, *args: Any, **more: Any) -> None:
        """To the end, also when this question is cancelled meanwhile."""
        writing = asyncio.ensure_future(self._db(do, *args, **more))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await writing
            raise

    async def aclose(self) -> None:
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
        budget_id = budgets.open(conn, f"job:{job_id}", budget_usd)
        budgets.charge_lost(conn, job_id, attempt)
        spent = budgets.spent(conn, budget_id)
    return MeteredTeacher(
        database, teacher, recorded=recorded, job_id=job_id, attempt=attempt, budget_id=budget_id, spent_usd=spent
    )
