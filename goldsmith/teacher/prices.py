"""What a teacher costs and accepts: dated data, in `prices.toml` and in a file of the admin's own."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from goldsmith.budgets import micro_usd
from goldsmith.errors import GoldsmithError, InvalidInput

SHIPPED = Path(__file__).with_name("prices.toml")

# A byte-level tokenizer never makes more tokens than there are bytes: a bound, not a guess. Real prose needs a quarter.
# The difference is only set aside while a call is in flight.
FRAME_TOKENS = 1000
"""Upper bound of what the provider adds to a prompt: the frame of the turns, the instruction for structured output."""


class Price(BaseModel):
    """Dollars per million tokens, and the model's manners."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(gt=0, le=10_000)
    output: float = Field(gt=0, le=10_000)
    temperature: bool = False
    thinking: Literal["", "disabled", "between_tools", "adaptive"] = ""
    headroom: int = Field(0, ge=0, le=100_000)
    max_prompt: int | None = Field(None, ge=1)

    def cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Dollars, rounded up to a millionth."""
        return micro_usd((Decimal(str(self.input)) * input_tokens + Decimal(str(self.output)) * output_tokens) / 1_000_000)

    def worst_case(self, prompt_bytes: int, max_tokens: int) -> Decimal:
        """The most that one call can cost: a token for every byte of the prompt, and all of `max_tokens` used."""
        return self.cost(prompt_bytes + FRAME_TOKENS, max_tokens)


def price_of(model: str, own: Path | None = None) -> Price:
    """The price of a model, from the admin's file `own` if it is there, else from the list that ships."""
    known = {**_read(SHIPPED), **(_read(own) if own else {})}
    if model not in known:
        raise InvalidInput(
            f"model {model!r} has no price, so no budget could hold it; known: {', '.join(sorted(known))}."
            f" Add it in a file laid out like {SHIPPED.name} and name that file in GOLDSMITH_PRICES",
            errors=[{"field": "model", "value": model, "allowed": sorted(known)}],
        )
    return known[model]


@lru_cache
def _read(path: Path) -> dict[str, Price]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return {model: Price.model_validate(row) for model, row in data.items() if isinstance(row, dict)}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise GoldsmithError(f"the price list {path} (GOLDSMITH_PRICES) cannot be read: {error}") from error
