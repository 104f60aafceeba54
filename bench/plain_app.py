"""The peer that does the same job the usual way: FastAPI, SQLAlchemy and Celery, as their manuals show them.

It promises less than Goldsmith: no attempts, heartbeats, events, cancel, retry or rescue, and a row whose message the
broker loses is never run.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from celery import Celery
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import JSON, create_engine, func, make_url, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

url = make_url(os.environ["BENCH_DATABASE_URL"]).set(drivername="postgresql+psycopg")
engine = create_engine(url, pool_size=10, max_overflow=0)  # Goldsmith's pool holds 10 too
celery = Celery("plain", broker=os.environ["BENCH_BROKER_URL"])
celery.conf.task_ignore_result = True  # the row is the result


class Base(DeclarativeBase):
    pass


class JobRow(Base):
    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(default="queued")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: str


class Job(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    config: dict[str, Any]
    status: str
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    Base.metadata.create_all(engine)
    yield
    engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/jobs", status_code=202)
def submit(config: Config) -> Job:
    with Session(engine) as session:
        row = JobRow(config=config.model_dump())
        session.add(row)
        session.commit()
        run.delay(str(row.id))
        return Job.model_validate(row)


@app.get("/jobs/{job_id}")
def get(job_id: UUID) -> Job:
    with Session(engine) as session:
        row = session.get(JobRow, job_id)
        if row is None:
            raise HTTPException(404, "no such job")
        return Job.model_validate(row)


@celery.task
def run(job_id: str) -> None:
    _write(job_id, status="running", started_at=func.now())
    _write(job_id, status="completed", completed_at=func.now())


def _write(job_id: str, **values: Any) -> None:
    with Session(engine) as session:
        session.execute(update(JobRow).where(JobRow.id == UUID(job_id)).values(**values))
        session.commit()
