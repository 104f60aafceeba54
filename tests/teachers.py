"""A teacher that answers by a function of the question and keeps what it was asked: for kinds whose prompts matter more than the
wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from goldsmith.teacher import Answer, BudgetReached, NotAnswered

Say = Callable[["Asked"], Any]


@dataclass(frozen=True)
class Asked:
    item: str
    system: str
    prompt: str
    ordinal: int = 0
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    json_schema: dict[str, Any] | None = None
    recorded: bool | None = None
    max_tokens: int = 0
    batch: bool = False


class ScriptedTeacher:
    """`say` returns a text, something to be written as JSON, an `Answer`, or None for no answer at all."""

    provider, model, takes_batches, prices = "rehearsal", "scripted-1", False, {"input": 0}
    saved_usd = 0.0

    def __init__(
        self,
        say: Say,
        *,
        rehearsal: bool = True,
        local: bool = True,
        takes_temperature: bool = True,
        stop_after: int = 1_000_000,
    ) -> None:
        self.say, self.stop_after, self.local = say, stop_after, local
        self.rehearsal, self.takes_temperature = rehearsal, takes_temperature
        self.asked: list[Asked] = []

    @property
    def spent_usd(self) -> float:
        return len(self.asked) / 1000

    async def ask(self, *, item: str, system: str | None, prompt: str, max_tokens: int, **more: Any) -> Answer:
        if len(self.asked) >= self.stop_after:
            raise BudgetReached("no more")
        asked = Asked(item, system or "", prompt, max_tokens=max_tokens, **more)
        self.asked.append(asked)
        said = self.say(asked)
        if said is None:
            raise NotAnswered("nothing")
        if isinstance(said, Answer):
            return said
        return answer(said if isinstance(said, str) else json.dumps(said), model=self.model, rehearsal=self.rehearsal)

    async def collect(self) -> None: ...
    async def send(self) -> None: ...
    async def aclose(self) -> None: ...


def answer(text: str, stop_reason: str = "end_turn", *, model: str = "scripted-1", rehearsal: bool = True) -> Answer:
    return Answer(text, stop_reason, model, 1, 1, 0.001, None, rehearsal, False)
