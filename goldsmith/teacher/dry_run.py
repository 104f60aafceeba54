"""A teacher that is asked all that a job would ask, and buys nothing: what is paid already is answered from the ledger.

What is not paid is answered by the rehearsal's written rules where those will answer, and for questions that want JSON (a
judge's), so that the job's own code goes on to its next questions; any other question is only written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from goldsmith import budgets
from goldsmith.budgets import Account, Known, Paid, Statement
from goldsmith.db import Connection
from goldsmith.teacher import Answer, Waiting
from goldsmith.teacher.grouped import Grouped
from goldsmith.teacher.prices import CachePlan, plan_cache
from goldsmith.teacher.provider import Provider, Request
from goldsmith.teacher.rehearsal_messages import WRITERS
from goldsmith.teacher.transform import REJECTED, answer


@dataclass(frozen=True)
class Question:
    """One that would be bought."""

    item: str
    request: Request
    sharing: int
    round: int
    """1: a row's first question; 2: with the reasons why its answer did not pass; 3: because it repeats another answer."""
    output_tokens: int | None
    """None: nobody knows."""

    @property
    def bytes(self) -> int:
        return len(f"{self.request.system or ''}{self.request.prompt}".encode())

    @property
    def prefix(self) -> str:
        return (self.request.system or "") + self.request.prompt[: self.request.shared] if self.request.shared else ""


class DryRun:
    """See `goldsmith.teacher.Teacher`; for one event loop, in the thread of `conn`."""

    spent_usd = 0.0
    saved_usd = 0.0
    counted = ""

    def __init__(self, conn: Connection, provider: Provider, account: Account) -> None:
        self.provider, self.model = provider.name, provider.model
        self.rehearsal = provider.name == "rehearsal"
        self.local = provider.local or self.rehearsal
        self.prices: dict[str, Any] = {}
        self.takes_batches = provider.batches is not None
        self.takes_temperature = provider.price.temperature
        self.questions: dict[str, Question] = {}
        self.paid: dict[str, str] = {}
        """Requests that are paid, with their item."""
        self._conn, self._teacher, self._account = conn, provider, account
        self._texts: dict[str, str] = {}
        self.varying = False
        """Set it when the job goes on to answers that repeat others."""
        self._known: Grouped[str, Known | None] = Grouped(self._look_up)

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
        json_schema: Mapping[str, Any] | None = None,
        ordinal: int = 0,
        recorded: bool | None = None,
        batch: bool = False,
        shared: int = 0,
        sharing: int = 1,
    ) -> Answer:
        request = Request(
            prompt,
            max_tokens,
            system=system,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            json_schema=json_schema,
            recorded=bool(recorded),
            shared=shared,
        )
        identity = self._teacher.identity(request) | ({"ordinal": ordinal} if ordinal else {})
        sha256 = budgets.request_sha256(identity)
        known = await self._known(sha256)
        number = 1 if REJECTED not in prompt else 3 if self.varying else 2
        if isinstance(known, Paid):
            self.paid[sha256] = item
            return self._answer(known.answer["text"], known.answer["stop_reason"], reused=True)
        text = self._say(request)
        tokens = None if text is None else -(-len(text.encode()) // 4)
        cut = tokens is not None and tokens > max_tokens
        told = min(tokens, max_tokens) if tokens is not None and self.rehearsal else None
        self.questions.setdefault(sha256, Question(item, request, sharing, number, told))
        if text is None:
            raise Waiting("nobody knows what the teacher would say")
        return self._answer(text.encode()[: max_tokens * 4].decode("utf-8", "ignore"), "max_tokens" if cut else "end_turn")

    def _say(self, request: Request) -> str | None:
        if request.json_schema is None and not self.rehearsal:
            return None
        if request.prompt not in self._texts:
            properties = frozenset((request.json_schema or {}).get("properties", {}))
            self._texts[request.prompt] = (WRITERS[properties] if request.json_schema else answer)(request.prompt)
        return self._texts[request.prompt]

    async def _look_up(self, requests: list[str]) -> Sequence[Known | None]:
        known = budgets.known(self._conn, self._account, requests)
        return [known.get(request) for request in requests]

    def _answer(self, text: str, stop_reason: str, *, reused: bool = False) -> Answer:
        return Answer(text, stop_reason, self.model, 0, 0, 0.0, None, self.rehearsal, reused)

    async def collect(self) -> None:
        """Nothing was sent."""

    async def send(self) -> None:
        """Nothing is sent."""

    async def statement(self) -> Statement:
        return budgets.statement(self._conn, self._account.job_id)

    async def cache_plan(self, *, system: str | None, prompt: str, shared: int, sharing: int, batch: bool) -> CachePlan:
        return plan_cache(self._teacher.price, prefix_tokens=0, requests=sharing, batch=batch)

    async def aclose(self) -> None:
        await self._teacher.aclose()
