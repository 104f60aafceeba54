"""`/v1/webhooks`: who is told of ended jobs, and what became of each telling. Nothing is sent in a request.

All of it needs the scope admin: a webhook makes this machine call an address."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from api.body import body_schema, read_model
from api.errors import PROBLEM
from api.jobs import MISSING, REFUSALS
from api.state import CallerDep, State, StateDep
from goldsmith import outbound, webhooks
from goldsmith.keys import Caller
from goldsmith.webhooks import Delivery, DeliveryStatus, NewWebhook, Webhook, WebhookChange, WebhookWithSecret

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


class DeliveryPage(BaseModel):
    deliveries: list[Delivery]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last."""


@router.post("", status_code=201, responses=REFUSALS, openapi_extra=body_schema(NewWebhook))
async def add(request: Request, response: Response, state: StateDep, caller: CallerDep) -> WebhookWithSecret:
    """Tell this URL when jobs end. The secret is in this answer and in no other."""
    new = await read_model(request, NewWebhook)
    made = await to_thread.run_sync(_add, state, caller, new)
    response.headers["Location"] = f"/v1/webhooks/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return made


def _add(state: State, caller: Caller, new: NewWebhook) -> WebhookWithSecret:
    outbound.check(new.url, state.settings.webhook_private)
    with state.database.connection() as conn:
        return webhooks.add(conn, new, actor=caller.name)


@router.get("", responses=REFUSALS)
def list_webhooks(state: StateDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[Webhook]:
    """Newest first."""
    with state.database.connection() as conn:
        return webhooks.list_webhooks(conn, limit=limit)


@router.get("/{webhook_id}", responses=MISSING)
def get(webhook_id: UUID, state: StateDep) -> Webhook:
    with state.database.connection() as conn:
        return webhooks.get(conn, webhook_id)


@router.patch("/{webhook_id}", responses=REFUSALS | MISSING, openapi_extra=body_schema(WebhookChange))
async def change(webhook_id: UUID, request: Request, state: StateDep, caller: CallerDep) -> Webhook:
    """Change what is given. `active: false` gives up what waits; `active: true` also brings back one that was disabled."""
    wanted = await read_model(request, WebhookChange)
    return await to_thread.run_sync(_change, state, caller, webhook_id, wanted)


def _change(state: State, caller: Caller, webhook_id: UUID, wanted: WebhookChange) -> Webhook:
    if wanted.url is not None:
        outbound.check(wanted.url, state.settings.webhook_private)
    with state.database.connection() as conn:
        return webhooks.change(conn, webhook_id, wanted, actor=caller.name)


@router.delete("/{webhook_id}", status_code=204, responses=MISSING)
def remove(webhook_id: UUID, state: StateDep, caller: CallerDep) -> None:
    """With its deliveries."""
    with state.database.connection() as conn:
        webhooks.remove(conn, webhook_id, actor=caller.name)


@router.post("/{webhook_id}/rotate", responses=MISSING)
def rotate(webhook_id: UUID, response: Response, state: StateDep, caller: CallerDep) -> WebhookWithSecret:
    """A new secret, shown here and nowhere else. For 24 hours deliveries carry a signature by the old one as well."""
    response.headers["Cache-Control"] = "no-store"
    with state.database.connection() as conn:
        return webhooks.rotate(conn, webhook_id, actor=caller.name)


@router.post("/{webhook_id}/test", status_code=202, responses=MISSING | {409: PROBLEM})
def send_test(webhook_id: UUID, state: StateDep) -> Delivery:
    """Put a `webhook.test` among the deliveries; it goes out within seconds, and the deliveries show what came of it."""
    with state.database.connection() as conn:
        return webhooks.test(conn, webhook_id)


@router.get("/{webhook_id}/deliveries", responses=MISSING)
def list_deliveries(
    webhook_id: UUID,
    state: StateDep,
    status: DeliveryStatus | None = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> DeliveryPage:
    """Newest first, each with every try: status code, duration, error."""
    with state.database.connection() as conn:
        page = webhooks.deliveries(conn, webhook_id, status=status, before=cursor, limit=limit + 1)
    return DeliveryPage(deliveries=page[:limit], next_cursor=str(page[limit - 1].id) if len(page) > limit else None)


@router.post("/{webhook_id}/deliveries/{delivery_id}/retry", status_code=202, responses=MISSING | {409: PROBLEM})
def retry(webhook_id: UUID, delivery_id: UUID, state: StateDep) -> Delivery:
    """Send it again now, also when it was delivered. One that is being sent at this moment is not sent twice."""
    with state.database.connection() as conn:
        return webhooks.retry(conn, webhook_id, delivery_id)
