"""What a gap job is asked, and what it says in the end."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from goldsmith.kinds.base import JobConfig, JobRef, JobResult, Reference, TeacherName

Method = Literal["reranker", "embedding", "judge"]
AtTau = Literal["high", "low"]
Decision = Literal["primary", "reflective", "undecided", "unknown", "fallback"]

TAU: dict[Method, float] = {"reranker": 0.45, "embedding": 0.5, "judge": 0.45}
"""0.45 is UNO's, set for the minimum over Qwen3-Reranker's probabilities; for a judge it is taken over and a guess. What 0.5 rests
on for cosines of MiniLM is in docs/uno.md."""


class GapConfig(JobConfig):
    """Measure each cluster's cognitive gap (UNO, arXiv 2602.06470, section 3.2)."""

    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "gpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 6 * 3600

    kind: Literal["gap"] = "gap"
    clusters: Annotated[JobRef, Reference("job", kind="cluster")] = Field(description="The cluster job that is measured.")
    method: Method = Field(
        "reranker",
        description="reranker: 1 - P(yes) that a rule is covered by the model's own rules, as in the paper; embedding (lite):"
        " 1 - cosine to the nearest own rule; judge: a teacher says how far each rule is covered.",
    )
    reranker: str = Field(
        "qwen3-reranker-0.6b",
        min_length=1,
        max_length=500,
        description="qwen3-reranker-0.6b, owner/name or owner/name@revision on the hub, or the absolute path of a folder below"
        " GOLDSMITH_MODEL_ROOTS: Qwen3-Reranker's kind, or any cross-encoder with one or two labels.",
    )
    encoder: str = Field("minilm", min_length=1, max_length=500, description="For method embedding, as in a cluster job.")
    tau: float | None = Field(
        None,
        ge=0,
        le=2,
        description="A mean of at least this is a high gap. Empty: 0.45 for reranker (the paper's) and judge (taken over), 0.5 for"
        " embedding (measured on MiniLM; cosines lie elsewhere than a reranker's probabilities).",
    )
    undecided_within: float = Field(
        0.001,
        ge=0,
        le=1,
        description="Nearer to tau than this decides nothing: 16-bit numbers are good to a thousandth. 0: off.",
    )
    at_tau: AtTau = Field("high", description="What a mean of exactly tau is: high in UNO's code, low in the paper.")
    teacher: TeacherName | None = Field(None, description="For method judge.")
    model: str | None = Field(None, max_length=200, description="The teacher's model; empty: the one in the settings.")
    budget_usd: float | None = Field(None, gt=0, le=100_000, description="For method judge: the job never spends more.")
    concurrency: int = Field(8, ge=1, le=64, description="Questions in flight.")

    @model_validator(mode="after")
    def _asks_with_what_it_needs(self) -> Self:
        for name in ("teacher", "budget_usd"):
            if (getattr(self, name) is not None) != (self.method == "judge"):
                raise ValueError(f"{name}: method {self.method} {'needs one' if self.method == 'judge' else 'takes none'}")
        return self


class ClusterGap(BaseModel):
    """One cluster's gap: the mean over its sessions of each session's least novel rule."""

    model_config = ConfigDict(extra="forbid")

    label: int
    cluster_id: str
    size: int
    scored: int = Field(description="Sessions with rules from feedback and rules of the model's own.")
    mu: float | None = Field(description="Mean over sessions of the minimum over rules; what decides.")
    mu_mean: float | None = Field(description="The same with the mean over rules, for comparison.")
    mu_max: float | None = Field(description="The same with the maximum.")
    high: bool | None = Field(description="Whether mu is above tau; exactly tau is what at_tau says.")
    decision: Decision = Field(
        description="primary: low gap, an expert may be trained; reflective: high gap, a critic; undecided: too near to tau,"
        " handled like reflective; unknown: no session could be scored, nothing is trained; fallback: the cluster is too small."
    )


class GapResult(JobResult):
    gap_method: Method
    lite: bool = Field(description="Cosines of sentence embeddings stand in for the paper's reranker.")
    model: str = Field(description="The reranker, encoder or teacher's model that measured.")
    reranker: str | None = Field(description="The same, where it was one.")
    model_sha256: str | None = Field(description="Of a reranker: over its config and weights.")
    tau: float
    undecided_within: float
    at_tau: AtTau
    clusters: list[ClusterGap]
    decisions: dict[str, int] = Field(description="Clusters by decision.")
    sessions: int = Field(description="Members of clusters that are large enough.")
    scored: int
    without_rules: int = Field(description="Sessions without an active rule from feedback.")
    without_own_rules: int = Field(
        description="Sessions of which the model has set no rules itself (own_rules of the rules job)."
    )
    cut: int = Field(description="Lists of own rules that were longer than the reranker reads, and were cut.")
    gap: str = Field(description="The artifact gap.json: the same, and each session's minimum, mean and maximum.")
    spent_usd: float
    bad_json: int = Field(description="Judge: answers that were not the JSON asked for, first and second tries.")
    unanswered: int = Field(
        description="Judge: sessions without a readable answer, or whose rules are longer than 100,000 characters."
    )
    stopped_by: Literal["budget"] | None
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL: written rules taught, or judged.")
    note: str
