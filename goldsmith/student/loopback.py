"""HTTP/1.1 to the model server that Goldsmith itself starts on this machine: over kept connections, and no more of the protocol
than that server speaks. 0.2 ms a question where httpx takes 1.2, beside an encoder that takes 10."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx

from goldsmith.student.chat import CONNECT_TIMEOUT_S

KEPT_S = 4.0  # uvicorn closes an idle connection after 5 s
LONGEST_HEAD = 65_536

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Loopback:
    """Usable from one event loop; close it there."""

    def __init__(self, port: int, key: str | None) -> None:
        self.port = port
        self._head = f"Host: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
        self._head += f"Authorization: Bearer {key}\r\n" if key else ""
        self._idle: list[tuple[float, Connection]] = []

    async def aclose(self) -> None:
        while self._idle:
            self._idle.pop()[1][1].close()

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Raises `OSError`, or `EOFError` where the server broke off. It may be asked twice: for what changes nothing."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(content)}\r\n\r\n"
        while self._idle:
            since, kept = self._idle.pop()
            if time.monotonic() - since > KEPT_S or kept[0].at_eof():
                kept[1].close()
                continue
            try:
                return await self._ask(kept, head.encode() + content)
            except (ConnectionError, EOFError):  # it was closed in this moment; a new one will tell
                break
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            new = await asyncio.open_connection("127.0.0.1", self.port, limit=LONGEST_HEAD)
        return await self._ask(new, head.encode() + content)

    async def _ask(self, connection: Connection, request: bytes) -> httpx.Response:
        reader, writer = connection
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            content = await reader.readexactly(int(headers["content-length"]))
        except (KeyError, ValueError, asyncio.LimitOverrunError):
            writer.close()
            raise EOFError("it does not speak as the model server does") from None
        except BaseException:  # also a cancel: what comes on this connection later would be another question's answer
            writer.close()
            raise
        if headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append((time.monotonic(), connection))
        return httpx.Response(int(status_line.split()[1]), content=content)
