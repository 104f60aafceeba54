"""`/v1/uploads`: prompts as JSONL or CSV, logs of sessions and golden sets as JSONL, contexts as ZIP."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path as FilePath
from typing import Annotated, Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from api.errors import PROBLEM
from api.jobs import MISSING, REFUSALS
from api.state import CallerDep, StateDep
from goldsmith import uploads
from goldsmith.datasets import Origin
from goldsmith.uploads import MEDIA_TYPES, Upload, UploadKind

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
WRITE_FROM = 1 << 20  # bytes: so much is gathered before a thread writes it


class UploadView(BaseModel):
    upload: Upload
    ref: str


def _view(upload: Upload) -> UploadView:
    return UploadView(upload=upload, ref=upload.ref)


_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@router.post(
    "",
    status_code=201,
    responses=REFUSALS | {200: {"description": "The same bytes were uploaded before", "model": UploadView}},
    openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(MEDIA_TYPES, _BINARY)}},
)
async def upload(
    request: Request,
    response: Response,
    state: StateDep,
    caller: CallerDep,
    name: Annotated[str, Query(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] = "upload",
    origin: Annotated[Origin, Query(description="Where its prompts come from; `recorded`: from a workshop.")] = "upload",
    kind: Annotated[
        UploadKind | None, Query(description="What the file holds; empty: contexts in a ZIP, prompts in all others.")
    ] = None,
) -> UploadView:
    """Keep prompts (JSONL: `{"input": …, "language": …, "config_id": …}` a line; CSV: the same as columns), the contexts of a
    devserver (a ZIP of its checkout or of a folder of config files), or with `kind=sessions` a log (JSONL, an object a line: a chat
    with `messages` as OpenAI or `conversations` as ShareGPT write it, or a row of feedback with `text`, `score`, `correction`), or
    with `kind=golden` a golden set (JSONL: `input` or `messages`, and exactly one of `expected`, `pattern`, `schema`, `rules`). A 422
    names each wrong line. The limit is GOLDSMITH_MAX_BODY_BYTES."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise HTTPException(415, f"send one of {', '.join(MEDIA_TYPES)}, not {media_type or 'a body without Content-Type'}")
    with tempfile.TemporaryDirectory() as folder:
        path = FilePath(folder, "body")
        digest = await _take(request, path)

        def save() -> tuple[Upload, bool]:
            with state.database.connection() as conn:
                return uploads.save(
                    conn,
                    state.storage,
                    path,
                    form=MEDIA_TYPES[media_type],
                    name=name,
                    origin=origin,
                    sha256=digest,
                    created_by=caller.name,
                    kind=kind,
                )

        found, new = await to_thread.run_sync(save)
    response.status_code = 201 if new else 200
    return _view(found)


async def _take(request: Request, path: FilePath) -> str:
    """Write the body as it comes; returns its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        pending = bytearray()
        async for chunk in request.stream():
            digest.update(chunk)
            pending += chunk
            if len(pending) >= WRITE_FROM:
                await to_thread.run_sync(file.write, bytes(pending))
                pending.clear()
        await to_thread.run_sync(file.write, bytes(pending))
    return digest.hexdigest()


@router.get("", responses=REFUSALS)
def list_uploads(state: StateDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[UploadView]:
    """The newest first."""
    with state.database.connection() as conn:
        return [_view(one) for one in uploads.newest(conn, limit)]


@router.get("/{upload_id}", responses=MISSING)
def get_upload(upload_id: Annotated[UUID, Path()], state: StateDep) -> UploadView:
    with state.database.connection() as conn:
        return _view(uploads.get(conn, f"upload:{upload_id}"))


@router.delete("/{upload_id}", status_code=204, responses=MISSING | dict.fromkeys((403, 409), PROBLEM))
def delete_upload(upload_id: Annotated[UUID, Path()], state: StateDep, caller: CallerDep) -> None:
    """With its file; for the key that sent it, and admins. Refused while a job that has not ended, or a schedule, names it.
    Datasets that were made of it stay."""
    with state.database.connection() as conn:
        uploads.remove(conn, state.storage, upload_id, caller)
