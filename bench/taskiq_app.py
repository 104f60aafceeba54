"""A peer: taskiq with taskiq-redis behind FastAPI, as their manuals show them, its row written with psycopg.

The broker is the one on Redis streams, which its manual shows first and which acknowledges a message only when it is done.
Like the plain app it has no heartbeats, events, cancel, retry or rescue of a row.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ConfigDict
from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(os.environ["BENCH_BROKER_URL"], consumer_id="0")  # "0": also what came before the first worker
pool = AsyncConnectionPool(os.environ["BENCH_DATABASE_URL"], min_size=1, max_size=10, open=False, kwargs={"autocommit": True})

TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id uuid PRIMARY KEY DEFAULT uuidv7(), config jsonb NOT NULL, status text NOT NULL DEFAULT 'queued',
    created_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz, completed_at timestamptz)
"""


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with pool:
        async with pool.connection() as conn:
            await conn.execute(TABLE)
        await broker.startup()
        yield
        await broker.shutdown()


app = FastAPI(lifespan=lifespan)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start(_: TaskiqState) -> None:
    await pool.open()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def stop(_: TaskiqState) -> None:
    await pool.close()


@broker.task
async def run(job_id: str) -> None:
    async with pool.connection() as conn:
        await conn.execute("UPDATE jobs SET status = 'running', started_at = now() WHERE id = %s", [UUID(job_id)])
    async with pool.connection() as conn:
        await conn.execute("UPDATE jobs SET status = 'completed', completed_at = now() WHERE id = %s", [UUID(job_id)])


@app.post("/jobs", status_code=202)
async def submit(config: Config) -> dict[str, Any]:
    async with pool.connection() as conn:
        row = await (
            await conn.execute("INSERT INTO jobs (config) VALUES (%s) RETURNING id", [Jsonb(config.model_dump())])
        ).fetchone()
    assert row is not None
    await run.kiq(str(row[0]))
    return {"id": str(row[0])}
