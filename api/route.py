"""`/v1/route`: which cluster a query belongs to and what answers it, and on demand the answer."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.body import body_schema, read_model
from api.errors import PROBLEM
from api.jobs import MISSING, REFUSALS
from api.params import JobId
from api.state import State, StateDep
from goldsmith import adapters, routes
from goldsmith.db import Connection
from goldsmith.errors import ReferenceNotUsable, RetryableError, Unavailable
from goldsmith.kinds.base import UUID_PATTERN
from goldsmith.language import language_of
from goldsmith.student import ChatReply, Conversation, open_chat
from goldsmith.uno.answer import TEMPERATURE, answer, embedded_text

if TYPE_CHECKING:
    from goldsmith.uno.route import Decision

router = APIRouter(prefix="/v1", tags=["route"])

MAX_CHARACTERS = 1_000_000

ANSWERS: dict[int | str, dict[str, Any]] = REFUSALS | dict.fromkeys((404, 409), PROBLEM)
RouterRef = Annotated[str, Field(pattern=rf"^job:{UUID_PATTERN}$", description="A completed router job.")]


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1, max_length=MAX_CHARACTERS)


class RouteBody(BaseModel):
    """One of `query`, `messages` and `vector`."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    router: RouterRef
    query: str | None = Field(None, min_length=1, max_length=MAX_CHARACTERS, description="What is asked, as one text.")
    messages: list[Message] | None = Field(
        None, min_length=1, max_length=1000, description="The conversation; its texts are embedded together."
    )
    vector: list[float] | None = Field(
        None, min_length=1, max_length=65_536, description="The query's vector, by the router's encoder; any length but 0."
    )
    answer: bool = Field(False, description="Answer as well, with up to three calls of the model server; needs a text.")
    max_tokens: int = Field(512, ge=1, le=4096, description="Longest answer; the draft and the critique also end there.")
    temperature: float = Field(TEMPERATURE, ge=0, le=2)

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        given = [name for name in ("query", "messages", "vector") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"query: give one of query, messages and vector, not {' and '.join(given) or 'none'}")
        for name, text in (("query", self.query), ("messages", self._text if self.messages else None)):
            if text is not None and not text.strip():
                raise ValueError(f"{name}: must not be blank")
        if self.messages and self.messages[-1].role != "user":
            raise ValueError("messages: the last one must be the user's")
        if self.answer and self.vector is not None:
            raise ValueError("answer: a vector cannot be answered; give query or messages")
        return self

    @property
    def conversation(self) -> list[dict[str, str]]:
        if self.messages is None:
            return [{"role": "user", "content": self.query or ""}]
        return [message.model_dump() for message in self.messages]

    @property
    def _text(self) -> str:
        return embedded_text(self.conversation)

    @property
    def text(self) -> str | None:
        """What is embedded; None: a vector was given."""
        return None if self.vector is not None else self._text


class Routed(BaseModel):
    """What was decided; with `answer: true` also what was answered."""

    router: str
    cluster_id: str
    """The nearest cluster, also of an outlier."""
    label: int
    path: Literal["primary", "reflective", "base"]
    distance: float
    second_distance: float | None
    outlier: bool
    """Farther from every cluster than the router's outlier distance: the base model answers."""
    adapter: str | None
    critic: str | None
    why: str
    answer: str | None = None
    draft: str | None = None
    critique: str | None = None
    model_used: str | None = None
    answered_by: str | None = None
    """The adapter that wrote the answer; null: the base model."""
    note: str | None = None
    """Why the base model answered where an adapter was wanted."""


class RoutePage(BaseModel):
    routes: list[routes.Route]
    next_cursor: UUID | None
    """Give it as `cursor` for the next page; null on the last."""


@router.post("/route", responses=ANSWERS, response_model=Routed, openapi_extra=body_schema(RouteBody))
async def route(request: Request, state: StateDep) -> JSONResponse:
    """Send a query to the nearest cluster of a router: `primary` is answered by its expert, `reflective` by the base model
    after its critic, everything else by the base model. Where the vector is not given, the model server's encoder makes it.

    The decision is kept without the text. A vector of another dimension than the router's centroids is a 409 that says both.
    With `answer: true` a missing adapter leaves the answer to the base model, and `note` says so.
    """
    body = await read_model(request, RouteBody)
    job_id = UUID(body.router.removeprefix("job:"))
    table = await state.routers.get(job_id)
    try:
        text = body.text
        decision = table.decide(body.vector or [] if text is None else await state.embedder.embed(table.encoder, text))
        state.decisions.keep(job_id, decision)
        answered = await _answered(state, body, decision, text) if body.answer and text is not None else {}
    except RetryableError as error:  # of the model server: in a request nobody else tries again
        raise Unavailable(error.detail) from None
    return JSONResponse(decision.as_dict() | answered)


async def _answered(state: State, body: RouteBody, decision: Decision, text: str) -> dict[str, Any]:
    chat = open_chat(state.settings)
    language = await asyncio.to_thread(language_of, text)  # the first call loads a model

    async def complete(messages: Conversation, adapter: str | None) -> ChatReply:
        if adapter is not None:
            await asyncio.to_thread(_check_adapter, state, adapter)
        return await chat.complete(messages, adapter=adapter, max_tokens=body.max_tokens, temperature=body.temperature)

    return asdict(await answer(decision, body.conversation, complete, language))


def _check_adapter(state: State, ref: str) -> None:
    """Raise `ReferenceNotUsable` for one that is gone or retired."""
    with state.database.connection() as conn:
        if adapters.get(conn, state.storage, ref).status == "retired":
            raise ReferenceNotUsable(f"{ref} is retired")


def _newest(conn: Connection, job_id: UUID, cursor: UUID | None, limit: int) -> list[routes.Route]:
    routes.check(conn, job_id)
    return routes.newest(conn, job_id, before=cursor, limit=limit)


@router.get("/routes", responses=MISSING)
async def list_routes(
    state: StateDep,
    router: Annotated[JobId, Query(description="A router job, as job:<id> or its id.")],
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
) -> RoutePage:
    """What a router decided, newest first; no text was kept."""
    await state.decisions.written()
    found = await state.database.run(_newest, router, cursor, limit)
    return RoutePage(routes=found, next_cursor=found[-1].id if len(found) == limit else None)
