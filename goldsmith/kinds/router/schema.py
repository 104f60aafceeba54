"""What a router job is asked, and what it says in the end."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from goldsmith.kinds.base import AdapterRef, JobConfig, JobRef, JobResult, Reference

ClusterId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
GivenAdapters = Annotated[dict[ClusterId, AdapterRef], Field(max_length=10_000)]


class RouterConfig(JobConfig):
    """Put clusters, gap, experts and critics together to a router (UNO, arXiv 2602.06470, section 3.5)."""

    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "cpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 900

    kind: Literal["router"] = "router"
    clusters: Annotated[JobRef, Reference("job", kind="cluster")] = Field(
        description="The cluster job that queries are sent to."
    )
    gap: Annotated[JobRef, Reference("job", kind="gap")] = Field(description="The gap job of these clusters.")
    verified: Annotated[list[Annotated[JobRef, Reference("job", kind="verify")]], Field(max_length=10_000)] = Field(
        [], description="Verifications: each brings the expert of the cluster that its data is from, and whether it passed."
    )
    critic_trainings: Annotated[list[Annotated[JobRef, Reference("job", kind="train")]], Field(max_length=10_000)] = Field(
        [], description="Trainings of critics: each brings the critic of the cluster that its data is from."
    )
    experts: GivenAdapters = Field(
        {}, description="Experts by cluster_id, beside those of `verified`; `passed` says which may answer."
    )
    critics: GivenAdapters = Field({}, description="Critics by cluster_id, beside those of `critic_trainings`.")
    passed: dict[ClusterId, bool] = Field(
        {}, max_length=10_000, description="By cluster_id: whether the expert that is given in `experts` passed a gate."
    )
    outlier_distance: float = Field(
        1.2,
        gt=0,
        le=2,
        description="A query farther than this from every centroid gets the base model. 1.2 is the paper's; the result says which"
        " share of held-out queries it fires on, and which distances fire on 1, 5 and 10 %.",
    )
    calibrate_share: float | None = Field(
        None, gt=0, lt=1, description="Take the distance that fires on at most this share of held-out queries instead."
    )


class RoutedCluster(BaseModel):
    """One cluster, and what its queries get."""

    model_config = ConfigDict(extra="forbid")

    label: int
    cluster_id: str
    size: int
    path: Literal["primary", "reflective", "base"]
    why: str
    expert: str | None
    critic: str | None
    gap: str | None = Field(description="The gap job's decision; null: it does not know the cluster.")
    mu: float | None = Field(description="The gap.")
    passed: bool | None = Field(description="Whether the expert passed its gate; null: none was held.")
    win_rate: float | None = Field(description="Over the base model, as the gate measured it.")


class Calibration(BaseModel):
    """How far held-out queries are from centroids that were made without them: in each cluster a fifth, as split for training."""

    model_config = ConfigDict(extra="forbid")

    queries: int = Field(description="Held-out queries that were measured.")
    median: float | None
    farthest: float | None
    share_beyond: float | None = Field(description="Share of them beyond the outlier distance that the router uses.")
    share_beyond_default: float | None = Field(description="Share of them beyond 1.2.")
    distance_for_share: dict[str, float] = Field(description="The distance that fires on at most this share of them.")


class RouterResult(JobResult):
    router: str = Field(description="The artifact `router.json`; with `centroids.npz` it is all that a local router needs.")
    clusters: list[RoutedCluster]
    paths: dict[str, int] = Field(description="Clusters by path.")
    sessions_by_path: dict[str, int] = Field(description="Their sessions.")
    base_model: str | None = Field(description="Of all adapters; null: there are none.")
    encoder: str
    dimension: int
    space: str | None = Field(description="Of the cluster job.")
    gap_method: str
    tau: float
    outlier_distance: float
    calibrated: bool = Field(description="Whether the distance comes from calibrate_share.")
    calibration: Calibration
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL: a rehearsal teacher graded, or wrote what was learned.")
