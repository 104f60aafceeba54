"""A stored file as an answer: whole, or the ranges of it that were asked for."""

from __future__ import annotations

from typing import Any

from fastapi.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from api.errors import PROBLEM, document, refuse

_FILE: dict[str, Any] = {"description": "The file", "content": {"*/*": {}}}
DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: _FILE,
    206: _FILE | {"description": "The ranges of the file that the header Range names"},
    **dict.fromkeys((400, 416), PROBLEM),
}


class Download(FileResponse):
    """As Starlette's, but a range that is none (400) or lies beyond the end (416) is refused with a problem document."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused: Message | None = None
        said = b""

        async def watched(message: Message) -> None:
            nonlocal refused, said
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                refused = message
            elif refused is None:
                await send(message)
            else:
                said += message.get("body", b"")

        await super().__call__(scope, receive, watched)
        if refused is not None:
            kept = [header for header in refused["headers"] if header[0] == b"content-range"]
            if refused["status"] == 416:
                size = dict(kept)[b"content-range"].decode().rpartition("/")[2]
                problem = document(scope["path"], 416, "Range not satisfiable", f"the file has {size} bytes")
            else:
                problem = document(scope["path"], 400, "Bad request", said.decode().rstrip(".") + "; write it as bytes=0-99")
            await refuse(send, problem, kept)
