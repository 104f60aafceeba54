"""`/v1/contexts`: the devserver's templates and contexts that rows are rendered with."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from api.jobs import MISSING
from api.state import StateDep
from goldsmith import artifacts, live, uploads
from goldsmith.db import Connection
from goldsmith.devserver.captured import TemplateCheck, compare
from goldsmith.devserver.checkout import Checkout
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.kinds.base import UUID_PATTERN
from goldsmith.storage import Storage

router = APIRouter(prefix="/v1/contexts", tags=["datasets"])

CONTEXTS_PATTERN = rf"^(job:{UUID_PATTERN}/[A-Za-z0-9][A-Za-z0-9._-]{{0,127}}|upload:{UUID_PATTERN})$"


class TemplateCheckRequest(BaseModel):
    """What a devserver sent to its model, and what it was made from."""

    model_config = ConfigDict(extra="forbid", strict=True)

    request: dict[str, Any] = Field(
        description="The captured body: of Ollama's `/api/generate`, or of a chat with one message of the user."
    )
    config_id: str = Field(min_length=1, max_length=200, description="The config that made it.")
    text: str = Field(max_length=100_000, description="What was typed, exactly.")
    language: str = Field("en", min_length=1, max_length=20, description="Language of the context that was sent.")
    wiki: bool | None = Field(None, description="With or without the wiki block; empty: as the config says.")
    contexts: Annotated[str, StringConstraints(pattern=CONTEXTS_PATTERN)] | None = Field(
        None, description="job:<id>/contexts.json or upload:<id>; empty: what the newest import read."
    )


class TemplateCheckView(BaseModel):
    contexts: str = Field(description="What it was rendered with.")
    check: TemplateCheck


@router.post("/check", responses=MISSING)
def check_template(body: TemplateCheckRequest, state: StateDep) -> TemplateCheckView:
    """Compare the prompt that we render, byte for byte, with one that was captured."""
    with state.database.connection() as conn:
        ref, checkout = checkout_of(conn, state.storage, body.contexts)
    sent = json.dumps(body.request).encode()
    found = compare(checkout, sent, config_id=body.config_id, language=body.language, text=body.text, wiki=body.wiki)
    return TemplateCheckView(contexts=ref, check=found)


def checkout_of(conn: Connection, storage: Storage, ref: str | None) -> tuple[str, Checkout]:
    """By artifact or upload, else of the newest import that read one; and its reference."""
    ref = ref or live.newest_contexts(conn)
    if ref is None:
        raise NotFound("no import has read a checkout yet; import one, or upload its contexts and name them in `contexts`")
    is_upload = ref.startswith("upload:")
    uri = uploads.get(conn, ref, "contexts").uri if is_upload else artifacts.get_by_ref(conn, ref).uri
    try:
        return ref, Checkout.model_validate_json(storage.existing(uri).read_bytes())
    except ValidationError:
        raise InvalidInput(
            f"contexts: {ref} holds no contexts",
            errors=[{"field": "contexts", "value": ref, "message": "a contexts.json is wanted"}],
        ) from None
