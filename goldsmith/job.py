"""A job as readers see it, on both sides of the wire. Pydantic only: the SDK imports it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

Status = Literal["waiting", "scheduled", "queued", "running", "completed", "failed", "cancelled"]
FINAL: tuple[str, ...] = ("completed", "failed", "cancelled")


class Job(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: UUID
    kind: str
    config: dict[str, Any]
    status: Status
    queue: str
    priority: int
    progress: float
    """0 to 100; 100 exactly when completed."""
    message: str
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    """A problem document (type, title, detail, …) when failed."""
    seq: int
    """Rises with every change; the number of its newest event, and its ETag."""
    attempt: int
    failures: int
    max_attempts: int
    heartbeat_at: datetime | None
    worker: str | None
    gpu_id: str | None
    run_at: datetime | None
    blocked_by: str | None
    timeout: int
    """Seconds that one attempt may run."""
    cancel_requested_at: datetime | None
    unique_key: str | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    """How many jobs with this key may run at once."""
    on_parent_failure: Literal["fail", "run", "cancel"] = "fail"
    pipeline_id: UUID | None = None
    submitted_by: UUID | None = None
    """The job that submitted it; its cancel is this one's too."""
    outside_workshops: bool = False
    """It does not start while a workshop runs."""
    created_by: str
    cost_usd: float
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None

    @property
    def ref(self) -> str:
        return f"job:{self.id}"
