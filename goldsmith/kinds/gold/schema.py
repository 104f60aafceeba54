"""What a gold job is asked, and what it says in the end."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from goldsmith.judge.report import CriterionReport
from goldsmith.kinds.base import DatasetRef, JobConfig, JobResult, Name, TeacherName


class JudgeConfig(BaseModel):
    """The same teacher scores what passed the gates by a written rubric, after an examination of some 190 questions."""

    model_config = ConfigDict(extra="forbid", strict=True)

    samples: int = Field(3, ge=1, le=9, description="How often each question is asked; the majority decides.")
    drop: bool = Field(
        True, description="Drop rows that the majority finds below 5 of 10, where the judge passed its examination."
    )


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
    near_duplicate: float | None = Field(
        0.8,
        gt=0,
        le=1,
        description="An answer whose word pairs agree so far (Jaccard) with those of an earlier one is asked for again once,"
        " with what it repeats, and dropped if it still does; empty: never.",
    )
    judge: JudgeConfig | None = Field(None, description="Let a model score the answers as well; it costs more than they do.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words: {self.min_words} is above max_words {self.max_words}")
        return self


class JudgeReport(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rubric: int = Field(description="Version of the rubric; scores of two versions are not compared.")
    model: str
    judged: int = Field(description="Rows with at least one readable score.")
    unreadable: int = Field(description="Answers that were not of the wanted form.")
    stopped_by: Literal["budget"] | None
    criteria: dict[str, CriterionReport]


class AntiDefault(BaseModel):
    """What the answers make of prompts that name no culture or place."""

    model_config = ConfigDict(extra="forbid")

    rows: int = Field(description="Answers to such prompts.")
    placed: dict[str, int] = Field(
        description="Those of them that name one, by tradition; `western` is a list of common defaults."
    )
    passed: bool | None = Field(
        description="No tradition is named by more than 5 % of the rows and more than half of those that name one;"
        " null with fewer than 20 rows."
    )


class Diversity(BaseModel):
    model_config = ConfigDict(extra="forbid")

    entropy_bits: float = Field(description="Of the word frequencies over all answers.")
    distinct_1: float
    distinct_2: float = Field(description="Different word pairs per word pair, over all answers.")
    contrast: float | None = Field(
        description="How little two answers share that were made of one input under two contexts: 1 − Jaccard of their words."
    )
    traditions: int = Field(description="Traditions that at least one answer names.")
    anti_default: AntiDefault
    report: str = Field(description="The artifact `diversity.json`: the same for each config and language, and each tradition.")


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
    stopped_by: Literal["budget"] | None = Field(
        description="Why not all rows were asked; also where a bill above its worst case used it up."
    )
    diversity: Diversity
    judge: JudgeReport | None = Field(None, description="Null when no judge was asked for.")
    teacher: str
    model: str
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL: no model wrote this.")
    cache: str = Field("", description="What was made of the provider's cache, and why, by what the rows' prompts share.")
    cache_read_tokens: int = Field(0, description="Input tokens that were read from it, of all that the job asked.")
    cache_write_tokens: int = Field(0, description="Input tokens that were written to it.")
    reserved_by: str = Field("", description="How the worst case of a question was found before it was sent.")
    warnings: list[str] = Field([], description="Money that bought nothing, or more of it than was asked for.")
    note: str = Field(description="What else there is to know.")
