"""What a sessions job is asked, and what it says in the end."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from goldsmith.kinds.base import JobConfig, JobRef, JobResult, Reference, UploadRef


class SessionsConfig(JobConfig):
    """Read sessions (query, first answer, what was said afterwards) out of imported runs or an uploaded log, and screen them."""

    kind: Literal["sessions"] = "sessions"
    runs: Annotated[JobRef, Reference("job", kind="import")] | None = Field(
        None, description="The import job whose runs are read; this or `upload`."
    )
    upload: Annotated[UploadRef, Reference("upload", kind="sessions")] | None = Field(
        None, description="An uploaded log of chats or feedback: `upload:<id>`, uploaded with `kind=sessions`; this or `runs`."
    )
    format: Literal["auto", "openai", "sharegpt", "feedback"] = Field(
        "auto", description="Read only lines of this format of an upload; auto: of all three, line by line."
    )
    limit: int | None = Field(None, ge=1, le=1_000_000, description="Read the first so many sessions; empty: all.")
    # 50,000 characters are some 15,000 tokens: more than an encoder reads (8,192), and than a student is trained on
    max_characters: int = Field(
        50_000,
        ge=100,
        le=1_000_000,
        description="Sessions with more (query, answer and feedback together) are left out, never cut.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.runs is None) == (self.upload is None):
            raise ValueError("runs: exactly one of runs and upload says where the sessions come from")
        if self.runs is not None and self.format != "auto":
            raise ValueError("format: is for uploads; runs have their own")
        return self


class SessionsResult(JobResult):
    sessions: int = Field(description="That were saved, those in quarantine among them.")
    with_feedback: int = Field(description="Of them, those whose user said or wrote something about the answer.")
    signals: dict[str, int] = Field(description="By the strongest thing that happened to the answer.")
    languages: dict[str, int] = Field(description="Of the queries; und: neither German nor English, or it could not be told.")
    formats: dict[str, int] = Field(description="Lines of an upload, by format.")
    quarantined: dict[str, int] = Field(description="Sessions that speak to the machinery, by reason: no later job reads them.")
    dropped: dict[str, int] = Field(description="Runs and lines that are no session, by reason.")
    score_scale: list[float] | None = Field(description="The scale that the scores of feedback rows were read on.")
    note: str = Field(description="What these signals can and cannot say.")
