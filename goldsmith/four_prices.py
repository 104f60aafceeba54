"""What questions cost in four ways: at once and in batches, with the provider's cache and without."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from pydantic import BaseModel, Field

from goldsmith.teacher.prices import Price, Usage, plan_cache


class Dollars(BaseModel):
    """The same questions, bought in four ways."""

    direct: float
    cached: float = Field(description="Direct, shared prefixes read from the provider's cache.")
    batch: float | None = Field(description="In batches; null: the teacher takes none.")
    batch_cached: float | None = Field(description="In batches, shared prefixes written to the cache before.")


@dataclass
class Part:
    """Questions of one sort, with what they have in common before the mark for the cache."""

    questions: float = 0
    input_tokens: float = 0
    output_tokens: float = 0
    rounds: defaultdict[tuple[int, str], float] = field(default_factory=lambda: defaultdict(float))
    """How many questions begin with a prefix, in each round."""

    def add(self, questions: float, input_tokens: float, output_tokens: float) -> None:
        """Tokens of one question."""
        self.questions += questions
        self.input_tokens += questions * input_tokens
        self.output_tokens += questions * output_tokens

    @property
    def usage(self) -> Usage:
        return Usage(round(self.input_tokens), round(self.output_tokens))


def dollars(price: Price, part: Part, takes: bool, cached: Decimal | None = None, batched: Decimal | None = None) -> Dollars:
    """`takes`: whether the provider takes batches. `cached`, `batched`: with the cache; empty: it saves nothing."""
    direct = price.cost(part.usage)
    batch = price.cost(part.usage, batch=True) if takes else None
    return Dollars(
        direct=float(direct),
        cached=float(direct if cached is None else cached),
        batch=None if batch is None else float(batch),
        batch_cached=None if batch is None else float(batch if batched is None else batched),
    )


def cached(price: Price, part: Part, tokens: Mapping[str, float], sharing: Mapping[str, int]) -> tuple[Decimal, str]:
    """At once, each shared prefix written by its first question and read by all others; and why, or why not."""
    read = written = 0.0
    why = "no two questions share a prefix"
    asked: defaultdict[str, float] = defaultdict(float)
    for (_, prefix), questions in part.rounds.items():
        asked[prefix] += questions
    for prefix, questions in asked.items():
        plan = plan_cache(price, prefix_tokens=int(tokens[prefix]), requests=sharing[prefix], batch=False)
        why = plan.why
        if plan.ttl is not None:
            written += tokens[prefix]
            read += tokens[prefix] * max(0.0, questions - 1)
    usage = replace(part.usage, cache_read_tokens=round(read), cache_write_5m_tokens=round(written))
    return price.cost(usage), why


def batch_cached(price: Price, part: Part, tokens: Mapping[str, float]) -> tuple[Decimal, str]:
    """In batches, each shared prefix written once before, at the direct price, and read by those of a round that pays."""
    read = 0.0
    written: set[str] = set()
    why = "no two questions share a prefix"
    for (number, prefix), questions in part.rounds.items():
        plan = plan_cache(price, prefix_tokens=int(tokens[prefix]), requests=round(questions), batch=True)
        why = plan.why if number == 1 else why
        if plan.ttl is not None:
            written.add(prefix)
            read += tokens[prefix] * questions
    warm = round(sum(tokens[prefix] for prefix in written))
    usage = replace(part.usage, cache_read_tokens=round(read))
    return price.cost(Usage(warm, 0, cache_write_1h_tokens=warm)) + price.cost(usage, batch=True), why
