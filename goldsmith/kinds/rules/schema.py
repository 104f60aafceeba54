"""What a rules job is asked, and what it says in the end."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from goldsmith.kinds.base import JobConfig, JobRef, JobResult, Reference, TeacherName


class RulesConfig(JobConfig):
    """Extract rules from sessions (UNO, arXiv 2602.06470, section 3.3), within a budget."""

    timeout_s: ClassVar[int] = 6 * 3600

    kind: Literal["rules"] = "rules"
    sessions: Annotated[JobRef, Reference("job", kind="sessions")] | None = Field(
        None, description="The sessions job whose sessions are read; this or `runs`."
    )
    runs: Annotated[JobRef, Reference("job", kind="import")] | None = Field(
        None, description="An import job: its sessions are made here, and saved as this job's own; this or `sessions`."
    )
    teacher: TeacherName
    model: str | None = Field(None, max_length=200, description="The teacher's model; empty: the one in the settings.")
    budget_usd: float = Field(gt=0, le=100_000, description="The job never spends more, whatever is retried or lost.")
    # 50 questions a second at half a second each are 25 in flight; the limiter finds its own number below this one
    concurrency: int = Field(32, ge=1, le=256, description="Sessions that are asked about at once.")
    limit: int | None = Field(None, ge=1, le=1_000_000, description="Read the first so many sessions; empty: all.")
    own_rules: bool = Field(
        True,
        description="Also ask what the teacher itself reads in the query, without the feedback: the gap compares the two. Off, a"
        " session costs one question, and one that nobody said anything about costs none.",
    )
    keep_empty: bool = Field(
        False,
        description="Keep sessions whose feedback teaches no rule, as UNO's code does: they are clustered by their query, and left"
        " out of the gap and of what critics learn. Its paper drops them.",
    )
    max_rules: int = Field(
        50, ge=1, le=1000, description="Rules that are kept of one answer, the first ones; what is beyond is counted."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.sessions is None) == (self.runs is None):
            raise ValueError("sessions: exactly one of sessions and runs says what is read")
        return self


class RulesResult(JobResult):
    sessions: int = Field(description="Sessions that were asked about.")
    with_feedback: int = Field(description="Those with feedback: words, an edit, a favourite or an export.")
    rules: int = Field(description="Rules that were saved and may be used.")
    keep_empty: bool = False
    empty: int = Field(0, description="Sessions kept without a rule, because keep_empty was asked for.")
    own_rules: int = Field(0, description="Of them, the teacher's own, read in the query without the feedback.")
    scorable: int = Field(0, description="Sessions with rules of both sorts: those that a gap can be measured on.")
    languages: dict[str, int] = Field({}, description="Of the sessions that were asked about.")
    quarantined: dict[str, int] = Field(
        {}, description="Rules that are kept apart, and sessions where the job made them itself, by reason."
    )
    dropped: dict[str, int] = Field(description="Runs and sessions that gave no rule, by reason.")
    own_dropped: dict[str, int] = Field({}, description="Sessions without rules of the teacher's own, by reason.")
    beyond_max_rules: int = Field(0, description="Rules that were left out because one answer had more than max_rules.")
    too_long: int = Field(0, description="Rules that were left out because they are longer than any single instruction.")
    bad_json: int = Field(description="Answers that were not the JSON asked for, first and second tries.")
    spent_usd: float = Field(description="What the job has spent, earlier attempts and lost calls included.")
    stopped_by: Literal["budget"] | None = Field(description="Why not all sessions were asked about.")
    teacher: str
    model: str
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL: no model wrote this.")
    note: str = Field(description="What the signals can and cannot say.")
