"""What a cluster is about, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from goldsmith.kinds.cluster.sessions import Session
from goldsmith.rules import Cluster

TOP_RULES = 3


def describe(
    label: int, members: Sequence[Session], min_cluster_size: int, rule_vectors: dict[str, NDArray[numpy.float32]]
) -> Cluster:
    """A cluster with the rules nearest to the mean of all its rules; the summary holds no recorded text."""
    counts = Counter(rule for session in members for rule in session.rules)
    mean = numpy.mean([rule_vectors[rule] for session in members for rule in session.rules], axis=0)
    nearest = sorted(counts, key=lambda rule: (-float(rule_vectors[rule] @ mean), rule))[:TOP_RULES]
    summary: dict[str, Any] = {
        "top_rules": [{"rule": rule, "count": counts[rule]} for rule in nearest],
        "configs": dict(Counter(session.config_id or "unknown" for session in members).most_common()),
        "languages": dict(Counter(session.language or "unknown" for session in members).most_common()),
    }
    return Cluster(
        label=label,
        size=len(members),
        status="active" if len(members) >= min_cluster_size else "fallback",
        members=[session.session_id for session in members],
        summary=summary,
    )
