"""What a pairs job is asked, and what it says in the end."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from goldsmith.kinds.base import JobConfig, JobRef, JobResult, Reference, TeacherName

Context = Literal["feedback", "rules"]
GroupBy = Literal["cluster", "all", "config"]


class PairsConfig(JobConfig):
    """Buy revised answers for the sessions of clusters, let a judge choose, and freeze what it chose as datasets."""

    timeout_s: ClassVar[int] = 12 * 3600

    kind: Literal["pairs"] = "pairs"
    clusters: Annotated[JobRef, Reference("job", kind="cluster")] = Field(
        description="The cluster job whose sessions are used."
    )
    gap: Annotated[JobRef, Reference("job", kind="gap")] | None = Field(
        None,
        description="The gap job of these clusters: pairs are bought for primary ones only, critics' rows are written for reflective"
        " and undecided ones too, nothing is made for unknown ones. Empty: both for every cluster that is large enough.",
    )
    group_by: GroupBy = Field(
        "cluster",
        description="cluster: datasets of each. all, config: one dataset of all sessions, or one for each config, for adapters"
        " that UNO is compared with. Those take no gap, have no critics, and hold out the sessions that the clusters hold out.",
    )
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")] = Field(
        description="The datasets are <name>-<cluster_id>-pairs and <name>-<cluster_id>-critic; of groups <name>-all-pairs and"
        " <name>-config-<config_id>-pairs."
    )
    teacher: TeacherName = Field(description="Revises.")
    model: str | None = Field(None, max_length=200, description="The teacher's model; empty: the one in the settings.")
    judge: TeacherName | None = Field(None, description="Grades. Empty: the teacher that revises.")
    judge_model: str | None = Field(None, max_length=200, description="The judge's model; empty: as for `model`.")
    budget_usd: float = Field(gt=0, le=100_000, description="The job never spends more on both, whatever is retried or lost.")
    concurrency: int = Field(8, ge=1, le=64, description="Questions in flight.")
    contexts: list[Context] = Field(
        default=["feedback", "rules"],
        min_length=1,
        max_length=2,
        description="feedback: what was said and the question; rules: the rules, what was said, the old answer, the question.",
    )
    samples: int = Field(3, ge=1, le=16, description="Revised answers for each context, at temperature 1.0 and top-p 0.9.")
    judge_samples: int = Field(1, ge=1, le=9, description="Grades for each answer; their mean counts. The first is greedy.")
    require_gain: bool = Field(
        True, description="The chosen answer must get a higher grade than the logged one. False: as in the reference, no test."
    )
    keep_equal: bool = Field(
        False,
        description="Keep a pair whose sides are the same text, as the reference does; of a session whose rule list is empty"
        " (`keep_empty` of its rules job) that is the logged answer twice. Needs require_gain false.",
    )
    min_pairs: int = Field(
        10, ge=2, le=100_000, description="A dataset with fewer rows is refused, and one without a held-out row."
    )
    max_tokens: int = Field(2048, ge=16, le=16_384, description="Longest revised answer; a longer one is cut, and dropped.")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.group_by != "cluster" and self.gap is not None:
            raise ValueError(f"gap: group_by {self.group_by} takes the sessions of all clusters; leave one of the two out")
        if self.keep_equal and self.require_gain:
            raise ValueError("keep_equal: needs require_gain false; the same text cannot get a higher grade")
        if len(set(self.contexts)) != len(self.contexts):
            raise ValueError("contexts: each of feedback and rules once")
        return self


class ClusterPairs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: int
    cluster_id: str = Field(description="Of a group `all`, or `config-` and the config.")
    config_id: str | None = Field(None, description="With group_by config: whose sessions they are.")
    size: int
    decision: str = Field(
        description="Of the gap job; `all` without one, `fallback` for a cluster that is too small, `group` for no cluster."
    )
    pairs: str | None = Field(description="`dataset:<name>-<cluster_id>-pairs@<version>`: rows with `rejected`, for dpo_nll.")
    critic: str | None = Field(
        description="`dataset:<name>-<cluster_id>-critic@<version>`: question and logged answer, then rules."
    )
    pairs_train: int
    pairs_heldout: int
    critic_rows: int
    gain: float | None = Field(description="Mean of chosen minus logged grade over the pairs whose logged answer has one.")
    dropped: dict[str, int] = Field(description="Sessions without a pair, or of a critic without a row, by reason.")
    refused: str | None = Field(
        description="Why there is no dataset of pairs, of a critic, or of either, with the number missing."
    )


class Candidates(BaseModel):
    """Revised answers."""

    model_config = ConfigDict(extra="forbid")

    asked: int
    usable: int
    empty: int
    error: int = Field(description="They begin with the word error.")
    cut: int = Field(description="They were not ended by the teacher: too long, or declined.")
    unanswered: int


class PairsResult(JobResult):
    clusters: list[ClusterPairs]
    sessions: int = Field(description="Sessions for which revised answers were asked, all their questions answered.")
    pairs: int
    candidates: Candidates
    grades: int = Field(description="Grades that could be read.")
    bad_json: int = Field(description="Grades that were not the JSON asked for, first and second tries.")
    clamped: int = Field(description="Grades outside 1 to 10, counted as the nearer end.")
    unanswered: int = Field(description="Grades that the judge gave no answer to.")
    require_gain: bool
    keep_equal: bool = False
    group_by: GroupBy = "cluster"
    contexts: list[Context]
    samples: int
    judge_samples: int
    gap_method: str | None = Field(description="Of the gap job.")
    space: str | None = Field(description="Of the cluster job.")
    sampling: str = Field(description="How revised answers were sampled.")
    spent_usd: float = Field(description="What the job has spent, earlier attempts and lost calls included.")
    saved_by_reuse_usd: float = Field(description="What answers that other jobs had paid would have cost.")
    stopped_by: Literal["budget"] | None = Field(description="Why not all sessions were asked about.")
    teacher: str
    model: str
    judge: str
    judge_model: str
    report: str = Field(description="The artifact pairs.json: what became of each session, and its grades.")
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL: no model wrote this.")
    note: str
