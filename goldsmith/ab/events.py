"""What happens to a unit, as events: no text, no personal data, no field that a sentence fits into."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, field_validator

from goldsmith.ab.plan import ContextHash, Id, ModelName
from goldsmith.kinds.base import Moment, Name

MAX_BATCH = 1000
MAX_ERRORS = 10  # that are told of one event

Step = Annotated[int, Field(ge=0, lt=20, description="Of the ramp, from 0, as the caller's snapshot said; empty: by the time.")]
Sketch = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{512}$")]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NoData(_Data):
    pass


class ExposureData(_Data):
    """What the caller's assignment said; all of it may be left out."""

    assigned: Name | None = Field(None, description="The arm; an event is rejected when it is not the one that the unit has.")
    gated: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,31}$")] | None = Field(
        None, description="Why base answers in the arm's place, such as `model_missing`; the unit stays the arm's."
    )
    step: Step | None = None


class InterceptionData(_Data):
    model_used: ModelName = Field(description="What really answered, of the last model call.")
    latency_ms: int = Field(ge=0, le=86_400_000)
    wiki_iterations: int = Field(0, ge=0, le=100, description="Above 0: a look-up loop ran, in which models can be mixed up.")
    chars: int = Field(ge=0, le=10_000_000, description="Length of the answer.")
    context_sha256: ContextHash
    config_id: Id | None = None
    step: Step | None = None
    sketch: Sketch | None = Field(
        None, description="384 bytes in base64url, computed where the answer is, with a key that stays there; docs/events.md."
    )

    @field_validator("sketch")
    @classmethod
    def _is_no_text(cls, value: str | None) -> str | None:
        """Not the answer itself in base64."""
        if value is not None:
            said = base64.urlsafe_b64decode(value).decode("utf-8", errors="replace")
            if "\ufffd" not in said and said.replace("\n", "").isprintable():
                raise ValueError("is a text in base64 and no sketch")
        return value


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


class Exposure(_Event):
    event: Literal["exposure"]
    data: ExposureData = ExposureData()


class PlainEvent(_Event):
    event: Literal["favorite_added", "favorite_removed", "regeneration", "export", "abandon"]
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
    Exposure
    | PlainEvent
    | InterceptionCompleted
    | StageBlock
    | GenerationStarted
    | GenerationCompleted
    | UserEdit
    | Dwell
    | Failure,
    Field(discriminator="event"),
]
EVENTS: tuple[str, ...] = tuple(
    name for model in get_args(get_args(Event)[0]) for name in get_args(model.model_fields["event"].annotation)
)
_event: TypeAdapter[Any] = TypeAdapter(Event)


class EventBatch(BaseModel):
    """The body of `POST /v1/experiments/{id}/events`. Each event is checked by itself, so a bad one stops no other."""

    model_config = ConfigDict(extra="forbid")

    events: list[Event] = Field(min_length=1, max_length=MAX_BATCH)


class UncheckedBatch(BaseModel):
    """The same body with events of which nothing is known yet."""

    model_config = ConfigDict(extra="forbid")

    events: list[dict[Any, Any]] = Field(min_length=1, max_length=MAX_BATCH)


class RejectedEvent(BaseModel):
    index: int = Field(description="Position in the batch.")
    errors: list[dict[str, str]] = Field(description="`field` and `message`; the value is left out, it may be a child's text.")


class Ingested(BaseModel):
    accepted: int
    duplicates: int = Field(description="Events whose id was known.")
    rejected: list[RejectedEvent]


class Checked(NamedTuple):
    """A batch, event by event."""

    valid: list[tuple[int, Any]]
    """Position in the batch, and the event."""
    rejected: list[RejectedEvent]


def parse_event(data: Any) -> Any:
    """One event, checked; raises pydantic's `ValidationError`."""
    return _event.validate_python(data)


def check(events: Iterable[Any]) -> Checked:
    """Each event by itself: a wrong one is rejected with the reason and stops no other."""
    checked = Checked([], [])
    for index, data in enumerate(events):
        try:
            checked.valid.append((index, _event.validate_python(data)))
        except ValidationError as error:
            checked.rejected.append(RejectedEvent(index=index, errors=event_errors(error)))
    return checked


def check_json(raw: bytes) -> Checked | None:
    """The body of a batch in which nothing is wrong, in C from end to end; `None` when something is."""
    try:
        return Checked([*enumerate(EventBatch.model_validate_json(raw).events)], [])
    except ValidationError:
        return None


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
