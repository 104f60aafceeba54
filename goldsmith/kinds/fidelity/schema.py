"""Context fidelity: whose answers follow a recorded run's context more, for a judge that is examined on that question first."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from goldsmith.kinds.base import AdapterRef, ContextsRef, Interval, JobConfig, JobRef, JobResult, Part, Reference, TeacherName


class FidelityConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "gpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 6 * 3600
    outside_workshops: ClassVar[bool] = True

    kind: Literal["fidelity"] = "fidelity"
    runs: Annotated[JobRef, Reference("job", kind="import")] = Field(
        description="The import whose runs are answered again: those that may be used."
    )
    adapter: AdapterRef = Field(description="The arm whose answers are compared.")
    against: Literal["base", "recorded"] = Field(
        "base", description="base: with its base model's; recorded: with what the run's own model wrote."
    )
    contexts: ContextsRef | None = Field(
        None,
        description="Template and task to ask with; empty: the import's own contexts.json. The contexts are the runs' own.",
    )
    configs: list[str] | None = Field(None, min_length=1, max_length=500, description="Only runs of these configs.")
    limit: int = Field(60, ge=2, le=10_000, description="So many runs, drawn by the seed; fewer where there are fewer.")
    teacher: TeacherName
    model: str | None = Field(None, max_length=200, description="The judge; empty: the teacher's model in the settings.")
    budget_usd: float = Field(gt=0, le=100_000, description="The job never spends more, whatever is retried or lost.")
    samples: int = Field(3, ge=1, le=9, description="How often each pair is asked, in both orders each time.")
    planted: int = Field(
        20, ge=5, le=500, description="Pairs of the examination: a run's recorded text against one of another context."
    )
    min_agreement: float = Field(
        0.8, ge=0.5, le=1, description="Share of them that the judge must get right in both orders, or nothing else is asked."
    )
    concurrency: int = Field(8, ge=1, le=64, description="Questions to the judge in flight.")
    max_new_tokens: int = Field(256, ge=8, le=8192, description="An answer is cut after so many.")
    bootstrap: int = Field(4000, ge=200, le=100_000, description="Resamples behind each interval.")
    alpha: float = Field(0.05, gt=0, le=0.5, description="Intervals cover with 1 - alpha.")
    seed: int = Field(42, ge=0, le=2**32 - 1, description="Of the runs that are drawn, the planted pairs and the resamples.")


class Exam(Part):
    """What the judge is worth on this question."""

    pairs: int
    right: int = Field(description="Preferred the text of the context, in both orders, by the majority of samples.")
    agreement: float
    needed: float
    passed: bool


class OfConfig(Part):
    config_id: str
    runs: int
    win_rate: float


class FidelityResult(JobResult):
    adapter: str
    against: Literal["base", "recorded"]
    base_model: str
    valid: bool = Field(description="The judge passed its examination, and some runs were judged; else there is no win rate.")
    verdict: Literal["better", "worse", "no difference shown", "not judged"]
    why: str
    exam: Exam
    win_rate: Interval | None = Field(
        description="Share of runs whose context the adapter follows more, ties half; the interval is drawn over devices and null of one device."
    )
    wins: int
    ties: int
    losses: int
    follows_position: Interval | None = Field(
        description="Share of verdicts that chose the same place in both orders, whichever text stood there; 0 is without bias."
    )
    first_preferred: float | None = Field(description="How often it chose what stood first; 0.5 is without bias.")
    by_config: list[OfConfig]
    runs: int = Field(description="Of the import.")
    usable: int = Field(description="Of those, what the gates let through.")
    drawn: int
    judged: int = Field(description="Judged in both orders.")
    devices: int = Field(description="Of the judged runs; what is independent.")
    left_out: dict[str, int] = Field(description="Runs that are not used, by reason.")
    language_unknown: int = Field(description="Drawn runs whose input is in a language that could not be told.")
    unreadable: int = Field(description="Answers of the judge that were not of the wanted form.")
    spent_usd: float
    stopped_by: Literal["budget"] | None
    teacher: str
    model: str
    rubric: int = Field(description="Version of the question; verdicts of two versions are not compared.")
    report: str = Field(description="The artifact fidelity.json: every pair with its verdicts. It holds texts of the runs.")
    rehearsal: bool
    label: Literal["REHEARSAL", ""]
