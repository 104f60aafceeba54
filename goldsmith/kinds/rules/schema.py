"""What a rules job is asked, and what it says in the end."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from goldsmith.kinds.base import JobConfig, JobRef, JobResult, Reference, TeacherName


class RulesConfig(JobConfig):
    """Extract rules from recorded sessions (UNO, arXiv 2602.06470, section 3.3), within a budget."""

    timeout_s: ClassVar[int] = 6 * 3600

    kind: Literal["rules"] = "rules"
    runs: Annotated[JobRef, Reference("job", kind="import")] = Field(description="The import job whose runs are read.")
    teacher: TeacherName
    model: str | None = Field(None, max_length=200, description="The teacher's model; empty: the one in the settings.")
    budget_usd: float = Field(gt=0, le=100_000, description="The job never spends more, whatever is retried or lost.")
    concurrency: int = Field(8, ge=1, le=64, description="Questions in flight.")
    limit: int | None = Field(None, ge=1, le=1_000_000, description="Read the first so many sessions; empty: all.")


class RulesResult(JobResult):
    sessions: int = Field(description="Sessions that were asked about.")
    with_feedback: int = Field(description="Those with an edit or a favourite.")
    rules: int = Field(description="Rules that were saved.")
    dropped: dict[str, int] = Field(description="Runs and sessions that gave no rule, by reason.")
    bad_json: int = Field(description="Answers that were not the JSON asked for, first and second tries.")
    spent_usd: float = Field(description="What the job has spent, earlier attempts and lost calls included.")
    stopped_by: Literal["budget"] | None = Field(description="Why not all sessions were asked about.")
    teacher: str
    model: str
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL: no model wrote this.")
    note: str = Field(description="What the signals can and cannot say.")
