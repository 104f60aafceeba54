"""The large model that shows how it is done. Every question is metered: reserved before it is asked, settled after.

`anthropic` asks Claude, or whatever speaks its wire format; `metered` keeps the accounts; `rehearsal` is a server on
loopback that speaks the format too and applies written rules, so that everything can be tried without a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from goldsmith.errors import GoldsmithError, RetryableError

if TYPE_CHECKING:
    from goldsmith.budgets import Statement
    from goldsmith.db import Database
    from goldsmith.settings import Settings
    from goldsmith.teacher.prices import CachePlan


class BudgetReached(GoldsmithError):
    """The question was not asked: its worst case no longer fits under the cap, and nothing in flight can free room."""

    status = 409
    title = "Budget reached"


class NotAnswered(GoldsmithError):
    """The provider gave no answer to this very question, asked a few times; others may do better."""

    status = 502
    title = "No answer"


class Waiting(RetryableError):
    """It will be asked, or was, and the answer is not there yet: go on with the next question, then call `send`."""

    title = "Waiting for an answer"


@dataclass(frozen=True)
class Answer:
    text: str
    """All text blocks, joined; may be empty, and is then worth nothing but was paid."""
    stop_reason: str
    """As the provider words it: `end_turn`; with `max_tokens` the text is cut, with `refusal` it is no answer."""
    model: str
    """The model that answered, by its own name."""
    input_tokens: int
    output_tokens: int
    cost_usd: float
    """What this call cost now: 0 when `reused`."""
    request_id: str | None
    rehearsal: bool
    reused: bool
    """Taken from the ledger: the identical request was paid before."""
    own: bool = True
    """By this job itself: earlier, in another attempt, or in a batch."""


class Teacher(Protocol):
    provider: str
    model: str
    rehearsal: bool
    local: bool
    """On this machine or its network: what it is asked leaves for nobody else."""

    @property
    def takes_batches(self) -> bool:
        """Whether `ask(batch=True)` asks in a batch; else it asks at once."""

    @property
    def takes_temperature(self) -> bool:
        """Whether `ask` may be given `temperature` and `top_p`; newer models sample as they like and answer 400 to either."""

    @property
    def spent_usd(self) -> float:
        """What the job has spent so far, earlier attempts and lost calls included."""

    @property
    def saved_usd(self) -> float:
        """What the answers that other jobs had paid would have cost."""

    @property
    def prices(self) -> dict[str, Any]:
        """What the model costs, as the price list had it: dollars per million tokens, and the factors on them."""

    @property
    def counted(self) -> str:
        """How the worst cases of this attempt's questions were found, for people."""

    async def statement(self) -> Statement:
        """What became of all calls of the job."""

    async def cache_plan(self, *, system: str | None, prompt: str, shared: int, sharing: int, batch: bool) -> CachePlan:
        """What `ask` does with a prefix that `sharing` questions have, and why."""

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
        """Ask once. `item` names the row in the ledger; with `json_schema` the text is JSON of that shape.

        Identical questions get one answer, for ever; another `ordinal` (0, 1, 2 …) asks for another sample. `recorded`: the
        prompt comes from a recorded run; empty: as the teacher was opened. `batch`: in a batch, at half the price, where the
        teacher takes them; the answer is there when the job is asked again, see `send`. The first `shared` characters of the
        prompt are those of `sharing` questions in all: the provider's cache is used where that saves money.

        Raises `BudgetReached` before spending; `Waiting`; `NotAnswered`; other `RetryableError`s when the provider is busy or
        cannot be reached; `GoldsmithError` when asking again cannot help. Safe to call from many coroutines of one event loop.
        """

    async def collect(self) -> None:
        """Take in what the job's batches brought; raises `Requeue` while one is under way. Call it before all else."""

    async def send(self) -> None:
        """Send the questions that are `Waiting` and raise `Requeue`: the job is put back, and finds the answers next time.

        Returns when nothing waits, or when no budget has room for one more question.
        """

    async def aclose(self) -> None:
        """Close the connections; use `contextlib.aclosing`."""


def open_teacher(
    database: Database,
    *,
    settings: Settings,
    job_id: UUID,
    attempt: int,
    provider: str,
    model: str | None,
    budget_usd: float,
    recorded: bool,
) -> Teacher:
    """The metered teacher of one attempt of a job.

    `budget_usd` caps the whole job, not the attempt. `recorded`: the prompts come from recorded runs; a provider outside
    this machine then needs the admin's word in GOLDSMITH_ALLOW_PROVIDERS. Calls that an earlier attempt had in flight
    when it was lost are charged at their worst case first. Raises `InvalidInput` and `GoldsmithError` that name the setting.
    """
    from goldsmith.teacher.metered import open_metered  # the SDK costs a second to import; only who asks pays it

    return open_metered(
        database,
        settings=settings,
        job_id=job_id,
        attempt=attempt,
        provider=provider,
        model=model,
        budget_usd=budget_usd,
        recorded=recorded,
    )
