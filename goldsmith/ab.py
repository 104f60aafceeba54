"""The live comparison in words: plan, arms, assignment, events, decision. Pydantic only, so the SDK imports it too.

`goldsmith.experiments` has the SQL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, get_args
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from goldsmith.kinds.base import AdapterRef, Moment, Name

BUCKETS = 10_000
BASE = "base"
MAX_BATCH = 1000
MAX_ERRORS = 10  # that are told of one event

# No spaces anywhere: an event has no field that a sentence fits into.
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$")]
Salt = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{8,64}$")]

Status = Literal["draft", "running", "paused", "completed", "rolled_back"]
Verdict = Literal["promote", "keep_base", "continue", "rollback", "invalid"]


class Arm(BaseModel):
    """One side of the comparison. `base` answers with the base model, every other arm with its adapter."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: Name
    weight: float = Field(ge=0, le=1, description="Share of the units, in steps of 1/10,000.")
    adapter: AdapterRef | None = Field(None, description="What the arm answers with; none for `base`.")
    model: ModelName | None = Field(
        None, description="What `model_used` reads when this arm answered; empty: any model that is no other arm's."
    )


def bounds(arms: Sequence[Arm]) -> dict[str, range]:
    """The buckets of each arm. Arms other than `base` take theirs from 0 upward in the order given; `base` has the rest."""
    owned, start, total = {}, 0, 0.0
    for arm in arms:
        if arm.name != BASE:
            total += arm.weight
            end = min(BUCKETS, round(total * BUCKETS))
            owned[arm.name], start = range(start, end), end
    return owned | {BASE: range(start, BUCKETS)}


def bucket(salt: str, unit: str) -> int:
    """0 to 9,999: the first eight bytes of sha256(salt + newline + unit) as a big-endian number, modulo 10,000."""
    digest = hashlib.sha256(f"{salt}\n{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


def assign(salt: str, unit: str, arms: Sequence[Arm]) -> Arm:
    """The arm of a unit: a pure function, the same on every machine. `docs/assignment.md` has test vectors.

    Growing the weight of an arm other than `base` only adds buckets to it, so no unit ever moves back to `base`.
    """
    number, owned = bucket(salt, unit), bounds(arms)
    return next(arm for arm in arms if number in owned[arm.name])


class ExperimentPlan(BaseModel):
    """What is compared, on whom, and when it counts as decided. Frozen once the experiment has started."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: Name
    arms: list[Arm] = Field(
        min_length=2, max_length=2, description="`base` and the arm it is compared with; usually 0.9 and 0.1."
    )
    unit: Literal["device_id", "run_id"] = Field(
        "device_id", description="What is assigned, and what counts as one observation."
    )
    configs: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] | None = Field(
        None, min_length=1, max_length=200, description="Config ids that take part; empty: all."
    )
    primary_metric: Literal["favorite"] = Field("favorite", description="Share of units that kept at least one favourite.")
    min_units: int = Field(50, ge=10, le=1_000_000, description="Exposed units per arm before favourites decide anything.")
    min_attempts: int = Field(
        50, ge=10, le=1_000_000, description="Generation attempts per arm before safety decides anything."
    )
    alpha: float = Field(0.05, ge=1e-6, le=0.2, description="Chance of a wrong winner, however often one looks.")
    safety_margin: float = Field(
        0.05, ge=0, le=0.5, description="Largest tolerated rise of the safety-block rate over base, 0.05 = 5 percentage points."
    )

    @model_validator(mode="after")
    def _arms_fit(self) -> Self:
        names = [arm.name for arm in self.arms]
        if names.count(BASE) != 1 or len(set(names)) != len(names):
            raise ValueError(f"arms: exactly one must be named {BASE!r} and names must differ, not {names}")
        total = sum(arm.weight for arm in self.arms)
        if abs(total - 1) > 1e-9:
            raise ValueError(f"arms: weights must sum to 1, not {total:.6g}")
        for index, arm in enumerate(self.arms):
            if not len(bounds(self.arms)[arm.name]):
                raise ValueError(f"arms.{index}.weight: {arm.weight:g} is below 1/{BUCKETS}; no unit would get it")
            if (arm.adapter is None) != (arm.name == BASE):
                what = "has no adapter" if arm.name == BASE else "needs an adapter"
                raise ValueError(f"arms.{index}.adapter: the arm {arm.name} {what}")
        models = [arm.model for arm in self.arms if arm.model is not None]
        if len(set(models)) != len(models):
            raise ValueError(f"arms: `model` must tell the arms apart, not {models}")
        return self

    @property
    def base(self) -> Arm:
        return next(arm for arm in self.arms if arm.name == BASE)

    @property
    def treated(self) -> Arm:
        return next(arm for arm in self.arms if arm.name != BASE)


class NewExperiment(ExperimentPlan):
    """The body of `POST /v1/experiments`."""

    salt: Salt | None = Field(None, description="Fixes the assignment, for replaying recorded events; empty: drawn at random.")


class Experiment(BaseModel):
    """An experiment as readers see it. `plan` is what was registered, `arms` what holds now."""

    id: UUID
    name: str
    status: Status
    salt: str
    plan: ExperimentPlan
    arms: list[Arm]
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class Decision(BaseModel):
    """What a report concludes, in plain words and with the numbers behind them."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    decision: Verdict
    reason: str = Field(min_length=1, max_length=2000)
    statistics: dict[str, Any] = {}


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NoData(_Data):
    pass


class InterceptionData(_Data):
    model_used: ModelName = Field(description="What really answered, of the last model call.")
    latency_ms: int = Field(ge=0, le=86_400_000)
    wiki_iterations: int = Field(0, ge=0, le=100, description="Above 0: a look-up loop ran, in which models can be mixed up.")
    chars: int = Field(ge=0, le=10_000_000, description="Length of the answer.")
    context_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class StageBlockData(_Data):
    stage: Literal["safety", 1, 3, "vlm_safety"] = Field(
        description="`safety` and 1 come before the arm's model and never count."
    )
    method: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]


class GenerationData(_Data):
    safety_level: Literal["kids", "youth", "adult", "research", "disabled"] = Field(
        description="research and disabled do not count as attempts: nothing is blocked there."
    )


class UserEditData(_Data):
    edit_distance: int = Field(ge=0, le=10_000_000, description="Characters between the interception and its edited form.")


class DwellData(_Data):
    dwell_ms: int = Field(ge=0, le=86_400_000)


class ErrorData(_Data):
    fallback_model: ModelName | None = Field(None, description="What answered in place of the arm's model, if anything did.")


EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    event_id: Id = Field(description="Chosen by the sender; a second event with it is ignored.")
    unit: Id = Field(description="Device or run id, as the plan's `unit` says. The arm is computed from it.")
    interception_run_id: Id | None = None
    occurred_at: Annotated[Moment, Field(ge=EARLIEST)]


class _RunEvent(_Event):
    """Events that are joined through their interception: media runs get ids of their own."""

    interception_run_id: Id


class PlainEvent(_Event):
    event: Literal["exposure", "favorite_added", "favorite_removed", "regeneration", "export", "abandon"]
    data: NoData = NoData()


class InterceptionCompleted(_RunEvent):
    event: Literal["interception_completed"]
    data: InterceptionData


class StageBlock(_RunEvent):
    event: Literal["stage_block"]
    data: StageBlockData


class GenerationStarted(_RunEvent):
    event: Literal["generation_started"]
    data: GenerationData


class GenerationCompleted(_RunEvent):
    event: Literal["generation_completed"]
    data: NoData = NoData()


class UserEdit(_RunEvent):
    event: Literal["user_edit"]
    data: UserEditData


class Dwell(_Event):
    event: Literal["dwell_ms"]
    data: DwellData


class Failure(_Event):
    event: Literal["error"]
    data: ErrorData = ErrorData()


Event = Annotated[
    PlainEvent | InterceptionCompleted | StageBlock | GenerationStarted | GenerationCompleted | UserEdit | Dwell | Failure,
    Field(discriminator="event"),
]
EVENTS: tuple[str, ...] = tuple(
    name for model in get_args(get_args(Event)[0]) for name in get_args(model.model_fields["event"].annotation)
)
_event: TypeAdapter[Any] = TypeAdapter(Event)


class EventBatch(BaseModel):
    """The body of `POST /v1/experiments/{id}/events`. Each event is checked by itself, so a bad one stops no other."""

    model_config = ConfigDict(extra="forbid")

    events: list[dict[Any, Any]] = Field(min_length=1, max_length=MAX_BATCH)


class RejectedEvent(BaseModel):
    index: int = Field(description="Position in the batch.")
    errors: list[dict[str, str]] = Field(description="`field` and `message`; the value is left out, it may be a child's text.")


class Ingested(BaseModel):
    accepted: int
    duplicates: int = Field(description="Events whose id was known.")
    rejected: list[RejectedEvent]


def parse_event(data: Any) -> Any:
    """One event, checked; raises pydantic's `ValidationError`."""
    return _event.validate_python(data)


def event_errors(error: ValidationError) -> list[dict[str, str]]:
    """What is wrong with an event, without any value of it: the first few things."""
    found = []
    for entry in error.errors(include_url=False, include_input=False, include_context=False)[:MAX_ERRORS]:
        steps = map(str, entry["loc"][1:])  # the first is the event's name, by which its model was chosen
        field = ".".join(step if step.isidentifier() and len(step) <= 64 else "…" for step in steps)
        match entry["type"]:
            case "union_tag_invalid" | "union_tag_not_found":
                field, message = "event", f"must be one of: {', '.join(EVENTS)}"
            case "extra_forbidden":
                message = "unknown key"
            case _:
                message = entry["msg"].removeprefix("Value error, ")
        found.append({"field": field, "message": message})
    return found
