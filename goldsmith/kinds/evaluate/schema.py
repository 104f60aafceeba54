"""Evaluate: base model and adapters answer the same prompts, scorers judge, and a control that must not win checks the comparison."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from goldsmith.judge.report import CriterionReport
from goldsmith.kinds.base import AdapterRef, DatasetRef, JobConfig, JobResult, Part, TeacherName

Scorer = Literal["rules", "exact", "regex", "json_schema", "judge", "chrf", "bleu", "perplexity"]
SCORERS: tuple[Scorer, ...] = ("rules", "exact", "regex", "json_schema", "judge", "chrf", "bleu", "perplexity")
Verdict = Literal["wins", "loses", "unclear"]


class EvaluateConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "gpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 2 * 3600
    outside_workshops: ClassVar[bool] = True

    kind: Literal["evaluate"] = "evaluate"
    dataset: DatasetRef = Field(description="A golden set, or gold whose held-out split is answered.")
    adapter: AdapterRef = Field(description="The adapter that is judged against its base model.")
    control: AdapterRef | None = Field(None, description="An adapter trained on shuffled answers (train with shuffle_answers).")
    others: list[AdapterRef] = Field([], max_length=6, description="More adapters on the same base model, compared as well.")
    scorers: Annotated[list[Scorer], Field(min_length=1)] | None = Field(
        None,
        description="Who judges; empty: every scorer that the rows have something for, and the judge where one is asked for.",
    )
    primary: Scorer | None = Field(
        None,
        description="The scorer that decides; empty: of rules, exact, regex and json_schema the one with most rows, else the next.",
    )
    margin: float = Field(
        0.05,
        ge=0,
        le=1,
        description="To pass, the adapter must not be worse than the base model by more than this by the primary scorer (a share of"
        " 0 to 1; of perplexity: nats per token), with the interval's lower end.",
    )
    max_new_tokens: int = Field(128, ge=1, le=8192, description="An answer is cut after so many.")
    limit: int | None = Field(None, ge=2, le=100_000, description="So many held-out prompts, drawn by seed; all when empty.")
    min_words: int | None = Field(None, ge=1, le=5000, description="Shorter answers fail; empty: as the gold was checked.")
    max_words: int | None = Field(None, ge=1, le=5000, description="Longer answers fail; empty: as the gold was checked.")
    bootstrap: int = Field(2000, ge=100, le=100_000, description="Resamples behind each interval.")
    alpha: float = Field(0.05, gt=0, le=0.5, description="Intervals cover 1 - alpha; a win needs p at most alpha.")
    seed: int = Field(42, ge=0, le=2**32 - 1, description="Of the bootstrap and of limit.")
    speed_prompts: int = Field(3, ge=0, le=50, description="Prompts that each model also answers one by one, to be timed.")
    judge: Literal["graded", "pairs"] | None = Field(
        None,
        description="Let a model judge, too: `graded` scores every answer alone, `pairs` asks which of two is better, in both orders.",
    )
    judge_samples: int = Field(3, ge=1, le=9, description="How often the judge is asked each question.")
    teacher: TeacherName | None = Field(None, description="Who judges; needed with `judge`.")
    model: str | None = Field(None, max_length=200, description="The judge's model; empty: the one in the settings.")
    budget_usd: float | None = Field(None, gt=0, le=100_000, description="The judge never costs more; needed with `judge`.")
    concurrency: int = Field(8, ge=1, le=64, description="Questions to the judge in flight.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.judge is None and (self.teacher or self.model or self.budget_usd is not None):
            raise ValueError("judge: teacher, model and budget_usd are the judge's; say graded or pairs, or leave them out")
        if self.judge is not None and (self.teacher is None or self.budget_usd is None):
            raise ValueError("teacher: a judge needs teacher and budget_usd")
        if self.scorers is not None and len(set(self.scorers)) < len(self.scorers):
            raise ValueError("scorers: each at most once")
        for field, named in (("scorers", self.scorers or []), ("primary", [self.primary] if self.primary else [])):
            if "judge" in named and self.judge is None:
                raise ValueError(f"{field}: judge needs `judge`, `teacher` and `budget_usd`")
        if self.scorers is not None and self.judge is not None and "judge" not in self.scorers:
            raise ValueError("scorers: a judge is asked for that is not among them")
        if self.primary and self.scorers is not None and self.primary not in self.scorers:
            raise ValueError(f"primary: {self.primary} is not among the scorers")
        if len({self.adapter, *self.others}) <= len(self.others):
            raise ValueError("others: the adapter and the others must be different ones")
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise ValueError(f"min_words: {self.min_words} is above max_words {self.max_words}")
        return self


class Arm(Part):
    """One model's answers in numbers. Of gates and gold only where rows have them."""

    arm: str = Field(description="`base`, `lora`, `control`, or the reference of another adapter.")
    adapter: str | None
    prompts: int
    scores: dict[str, float] = Field(description="Mean by scorer, 0 to 1; of perplexity: the perplexity.")
    passed: int | None = Field(description="Answers that pass every gate.")
    pass_rate: float | None
    gate_score: float | None = Field(description="Mean share of the gates that an answer passes.")
    passed_by_gate: dict[str, float] = Field(description="Share of the answers that pass each gate.")
    heldout_loss: float | None = Field(description="Nats per token of the expected answers, each token counting the same.")
    perplexity: float | None
    entropy_bits: float = Field(description="Shannon entropy of the words of all answers.")
    distinct_1: float = Field(description="Different words per word, over all answers.")
    distinct_2: float = Field(description="Different pairs of words per pair, over all answers.")
    words: float = Field(description="Mean length of an answer.")
    seconds: float = Field(description="For answering and for the likelihood of what was expected.")
    tokens: int = Field(description="Of all answers.")
    tokens_per_s: float = Field(description="Answering many prompts at once, reading them included.")
    first_token_s: float | None = Field(description="One prompt alone: the median time until its first token.")
    tokens_per_s_alone: float | None = Field(description="One prompt alone: the median after its first token.")


class Interval(Part):
    difference: float
    low: float
    high: float


class ScoreComparison(Part):
    """One scorer on the rows that both arms have a score on; above 0 is better, whatever the scorer."""

    scorer: Scorer
    rows: int
    groups: int
    arm: float = Field(description="Mean; of perplexity: the perplexity.")
    against: float
    difference: Interval = Field(description="Of perplexity: nats per token by which the expected answers are likelier.")
    wins: int
    ties: int
    losses: int
    win_rate: float = Field(description="Wins and half the ties, of all rows.")
    win_low: float
    win_high: float
    p_value: float = Field(description="Were both arms alike, the sign of each group's sum would be a coin's: two-sided.")
    verdict: Literal["better", "worse", "unclear"] = Field(description="The interval leaves 0 out and p is at most alpha.")


class Comparison(Part):
    """One arm minus another, on the same prompts."""

    arm: str
    against: str = "base"
    pass_rate: Interval | None
    gate_score: Interval | None
    heldout_loss: Interval | None = Field(description="Below 0: the expected answers became likelier.")
    only_arm_passed: int | None
    only_base_passed: int | None
    p_value: float | None = Field(
        description="McNemar's exact test, two-sided: on the prompts where just one of both passes every gate."
    )
    verdict: Verdict = Field(description="By the primary score: wins when p is at most alpha and the interval lies above 0.")
    scores: list[ScoreComparison]


class Sample(Part):
    """One prompt with all its answers."""

    config_id: str
    language: str
    input: str
    gold: str | None = Field(description="The expected answer; null where a pattern, a schema or the gates are expected.")
    answers: dict[str, str] = Field(description="By arm.")
    failed: dict[str, list[str]] = Field(description="Gates that each arm's answer fails.")


class JudgeReport(Part):
    mode: Literal["graded", "pairs"]
    rubric: int = Field(description="Version of the rubric; scores of two versions are not compared.")
    teacher: str
    model: str
    criteria: dict[str, CriterionReport] = Field(description="Its examination; only criteria that count are heard.")
    judged: int = Field(description="Rows with a readable opinion of every arm.")
    first_preferred: float | None = Field(
        description="On the rows, of `pairs`: how often it chose what stood first; 0.5 is no bias."
    )
    unreadable: int
    held_back: int = Field(
        0, description="Rows with personal data, which a judge outside of this machine and its network is not shown."
    )
    spent_usd: float
    stopped_by: Literal["budget"] | None


class EvaluateResult(JobResult):
    dataset: str
    adapter: str
    control: str | None
    others: list[str]
    base_model: str
    rehearsal: bool
    label: str = Field(description="REHEARSAL when a rehearsal teacher wrote the gold or judged, else empty.")
    prompts: int
    groups: int = Field(description="Independent sets of prompts; intervals are drawn over these.")
    primary: Scorer
    margin: float
    passed: bool = Field(
        description="By no scorer is the adapter worse than the base model, by the primary one surely not by more than margin, the"
        " control does not win, and all that was asked for could be computed."
    )
    arms: list[Arm]
    comparisons: list[Comparison] = Field(description="Each arm with base.")
    between: list[Comparison] = Field(description="The adapter with each other arm.")
    verdict: Verdict = Field(description="Of the adapter against its base model.")
    control_wins: bool | None = Field(description="None without a control.")
    valid: bool = Field(description="False when the control wins, too: then this cannot tell learning from style.")
    why: str = Field(description="Why it passed or did not, and the verdicts in words.")
    not_computed: dict[str, str] = Field(description="Scorers that could not say all they were asked, and why.")
    judge: JudgeReport | None
    resumed: int = Field(description="Answers that an earlier attempt had left.")
    report: str = Field(description="The artifact `report.md`, for people.")
    samples: list[Sample] = Field(description="A few of the prompts with every answer; all are in answers.jsonl.")
