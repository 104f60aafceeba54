"""Which adapter belongs to which cluster: as it is given, or by the data that it was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from goldsmith.errors import InvalidInput
from goldsmith.kinds.router.schema import RouterConfig

if TYPE_CHECKING:
    from goldsmith.adapters import AdapterVersion
    from goldsmith.context import JobContext


@dataclass
class Trained:
    """What was trained for the clusters, by cluster_id."""

    experts: dict[str, AdapterVersion] = field(default_factory=dict)
    critics: dict[str, AdapterVersion] = field(default_factory=dict)
    passed: dict[str, bool] = field(default_factory=dict)
    win_rates: dict[str, float | None] = field(default_factory=dict)

    @property
    def every(self) -> list[AdapterVersion]:
        return [*self.experts.values(), *self.critics.values()]


def gather(config: RouterConfig, ctx: JobContext, cluster_ids: Iterable[str]) -> Trained:
    """Raises `InvalidInput` for an adapter of a cluster that is not here, of another role or base model, or given twice."""
    known, found = set(cluster_ids), Trained()
    for cluster_id, ref in config.experts.items():
        _put(found.experts, cluster_id, ctx.adapter(ref), "expert", "experts")
    for cluster_id, ref in config.critics.items():
        _put(found.critics, cluster_id, ctx.adapter(ref), "critic", "critics")
    for cluster_id, passed in config.passed.items():
        if cluster_id not in config.experts:
            raise _wrong("passed", f"{cluster_id} has no expert in `experts`")
        found.passed[cluster_id] = passed
    for job in config.verified:
        result = ctx.result(job)
        cluster_id = _cluster_of(ctx, result["dataset"], job, "verified")
        if cluster_id in found.passed:
            raise _wrong("verified", f"{job} is of the cluster {cluster_id}, which has an expert already")
        found.passed[cluster_id], found.win_rates[cluster_id] = result["passed"], result["win_rate"]
        if result["adapter"] is not None:
            _put(found.experts, cluster_id, ctx.adapter(result["adapter"]), "expert", "verified")
    for job in config.critic_trainings:
        result = ctx.result(job)
        cluster_id = _cluster_of(ctx, result["dataset"], job, "critic_trainings")
        _put(found.critics, cluster_id, ctx.adapter(result["adapter"]), "critic", "critic_trainings")
    if strangers := sorted((found.experts.keys() | found.critics.keys() | found.passed.keys()) - known):
        raise InvalidInput(
            f"the clusters have no {strangers[0]}; they are {', '.join(sorted(known))}",
            errors=[{"field": "clusters", "value": config.clusters, "message": f"has no cluster {strangers[0]}"}],
        )
    _check_base(found.every)
    return found


def _put(
    into: dict[str, AdapterVersion], cluster_id: str, adapter: AdapterVersion, role: Literal["expert", "critic"], field: str
) -> None:
    says = adapter.method.get("role")
    if says not in (None, role):
        raise _wrong(field, f"{adapter.ref} was trained as {says}, not as {role}")
    if adapter.status == "retired":
        raise _wrong(field, f"{adapter.ref} is retired")
    if cluster_id in into:
        raise _wrong(field, f"the cluster {cluster_id} has two {role}s: {into[cluster_id].ref} and {adapter.ref}")
    into[cluster_id] = adapter


def _cluster_of(ctx: JobContext, dataset: str, job: str, field: str) -> str:
    cluster = ctx.dataset(dataset).manifest.get("cluster")
    if not isinstance(cluster, dict) or "cluster_id" not in cluster:
        raise _wrong(
            field, f"{job} learned from {dataset}, which is no dataset of a cluster: give its adapter in `{field}`'s place"
        )
    return str(cluster["cluster_id"])


def _check_base(adapters: list[AdapterVersion]) -> None:
    """One model server has one base model."""
    for one in adapters[1:]:
        if one.base_sha256 != adapters[0].base_sha256:
            raise InvalidInput(
                f"{one.ref} is on another base model ({one.base_model}) than {adapters[0].ref} ({adapters[0].base_model})"
            )


def _wrong(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"{field}: {message}", errors=[{"field": field, "message": message}])
