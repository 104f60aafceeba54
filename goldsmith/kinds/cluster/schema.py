"""Cluster: sessions whose texts and rules are alike, each cluster a candidate for an adapter of its own."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from goldsmith.kinds.base import JobConfig, JobRef, JobResult, Reference

Space = Literal["unit", "dual"]

DELTA_SSE: dict[Space, float] = {"unit": 8.0, "dual": 16.0}
"""The threshold of UNO's code, a Ward height of 4 between vectors of length 1, in either space."""


class ClusterConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "cpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 6 * 3600  # a large encoder on a CPU; MiniLM takes a minute for thousands of sessions

    kind: Literal["cluster"] = "cluster"
    rules: Annotated[JobRef, Reference("job", kind="rules")] = Field(description="The rules job whose sessions are clustered.")
    runs: Annotated[JobRef, Reference("job", kind="import")] | None = Field(
        None, description="The import that the rules were made from. Not needed; another one than that is refused."
    )
    encoder: str = Field(
        "minilm",
        min_length=1,
        max_length=500,
        description="What turns texts into vectors: minilm (trained on English), qwen3-embedding-0.6b (where it is there), a"
        " sentence encoder as package:<distribution>, as the path of a folder, or on the hub.",
    )
    space: Space = Field(
        "unit",
        description="unit: dual vectors of length 1, as UNO's code has them; dual: of length √2, as its paper. Sums of squares"
        " in the dual space are twice those in the unit space.",
    )
    delta_sse_max: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Two clusters are merged while this raises the within-cluster sum of squares by less. Empty: 8 in the unit"
        " space and 16 in the dual one, a Ward height of 4 on vectors of length 1 as in UNO's code. The words of the paper"
        " would be 4 in the dual space.",
    )
    scale_with_n: bool = Field(
        False,
        description="Multiply delta_sse_max by sessions / 1000, the height by √(sessions / 1000). The sum of squares grows with"
        " the number of sessions: at the fixed value a few hundred sessions are one cluster and thousands fall into ever more.",
    )
    min_cluster_size: int = Field(
        30,
        ge=1,
        le=1_000_000,
        description="Smaller clusters get no adapter: status fallback. 30 leaves 6 for a validation of 20 %.",
    )
    previous: Annotated[JobRef, Reference("job", kind="cluster")] | None = Field(
        None, description="An earlier clustering: a cluster that is found again keeps its cluster_id."
    )
    add_to: Annotated[JobRef, Reference("job", kind="cluster")] | None = Field(
        None,
        description="Online: send these sessions to the nearest of that job's centroids, which move on as running means, instead"
        " of clustering anew.",
    )

    @model_validator(mode="after")
    def _one_way_to_go_on(self) -> Self:
        if self.add_to is not None and self.previous is not None:
            raise ValueError("add_to: give this or previous, not both; what is added to keeps its cluster ids")
        return self

    @property
    def delta_sse(self) -> float:
        return DELTA_SSE[self.space] if self.delta_sse_max is None else self.delta_sse_max


class ClusterSummary(JobResult):
    label: int
    cluster_id: str
    size: int
    status: Literal["active", "fallback"]
    rules: int = Field(description="That it teaches, each once.")


class ClusterResult(JobResult):
    sessions: int = Field(description="Sessions clustered.")
    without_feedback: int = Field(description="Sessions left out: their rules are only the teacher's own view of the text.")
    without_text: int = Field(description="Sessions left out: the rules job kept no text of theirs that may be used.")
    empty: int = Field(0, description="Of the clustered ones, those that taught no rule (`keep_empty` of the rules job).")
    already: int = Field(0, description="Sessions left out: the clustering that they are added to has them.")
    rules: int = Field(description="Rules of the clustered sessions.")
    rules_kept: int = Field(description="Of these, once for each cluster what says the same.")
    clusters: int
    active: int = Field(description="Clusters of at least min_cluster_size.")
    fallback: int = Field(description="Smaller ones: the base model answers.")
    sizes: list[int] = Field(description="By label: falling, unless sessions were added.")
    by_label: list[ClusterSummary]
    encoder: str
    dimension: int = Field(description="Of one text; the dual vectors have twice as many.")
    method: Literal["ward", "nearest"] = Field(
        description="ward: exact clustering; nearest: added to the centroids that were there."
    )
    space: Space = Field(description="unit: the dual vectors have length 1; dual: √2.")
    delta_sse_max: float | None = Field(description="The threshold that was used, in that space, after scaling.")
    height: float | None = Field(
        description="The same as a Ward height, what scikit-learn calls distance_threshold: √(2 ΔSSE)."
    )
    scaled: bool = Field(description="Whether the threshold was scaled with the number of sessions.")
    clusters_fixed: int | None = Field(description="Clusters at the threshold as it stands.")
    clusters_scaled: int | None = Field(description="Clusters at the threshold times sessions / 1000.")
    stability_ari: float | None = Field(
        description="Adjusted Rand index against the clustering of the same vectors moved by 0.1 %: far below 1, the partition"
        " is no structure of the data."
    )
    kept_ids: int = Field(0, description="Clusters that were found again and kept their cluster_id.")
    new_ids: int = Field(0, description="Clusters that the earlier clustering had not.")
    lost_ids: list[str] = Field([], description="Clusters of the earlier clustering that were not found again.")
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL when a rehearsal teacher wrote the rules.")
    note: str
