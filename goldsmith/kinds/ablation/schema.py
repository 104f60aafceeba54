"""What an ablation job is asked, and what it says in the end."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, StringConstraints

from goldsmith.kinds.base import AdapterRef, Interval, JobConfig, JobRef, JobResult, Part, Reference, TeacherName

Variant = Literal["base", "rules_in_prompt", "unclustered", "by_config", "experts", "reflective", "full", "full_other_gap"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


class AblationConfig(JobConfig):
    """Let every part of UNO answer held-out sessions, have the answers graded, and say what differs from the base model."""

    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "gpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 6 * 3600
    outside_workshops: ClassVar[bool] = True

    kind: Literal["ablation"] = "ablation"
    router: Annotated[JobRef, Reference("job", kind="router")] = Field(description="The router that is examined.")
    pairs: Annotated[JobRef, Reference("job", kind="pairs")] = Field(
        description="The pairs job that its adapters learned from: what those were trained on examines nobody."
    )
    variants: list[Variant] = Field(
        list(VARIANTS),
        min_length=1,
        max_length=len(VARIANTS),
        description="base: the base model, which is always among them; rules_in_prompt: it is told the rules that are nearest to the"
        " question; unclustered: one adapter for all; by_config: one adapter for each config; experts: primary clusters alone"
        " (UNO-Single); reflective: draft, critique and rewrite wherever there is a critic; full: the router;"
        " full_other_gap: the router as another gap job would have it. What cannot be run says why.",
    )
    unclustered: AdapterRef | None = Field(
        None, description="For `unclustered`: an adapter trained on the pairs of all clusters."
    )
    by_config: dict[str, AdapterRef] = Field(
        {}, max_length=1000, description="For `by_config`: an adapter for each config_id; others get the base model."
    )
    absent: dict[Literal["unclustered", "by_config"], Annotated[str, StringConstraints(max_length=2000)]] = Field(
        {}, description="Why such an adapter is not given, for the table to say."
    )
    other_gap: Annotated[JobRef, Reference("job", kind="gap")] | None = Field(
        None, description="For `full_other_gap`: a gap job of the same clusters by another method, such as embedding."
    )
    teacher: TeacherName = Field(description="Grades.")
    model: str | None = Field(None, max_length=200, description="The judge; empty: the teacher's model in the settings.")
    budget_usd: float = Field(gt=0, le=100_000, description="The job never spends more, whatever is retried or lost.")
    concurrency: int = Field(8, ge=1, le=64, description="Questions to the judge in flight.")
    judge_samples: int = Field(3, ge=1, le=10, description="Grades of an answer, the first greedy; their mean counts.")
    limit: int | None = Field(50, ge=2, le=100_000, description="So many held-out sessions, drawn by seed; all when null.")
    retrieved_rules: int = Field(5, ge=1, le=50, description="Rules in the prompt of `rules_in_prompt`.")
    base_model: str | None = Field(None, max_length=500, description="Only where the router has no adapter that would name it.")
    max_new_tokens: int = Field(512, ge=1, le=8192, description="Of every answer, draft and critique.")
    temperature: float = Field(0.1, ge=0, le=2, description="Of all of them.")
    bootstrap: int = Field(2000, ge=100, le=100_000, description="Resamples behind each interval.")
    alpha: float = Field(0.05, gt=0, le=0.5, description="Intervals cover 1 - alpha.")
    seed: int = Field(42, ge=0, le=2**31 - 1, description="Of the draw, the answers and the bootstrap.")


class VariantReport(Part):
    """One variant's grades, and what they are beside the base model's on the same sessions."""

    variant: Variant
    sessions: int = Field(description="Held-out sessions that it answered and that nothing in it was trained on.")
    grade: Interval = Field(description="Mean grade, 1 to 10.")
    over_base: Interval = Field(description="Mean of its grade minus the base model's on the same session.")
    win_rate: Interval = Field(description="Over the base model; a tie is half.")
    not_base: int = Field(description="Sessions that something else than the base model alone answered.")
    calls: float = Field(description="Answers written for a question, drafts and critiques included.")
    too_long: int = Field(description="Prompts that did not fit the model: the draft stood.")
    verdict: Literal["better", "worse", "unclear"]
    words: str


class AblationResult(JobResult):
    variants: list[VariantReport]
    not_run: dict[str, str] = Field(description="Variants that were asked for and could not be run, with the reason.")
    worth_it: str = Field(description="The full router beside the base model, in a sentence.")
    heldout: int = Field(description="Sessions that no adapter of the router was trained on.")
    drawn: int = Field(description="Of those, the ones that were answered.")
    left_out: int = Field(description="Of the drawn ones: too long for the model, or without a grade for every variant.")
    gaps_agree: float | None = Field(description="Share of the clusters that both gap jobs decide alike; null: there is one.")
    gap_method: str
    other_gap_method: str | None
    base_model: str
    graded: int = Field(description="Texts that were given to the judge.")
    bad_json: int
    clamped: int
    spent_usd: float
    stopped_by: Literal["budget"] | None
    teacher: str
    model: str
    table: str = Field(description="The artifact `ablation.md`.")
    report: str = Field(description="The artifact `ablation.json`: every answer and its grades.")
    rehearsal: bool
    label: Literal["REHEARSAL", ""]
    note: str
