"""A peer: procrastinate behind FastAPI, as its manual shows it. Its own row is the job's: written, fetched and finished by
one commit each, with LISTEN/NOTIFY for the worker."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from procrastinate import App, PsycopgConnector
from pydantic import BaseModel, ConfigDict

# As many connections as Goldsmith's pool; the default of 4 would hold its 8 jobs up.
queue = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_DATABASE_URL"], min_size=1, max_size=10))


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with queue.open_async():
        if not await queue.check_connection_async():  # "is the schema there?"
            await queue.schema_manager.apply_schema_async()
        yield


app = FastAPI(lifespan=lifespan)


@queue.task(name="run")
async def run(kind: str) -> None:
    """Does nothing."""


@app.post("/jobs", status_code=202)
async def submit(config: Config) -> dict[str, int]:
    return {"id": await run.defer_async(kind=config.kind)}
