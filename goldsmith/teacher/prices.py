"""What a teacher costs and accepts: dated data, in `prices.yaml` and in a file of the admin's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from goldsmith.budgets import micro_usd
from goldsmith.errors import GoldsmithError, InvalidInput

SHIPPED = Path(__file__).with_name("prices.yaml")


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, as the provider counted them."""

    input_tokens: int
    """All of the prompt; what was read from or written to the cache is part of it."""
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0


class Price(BaseModel):
    """Dollars per million tokens, and the model's manners; the fields are explained in `prices.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str = Field("anthropic", min_length=1, max_length=40)
    input: float = Field(ge=0, le=10_000)
    output: float = Field(ge=0, le=10_000)
    temperature: bool = False
    thinking: Literal["", "disabled", "between_tools", "adaptive"] = ""
    headroom: int = Field(0, ge=0, le=100_000)
    max_prompt: int | None = Field(None, ge=1)
    cache_min: int = Field(1024, ge=1, le=1_000_000)
    cache_write_5m: float = Field(1.25, ge=0, le=10)
    cache_write_1h: float = Field(2.0, ge=0, le=10)
    cache_read: float = Field(0.1, ge=0, le=10)
    batch: float | None = Field(None, ge=0, le=1)
    batch_requests: int = Field(100_000, ge=1)
    batch_bytes: int = Field(256_000_000, ge=1_000)

    def cost(self, usage: Usage, *, batch: bool = False) -> Decimal:
        """Dollars, rounded up to a millionth."""
        plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_5m_tokens - usage.cache_write_1h_tokens
        read = (
            plain
            + _decimal(self.cache_read) * usage.cache_read_tokens
            + _decimal(self.cache_write_5m) * usage.cache_write_5m_tokens
            + _decimal(self.cache_write_1h) * usage.cache_write_1h_tokens
        )
        usd = (_decimal(self.input) * read + _decimal(self.output) * usage.output_tokens) / 1_000_000
        return micro_usd(usd * self._factor(batch))

    def worst_case(
        self,
        input_tokens: int,
        max_tokens: int,
        *,
        prefix_tokens: int = 0,
        batch: bool = False,
        cache: Literal["5m", "1h"] | None = None,
    ) -> Decimal:
        """The most that one call can cost: `prefix_tokens` of the input written to the cache, all of `max_tokens` used.

        `input_tokens` and `prefix_tokens` are upper bounds of the caller's: see `teacher.counting`.
        """
        usage = Usage(
            input_tokens,
            max_tokens + self.headroom,
            cache_write_5m_tokens=prefix_tokens if cache == "5m" and self.cache_write_5m > 1 else 0,
            cache_write_1h_tokens=prefix_tokens if cache == "1h" and self.cache_write_1h > 1 else 0,
        )
        return self.cost(usage, batch=batch)

    def _factor(self, batch: bool) -> Decimal:
        if not batch:
            return Decimal(1)
        if self.batch is None:
            raise InvalidInput(f"provider {self.provider!r} has no price for batches: it takes none")
        return _decimal(self.batch)


@dataclass(frozen=True)
class CachePlan:
    """Whether a prefix is worth a cache mark, and why."""

    ttl: Literal["5m", "1h"] | None
    saves_usd: Decimal
    """Against the same requests without the mark, when the first one writes and all others read."""
    why: str


def plan_cache(price: Price, *, prefix_tokens: int, requests: int, batch: bool) -> CachePlan:
    """What to do with a prefix that `requests` requests share: system prompt and the start of the user's turn, of one config.

    One hour inside batches, which take longer than five minutes; five minutes in direct mode, where every read prolongs it.
    """
    if prefix_tokens < price.cache_min:
        return CachePlan(
            None,
            Decimal(0),
            f"the shared prefix has {prefix_tokens} tokens; below {price.cache_min} the provider caches nothing",
        )
    ttl: Literal["5m", "1h"] = "1h" if batch else "5m"
    write = price.cache_write_1h if batch else price.cache_write_5m
    factor = (requests - write - price.cache_read * (requests - 1)) * (price.batch if batch and price.batch is not None else 1)
    saves = micro_usd(_decimal(price.input) * prefix_tokens * _decimal(factor) / 1_000_000) if factor > 0 else Decimal(0)
    if not saves:
        return CachePlan(None, saves, f"{requests} requests share the prefix; writing it costs {write}×, too much for so few")
    return CachePlan(
        ttl,
        saves,
        f"{requests} requests share {prefix_tokens} tokens: written once at {write}×, then read at {price.cache_read}×",
    )


FREE = Price(
    provider="openai-compatible", input=0, output=0, temperature=True, cache_write_5m=1, cache_write_1h=1, cache_read=1
)
"""A model on this machine."""


def price_of(model: str, own: Path | None = None) -> Price:
    """The price of a model, from the admin's file `own` if it is there, else from the list that ships."""
    known = prices(own)
    if model not in known:
        raise InvalidInput(
            f"model {model!r} has no price, so no budget could hold it; known: {', '.join(sorted(known))}."
            f" Add it in a file laid out like {SHIPPED.name} and name that file in GOLDSMITH_PRICES",
            errors=[{"field": "model", "value": model, "allowed": sorted(known), "message": "has no price"}],
        )
    return known[model]


@lru_cache
def prices(own: Path | None = None) -> dict[str, Price]:
    """All models with a price."""
    shipped = _read(SHIPPED)
    added = _read(own) if own else {}
    factors = _merged(shipped["providers"], _section(added, "providers", own))
    models = _merged(shipped["models"], _section(added, "models", own))
    try:
        return {
            model: Price.model_validate({**factors.get(row.get("provider", "anthropic"), {}), **row})
            for model, row in models.items()
        }
    except ValidationError as error:
        raise _unreadable(own or SHIPPED, error) from error


def eu_regions(own: Path | None = None) -> frozenset[str]:
    """Cloud regions whose data stays in the European Union."""
    return frozenset((_read(own) if own else {}).get("eu_regions", _read(SHIPPED)["eu_regions"]))


def _merged(shipped: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {**shipped.get(name, {}), **added.get(name, {})} for name in {*shipped, *added}}


def _section(data: Mapping[str, Any], name: str, path: Path | None) -> Mapping[str, Any]:
    section = data.get(name) or {}
    if not isinstance(section, dict) or not all(isinstance(row, dict) for row in section.values()):
        raise _unreadable(path or SHIPPED, f"`{name}` is not laid out as in {SHIPPED.name}")
    return section


@lru_cache
def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(data, dict) or not {"models", "providers"} & set(data):
        raise _unreadable(path, "it has neither `models` nor `providers`")
    return data


def _unreadable(path: Path, why: object) -> GoldsmithError:
    return GoldsmithError(f"the price list {path} (GOLDSMITH_PRICES) cannot be read: {why}")


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))
