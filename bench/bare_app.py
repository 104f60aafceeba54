"""What the parts cost alone: FastAPI and uvicorn with a constant, and with the same SQL as Goldsmith on the raw driver.

The limits for Goldsmith: nothing is checked, named, told or promised here. The database has Goldsmith's own tables.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from goldsmith import jobs_sql

# Goldsmith's pool holds 10 too.
pool = AsyncConnectionPool(os.environ["BENCH_DATABASE_URL"], min_size=1, max_size=10, open=False, kwargs={"autocommit": True})

JOB = {
    "queue": "io",
    "timeout": 3600,
    "max_attempts": 3,
    "priority": 4,
    "run_at": None,
    "idempotency_key": None,
    "idempotency_sha256": None,
    "created_by": "local",
    "on_parent_failure": "fail",
    "unique_key": None,
    "concurrency_key": None,
    "concurrency_limit": None,
    "pipeline_id": None,
    "pipeline_name": None,
    "outside_workshops": False,
    "seq": 1,
    "status": "queued",
    "blocked_by": None,
}
COLUMNS = ("kind", "config", *JOB)

# The columns of `goldsmith.jobs_sql.SUBMIT`, as one would write them for one job.
INSERT = f"""
WITH new AS (
    INSERT INTO jobs ({", ".join(COLUMNS)}, published_at) VALUES ({", ".join(f"%({name})s" for name in COLUMNS)}, now())
    RETURNING id, status
), event AS (
    INSERT INTO job_events (job_id, seq, attempt, event, data)
    SELECT id, 1, 0, 'submitted', jsonb_build_object('status', status) FROM new
)
SELECT id, status FROM new
"""


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/constant", status_code=202)
async def post_constant() -> dict[str, str]:
    return {"status": "queued"}


@app.get("/constant")
async def get_constant() -> dict[str, str]:
    return {"status": "queued"}


@app.post("/raw/jobs")
async def insert(request: Request) -> JSONResponse:
    config = await request.json()
    async with pool.connection() as conn:
        found = await conn.execute(INSERT, JOB | {"kind": config["kind"], "config": Jsonb(config)})
        job_id, status = await found.fetchone() or ()
    return JSONResponse({"id": str(job_id), "status": status}, 202)


@app.post("/raw/batch")
async def copy(request: Request) -> JSONResponse:
    """The same rows by COPY, in one transaction."""
    configs = (await request.json())["jobs"]
    async with pool.connection() as conn, conn.transaction():
        found = await conn.execute("SELECT uuidv7(), now() FROM generate_series(1, %s)", [len(configs)])
        ids = await found.fetchall()
        async with conn.cursor().copy(f"COPY jobs (id, {', '.join(COLUMNS)}, published_at) FROM STDIN") as rows:
            for (job_id, now), config in zip(ids, configs, strict=True):
                await rows.write_row((job_id, config["kind"], Jsonb(config), *JOB.values(), now))
        async with conn.cursor().copy("COPY job_events (job_id, seq, attempt, event, data) FROM STDIN") as rows:
            for job_id, _ in ids:
                await rows.write_row((job_id, 1, 0, "submitted", Jsonb({"status": "queued"})))
    return JSONResponse({"ids": [str(job_id) for job_id, _ in ids]}, 202)


@app.get("/raw/jobs/{job_id}/status")
async def select(job_id: UUID) -> JSONResponse:
    async with pool.connection() as conn:
        row: Any = await (await conn.execute(jobs_sql.DEVSERVER_STATUS, {"id": job_id})).fetchone()
    found, status, progress, message, result, error, *times = row
    created_at, started_at, completed_at = (time and time.isoformat() for time in times)
    return JSONResponse(
        {
            "job_id": str(found),
            "status": status,
            "progress": progress,
            "message": message,
            "result": result,
            "error": error,
            "created_at": created_at,
            "started_at": started_at,
            "completed_at": completed_at,
        }
    )
