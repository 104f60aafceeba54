"""From the novelty of rules to a cluster's decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from goldsmith.kinds.gap.schema import AtTau, ClusterGap, Decision
from goldsmith.rules import Cluster


@dataclass(frozen=True)
class Novelty:
    """Of one session's rules against the model's own; 0: covered, 1: new."""

    least: float
    mean: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Novelty:
        """`values`: of each rule from feedback, at least one; 1 - P(yes) by the paper's measure."""
        return cls(min(values), fmean(values), max(values))


def mean(found: Sequence[Novelty]) -> Novelty | None:
    """Of a cluster, over its scored sessions; `least` is what decides. None: no session is scored."""
    if not found:
        return None
    return Novelty(fmean(one.least for one in found), fmean(one.mean for one in found), fmean(one.most for one in found))


def is_high(mu: float, tau: float, at_tau: AtTau = "high") -> bool:
    return mu >= tau if at_tau == "high" else mu > tau


def decide(mu: float, tau: float, undecided_within: float, at_tau: AtTau = "high") -> Decision:
    """`undecided` nearer to tau than `undecided_within`; else reflective where mu is high, primary where it is not."""
    if abs(mu - tau) < undecided_within:
        return "undecided"
    return "reflective" if is_high(mu, tau, at_tau) else "primary"


def gap_of(
    cluster: Cluster, found: Sequence[Novelty], tau: float, undecided_within: float, at_tau: AtTau = "high"
) -> ClusterGap:
    """A cluster without a scored session is unknown: no news is not a low gap."""
    gap = mean(found)
    decision: Decision = "unknown" if gap is None else decide(gap.least, tau, undecided_within, at_tau)
    return ClusterGap(
        label=cluster.label,
        cluster_id=cluster.cluster_id or str(cluster.label),
        size=cluster.size,
        scored=len(found),
        mu=gap.least if gap else None,
        mu_mean=gap.mean if gap else None,
        mu_max=gap.most if gap else None,
        high=is_high(gap.least, tau, at_tau) if gap else None,
        decision="fallback" if cluster.status == "fallback" else decision,
    )
