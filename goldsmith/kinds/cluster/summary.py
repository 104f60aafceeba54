"""What a cluster is about, for people."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from goldsmith.cluster_rules import ClusterRule
from goldsmith.kinds.cluster.sessions import Taught
from goldsmith.rules import Cluster

TOP_RULES = 3
WORDS = 5
SHARED_BY = 3  # devices, or sessions where there are none: no word that only one or two people typed is shown
SHARE = 0.1  # of the cluster's sessions that a word must be in
LIFT = 1.5  # how much more often than in all sessions

_WORD = re.compile(r"[^\W\d_]{3,}")


def describe(
    label: int,
    cluster_id: str,
    session_ids: Sequence[str],
    members: Sequence[Taught],
    rules: Sequence[ClusterRule],
    min_cluster_size: int,
    pattern: str | None,
) -> Cluster:
    """A cluster with its most supported rules. The summary holds no recorded text but words that several people typed.

    `members`: those of `session_ids` that are still there.
    """
    summary: dict[str, Any] = {
        "top_rules": [{"rule": rule.rule, "count": rule.support} for rule in rules[:TOP_RULES]],
        "rules": len(rules),
        "configs": dict(Counter(one.session.config_id or "unknown" for one in members).most_common()),
        "languages": dict(Counter(one.session.language or "unknown" for one in members).most_common()),
        "input_pattern": pattern,
    }
    return Cluster(
        label=label,
        size=len(session_ids),
        status="active" if len(session_ids) >= min_cluster_size else "fallback",
        members=list(session_ids),
        summary=summary,
        cluster_id=cluster_id,
    )


def input_patterns(clusters: Sequence[Sequence[Taught]]) -> list[str | None]:
    """For each cluster the words that its inputs share and others lack, such as `castle, tower`; None where there are none."""
    everywhere: Counter[str] = Counter()
    typed: list[defaultdict[str, set[str]]] = []
    counts: list[Counter[str]] = []
    for members in clusters:
        by: defaultdict[str, set[str]] = defaultdict(set)
        count: Counter[str] = Counter()
        for one in members:
            for word in {found.casefold() for found in _WORD.findall(one.session.query)}:
                count[word] += 1
                by[word].add(one.session.device_id or one.session_id)
        everywhere += count
        typed.append(by)
        counts.append(count)
    total = sum(map(len, clusters))
    patterns: list[str | None] = []
    for members, people, count in zip(clusters, typed, counts, strict=True):
        size = max(1, len(members))
        lift = {word: count[word] / size / (everywhere[word] / total) for word in count}
        shared = [
            word for word in count if len(people[word]) >= SHARED_BY and count[word] >= SHARE * size and lift[word] >= LIFT
        ]
        best = sorted(shared, key=lambda word: (-count[word] * lift[word], word))[:WORDS]
        patterns.append(", ".join(best) or None)
    return patterns
