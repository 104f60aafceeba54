"""From the novelty of rules to a cluster's decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from goldsmith.kinds.gap.schema import ClusterGap, Decision
from goldsmith.rules import Cluster


@dataclass(frozen=True)
class Novelty:
    """Of one session's rules against the model's own; 0: covered, 1: new."""

    least: float
    mean: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Novelty:
        return cls(min(values), fmean(values), max(values))


def decide(mu: float, tau: float, undecided_within: float) -> Decision:
    if abs(mu - tau) < undecided_within:
        return "undecided"
    return "reflective" if mu >= tau else "primary"


def gap_of(cluster: Cluster, found: Sequence[Novelty], tau: float, undecided_within: float) -> ClusterGap:
    """A cluster without a scored session is unknown: no news is not a low gap."""
    mu = fmean(one.least for one in found) if found else None
    decision: Decision = "unknown" if mu is None else decide(mu, tau, undecided_within)
    return ClusterGap(
        label=cluster.label,
        cluster_id=cluster.cluster_id or str(cluster.label),
        size=cluster.size,
        scored=len(found),
        mu=mu,
        mu_mean=fmean(one.mean for one in found) if found else None,
        mu_max=fmean(one.most for one in found) if found else None,
        high=None if mu is None else mu >= tau,
        decision="fallback" if cluster.status == "fallback" else decision,
    )
