"""What lies below the meter: one request, one reply, every failure named. Nothing here knows of jobs or budgets.

A `Provider` asks at once; one that has `batches` also takes many requests at half the price and answers within a day.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from goldsmith.errors import GoldsmithError
from goldsmith.teacher.prices import Price, Usage

CUSTOM_ID = r"[A-Za-z0-9_-]{1,64}"
"""What a batch takes as the name of a request; a SHA-256 in hexadecimal fits."""

Why = Literal[
    "key",
    "money",
    "model",
    "request",
    "limited",
    "busy",
    "unreachable",
    "broken",
    "too_long",
    "expired",
    "cancelled",
    "not_found",
]
"""Why there is no reply.

    key, money, model   no request of this job can succeed: the key or the account is refused, the model is unknown
    request             this request is refused (400, 413, 422); asking the same again gets the same
    limited             429: more than the account may ask; not billed; worth asking after `retry_after_s`
    busy                529 and other 5xx: not billed; worth asking later, after `retry_after_s` where it is said
    unreachable         no answer: never sent, cut off or timed out
    broken              an answer that is none: HTML, half a JSON
    too_long            more tokens than were asked for: billed, of no use, and as dear when it is asked again
    expired, cancelled  the batch ended before its turn; not billed, worth asking again
    not_found           no batch of this name: gone, or made seconds ago and not to be seen yet
"""


@dataclass(frozen=True)
class Request:
    """What is asked."""

    prompt: str
    max_tokens: int
    """0 writes the marked prefix into the provider's cache and answers nothing."""
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    """Only the likeliest tokens that together have this probability."""
    seed: int | None = None
    """Of what is sampled; a provider that knows no seeds leaves it out."""
    json_schema: Mapping[str, Any] | None = None
    recorded: bool = True
    """The prompt comes from a recorded run, that is from a child."""
    shared: int = 0
    """Leading characters of the prompt that other requests have too; the cache mark stands behind them (and `system`)."""
    cache: Literal["5m", "1h"] | None = None
    """Mark the shared prefix for the provider's cache; `prices.plan_cache` says whether that pays."""


@dataclass
class Sending:
    """How far a question is, for whoever may want to give it up."""

    on_the_wire: bool = False
    """The provider may be working on it; not before it is sent, and not between two tries."""
    given_up: bool = False
    """Set from outside: there is no other try."""


@dataclass(frozen=True)
class Reply:
    text: str
    """All text blocks, joined; may be empty."""
    stop_reason: str
    """As the Messages API words it: `end_turn`, `max_tokens`, `refusal` …"""
    model: str
    input_tokens: int
    """All of the prompt, read from the cache or not."""
    output_tokens: int
    request_id: str | None
    cache_read_tokens: int = 0
    """Of `input_tokens`; so are the next two."""
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0

    @property
    def usage(self) -> Usage:
        return Usage(
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_write_5m_tokens,
            self.cache_write_1h_tokens,
        )


class Failed(Exception):
    """No reply. `billed` says what the ledger must think: `no` (the provider refused) or `maybe` (nobody can say)."""

    def __init__(
        self,
        error: GoldsmithError,
        billed: Literal["no", "maybe"],
        request_id: str | None = None,
        *,
        why: Why,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(error.detail)
        self.error = error
        """A `RetryableError` when asking again may help; else the job should end with it, but for `why` = request."""
        self.billed = billed
        self.request_id = request_id
        self.why = why
        self.retry_after_s = retry_after_s
        """As the provider said it, in seconds from now."""
        self.usage = usage
        """What a broken answer says that it cost; it may exceed what was asked for."""


def too_long(usage: Usage, max_tokens: int, *, where: str, request_id: str | None) -> Failed:
    """An answer with more tokens than were asked for."""
    said = f"{where} answered with {usage.output_tokens} tokens; at most {max_tokens} were asked for"
    return Failed(GoldsmithError(said), "maybe", request_id, why="too_long", usage=usage)


@dataclass(frozen=True)
class Batch:
    """A batch as the provider sees it."""

    id: str
    state: Literal["in_progress", "canceling", "ended"]
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    counts: Mapping[str, int]
    """`processing succeeded errored canceled expired`; all but the first are 0 until the batch has ended."""

    @property
    def requests(self) -> int:
        return sum(self.counts.values())


class Batches(Protocol):
    """Many requests at once. Every method raises `Failed`; `billed` is `maybe` only for `create`."""

    def portions(self, requests: Iterable[tuple[str, Request]]) -> Iterator[list[tuple[str, Request]]]:
        """Cut into batches that the provider takes, by number and by bytes; the order stays.

        Raises `InvalidInput` for a custom_id that does not match `CUSTOM_ID`.
        """

    async def create(self, requests: Sequence[tuple[str, Request]]) -> Batch:
        """Send (custom_id, request) pairs. With `billed` = `maybe` the batch may exist: `since` will tell."""

    async def get(self, batch_id: str) -> Batch:
        """`why` = not_found for a batch of seconds ago is no loss: ask again."""

    def results(self, batch_id: str) -> AsyncIterator[tuple[str, Reply | Failed]]:
        """What became of each request of an ended batch, in any order, as it is read. A `Failed` was not billed, but for
        `broken`. The ids are as the provider says them: one that was never sent, or came before, is for the caller to refuse;
        a line that cannot be read has the id "". How long an answer may be is not known here.
        """

    def since(self, created_at: datetime) -> AsyncIterator[Batch]:
        """The account's batches that were made at this time or later, newest first; those of others too."""

    async def cancel(self, batch_id: str) -> Batch:
        """Ask to stop; what is under way may still be answered and billed. The batch ends some time after."""


class Wire(Protocol):
    """A provider without patience: one try, whatever the limits."""

    name: str
    model: str
    price: Price
    local: bool

    @property
    def batches(self) -> Batches | None: ...

    def identity(self, request: Request) -> dict[str, Any]: ...

    async def ask(self, request: Request, *, heard: Callable[[Mapping[str, str]], None] | None = None) -> Reply:
        """`heard` gets the headers of the response, whatever its status."""

    async def count_tokens(self, request: Request) -> int | None: ...

    async def aclose(self) -> None: ...


class Provider(Protocol):
    name: str
    """`anthropic`, `bedrock`, `openai-compatible`, `rehearsal`."""
    model: str
    price: Price
    local: bool
    """On this machine or its network: costs nothing, no budget stops it."""

    @property
    def batches(self) -> Batches | None:
        """None: it takes no batches."""

    @property
    def alone(self) -> int:
        """How often the limit that all workers share was not to be reached, so that this one went on with its part of it."""

    def identity(self, request: Request) -> dict[str, Any]:
        """What decides the answer: two requests with one identity are one request. Marks for the cache and where the
        prompt came from are not in it."""

    async def ask(
        self, request: Request, *, ready: Callable[[], Awaitable[None]] | None = None, sending: Sending | None = None
    ) -> Reply:
        """Ask once and wait. Raises `Failed`; `InvalidInput` for what can never be asked.

        `ready` is awaited when the limiter lets the request through, right before it goes onto the wire: the place to
        reserve money. What it raises comes out as it is. A request that was surely not billed (429, 5xx, no connection)
        is asked again here, with `ready` awaited once; whatever may have been billed is not. `sending` is kept up to date, and
        stays as it was when the question is cancelled.
        """

    async def count_tokens(self, request: Request) -> int | None:
        """Input tokens as the provider counts them, free of charge; None: it does not count."""

    async def aclose(self) -> None: ...
