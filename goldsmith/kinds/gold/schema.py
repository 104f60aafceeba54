"""What a gold job is asked, and what it says in the end."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from goldsmith.kinds.base import DatasetRef, JobConfig, JobResult, Name, TeacherName


class GoldConfig(JobConfig):
    """Buy a teacher's answer for every row of a corpus, within a budget."""

    timeout_s: ClassVar[int] = 6 * 3600

    kind: Literal["gold"] = "gold"
    dataset: DatasetRef = Field(description="The corpus: one user message a row.")
    name: Name = Field(description="Name of the dataset that is made.")
    teacher: TeacherName
    model: str | None = Field(None, max_length=200, description="The teacher's model; empty: the one in the settings.")
    budget_usd: float = Field(gt=0, le=100_000, description="The job never spends more, whatever is retried or lost.")
    max_tokens: int = Field(
        600, ge=16, le=8192, description="Longest answer; a longer one is cut and fails. 300 German words fit."
    )
    temperature: float | None = Field(None, ge=0, le=1, description="Empty: the provider's own. Newer models take none.")
    batch: bool | None = Field(
        None, description="Buy in batches: half the price, answers within a day. Empty: where the teacher takes them."
    )
    concurrency: int = Field(8, ge=1, le=64, description="Questions in flight, where they are not asked in batches.")
    repair: bool = Field(True, description="Ask once more with the reasons when an answer breaks a rule.")
    min_words: int = Field(20, ge=1, le=2000, description="Shorter answers fail.")
    max_words: int = Field(300, ge=1, le=2000, description="Longer answers fail.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words: {self.min_words} is above max_words {self.max_words}")
        return self


class GoldResult(JobResult):
    dataset: str = Field(description="`dataset:<name>@<version>`")
    report: str = Field(description="The artifact `gold.json`: every row that failed, with its reasons.")
    rows: int = Field(description="Rows of the corpus.")
    asked: int = Field(description="Rows that got an answer; fewer than `rows` when the budget ended first.")
    passed: int = Field(description="Rows of the dataset.")
    repaired: int = Field(description="Those of them that passed only when told why they had not.")
    reused: int = Field(
        description="Answers that other jobs had paid before and that were taken from the ledger, repairs included."
    )
    dropped: dict[str, int] = Field(description="Rows left out, by the rule that the last answer broke first.")
    first_try_failed: dict[str, int] = Field(description="First answers that broke a rule, by rule; one can break several.")
    spent_usd: float = Field(description="What the job has spent, earlier attempts and lost calls included.")
    saved_by_reuse_usd: float = Field(description="What answers that other jobs had paid would have cost.")
    stopped_by: Literal["budget"] | None = Field(description="Why not all rows were asked.")
    teacher: str
    model: str
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL: no model wrote this.")
    note: str = Field(description="What else there is to know.")
