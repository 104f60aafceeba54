"""Cluster: sessions whose texts and rules are alike, each cluster a candidate for an adapter of its own."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from goldsmith.kinds.base import JobConfig, JobRef, JobResult, Reference


class ClusterConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "cpu"
    isolated: ClassVar[bool] = True

    kind: Literal["cluster"] = "cluster"
    rules: Annotated[JobRef, Reference("job", kind="rules")] = Field(description="The rules job whose sessions are clustered.")
    runs: Annotated[JobRef, Reference("job", kind="import")] = Field(
        description="The import job with the recorded texts of these sessions."
    )
    encoder: Literal["minilm"] = Field("minilm", description="What turns texts into vectors. minilm is trained on English.")
    delta_sse_max: float = Field(
        8.0,
        gt=0,
        le=1e6,
        description="Two clusters are merged while this raises the within-cluster sum of squares by less. In the unit space of"
        " the dual features; 8 is a Ward height of 4, as in UNO's reference code.",
    )
    scale_with_n: bool = Field(
        False,
        description="Multiply delta_sse_max by sessions / 1000. The sum of squares grows with the number of sessions: at the"
        " fixed value a few hundred sessions are one cluster and thousands fall into ever more.",
    )
    min_cluster_size: int = Field(
        30,
        ge=1,
        le=1_000_000,
        description="Smaller clusters get no adapter: status fallback. 30 leaves 6 for a validation of 20 %.",
    )


class ClusterResult(JobResult):
    sessions: int = Field(description="Sessions clustered.")
    without_feedback: int = Field(description="Sessions left out: their rules are only the teacher's own view of the text.")
    without_text: int = Field(description="Sessions left out: their run has no usable text in the import.")
    rules: int = Field(description="Rules of the clustered sessions.")
    clusters: int
    active: int = Field(description="Clusters of at least min_cluster_size.")
    fallback: int = Field(description="Smaller ones: the base model answers.")
    sizes: list[int] = Field(description="By label: falling.")
    encoder: str
    dimension: int = Field(description="Of one text; the dual vectors have twice as many.")
    delta_sse_max: float = Field(description="The threshold that was used, after scaling.")
    space: Literal["unit"] = Field("unit", description="The dual vectors have length 1.")
    clusters_fixed: int = Field(description="Clusters at the config's delta_sse_max.")
    clusters_scaled: int = Field(description="Clusters at delta_sse_max * sessions / 1000.")
    stability_ari: float = Field(
        description="Adjusted Rand index against the clustering of the same vectors moved by 0.1 %: far below 1, the partition"
        " is no structure of the data."
    )
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL when a rehearsal teacher wrote the rules.")
    note: str
