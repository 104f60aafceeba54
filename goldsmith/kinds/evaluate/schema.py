"""Evaluate: base model and adapter answer the same held-out prompts, and a control that must not win checks the comparison."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from goldsmith.kinds.base import AdapterRef, DatasetRef, JobConfig, JobResult


class EvaluateConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "gpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 2 * 3600
    outside_workshops: ClassVar[bool] = True

    kind: Literal["evaluate"] = "evaluate"
    dataset: DatasetRef = Field(description="Gold whose held-out split is answered.")
    adapter: AdapterRef = Field(description="The adapter that is judged against its base model.")
    control: AdapterRef | None = Field(None, description="An adapter trained on shuffled answers (train with shuffle_answers).")
    max_new_tokens: int = Field(128, ge=1, le=8192, description="An answer is cut after so many.")
    limit: int | None = Field(None, ge=2, le=100_000, description="So many held-out prompts, drawn by seed; all when empty.")
    min_words: int | None = Field(None, ge=1, le=5000, description="Shorter answers fail; empty: as the gold was checked.")
    max_words: int | None = Field(None, ge=1, le=5000, description="Longer answers fail; empty: as the gold was checked.")
    bootstrap: int = Field(2000, ge=100, le=100_000, description="Resamples behind each interval.")
    alpha: float = Field(0.05, gt=0, le=0.5, description="Intervals cover 1 - alpha; a win needs p at most alpha.")
    seed: int = Field(42, ge=0, le=2**32 - 1, description="Of the bootstrap and of limit.")


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Arm(Part):
    """One model's answers in numbers."""

    arm: Literal["base", "lora", "control"]
    adapter: str | None
    prompts: int
    passed: int = Field(description="Answers that pass every gate: the primary score.")
    pass_rate: float
    gate_score: float = Field(description="Mean share of the gates that an answer passes.")
    passed_by_gate: dict[str, float] = Field(description="Share of the answers that pass each gate.")
    heldout_loss: float = Field(description="Nats per token of the gold answers.")
    perplexity: float
    entropy_bits: float = Field(description="Shannon entropy of the words of all answers.")
    distinct_1: float = Field(description="Different words per word, over all answers.")
    distinct_2: float = Field(description="Different pairs of words per pair, over all answers.")
    words: float = Field(description="Mean length of an answer.")
    seconds: float


class Interval(Part):
    difference: float
    low: float
    high: float


class Comparison(Part):
    """One arm minus the base model, on the same prompts."""

    arm: Literal["lora", "control"]
    pass_rate: Interval
    gate_score: Interval
    heldout_loss: Interval = Field(description="Below 0: the gold answers became likelier.")
    only_arm_passed: int
    only_base_passed: int
    p_value: float = Field(description="McNemar's exact test, two-sided: on the prompts where just one of both passes.")
    verdict: Literal["wins", "loses", "unclear"] = Field(
        description="By the primary score: wins when p is at most alpha and the interval lies above 0."
    )


class Sample(Part):
    """One prompt with all its answers."""

    config_id: str
    language: str
    input: str
    gold: str
    answers: dict[str, str] = Field(description="By arm.")
    failed: dict[str, list[str]] = Field(description="Gates that each arm's answer fails.")


class EvaluateResult(JobResult):
    dataset: str
    adapter: str
    control: str | None
    base_model: str
    rehearsal: bool
    label: str = Field(description="REHEARSAL when a rehearsal teacher wrote the gold, else empty.")
    prompts: int
    groups: int = Field(description="Independent sets of prompts; intervals are drawn over these.")
    arms: list[Arm]
    comparisons: list[Comparison]
    verdict: Literal["wins", "loses", "unclear"] = Field(description="Of the adapter against its base model.")
    control_wins: bool | None = Field(description="None without a control.")
    valid: bool = Field(description="False when the control wins, too: then this cannot tell learning from style.")
    why: str = Field(description="The verdict in words.")
    samples: list[Sample] = Field(description="A few of the prompts with every answer; all are in answers.jsonl.")
