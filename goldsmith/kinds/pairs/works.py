"""What is bought and written: for each cluster, for each config, or for all sessions together."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from goldsmith.errors import InvalidInput
from goldsmith.kinds.base import NAME_PATTERN
from goldsmith.kinds.pairs.revise import Revision, unusable
from goldsmith.rules import Cluster
from goldsmith.sessions import Session, sessions_ref
from goldsmith.uno.split import Split, split
from goldsmith.uno.taught import Taught, rules_jobs, taught

if TYPE_CHECKING:
    from goldsmith.context import JobContext
    from goldsmith.kinds.pairs.schema import PairsConfig

GONE = "its session is gone or in quarantine"
GROUP = "group"
LONGEST_NAME = 64
LONGEST_SLUG = 17  # with `config-`, a name of 32 characters and `-critic` it is a dataset's name


@dataclass
class Work:
    """A cluster, or a group of sessions out of several ones, and what becomes of it."""

    cluster: Cluster
    """Of a group what a cluster would be."""
    decision: str
    splits: Mapping[str, Split]
    """As the clusters are split, whatever the sessions are grouped by."""
    config_id: str | None = None
    sessions: list[tuple[Session, Taught]] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def cluster_id(self) -> str:
        return self.cluster.cluster_id or str(self.cluster.label)

    @property
    def wants_pairs(self) -> bool:
        return self.decision in ("all", "primary", GROUP)

    @property
    def wants_critic(self) -> bool:
        return self.decision in ("all", "primary", "reflective", "undecided")

    def name(self, config: PairsConfig, what: str) -> str:
        """Of its dataset."""
        return f"{config.name}-{self.cluster_id}-{what}"


def works(config: PairsConfig, ctx: JobContext) -> list[Work]:
    sessions: dict[str, Session] = {}
    rules: dict[str, Taught] = {}
    for ref in rules_jobs(ctx, config.clusters):
        sessions |= {one.session_id: one for one in ctx.sessions(sessions_ref(ref, ctx.config(ref)))}
        rules |= taught(ctx.rules(ref))
    clusters = list(ctx.clusters(config.clusters))
    found = _clusters(config, ctx, clusters) if config.group_by == "cluster" else _groups(config, clusters, sessions)
    for work in found:
        if not (work.wants_pairs or work.wants_critic):
            continue
        _check_name(config, work)
        for name in work.cluster.members:
            reason: str | None = GONE
            if name in sessions:
                reason = unusable(sessions[name], rules.get(name, Taught()), keep_empty=config.keep_equal)
            if reason is None:
                work.sessions.append((sessions[name], rules[name]))
            else:
                work.dropped[reason] += 1
        if work.wants_pairs:
            work.revisions = [Revision(*one) for one in work.sessions]
    return found


def _clusters(config: PairsConfig, ctx: JobContext, clusters: Sequence[Cluster]) -> list[Work]:
    decisions = _decisions(config, ctx)
    return [
        Work(one, "fallback" if one.status == "fallback" else decisions.get(one.label, "all"), split(one.members))
        for one in clusters
    ]


def _groups(config: PairsConfig, clusters: Sequence[Cluster], sessions: Mapping[str, Session]) -> list[Work]:
    """The largest first. A session that came from no config is in none of the configs' groups."""
    splits = {name: where for cluster in clusters for name, where in split(cluster.members).items()}
    if config.group_by == "all":
        return [Work(Cluster(0, len(splits), "active", list(splits), cluster_id="all"), GROUP, splits)] if splits else []
    members: dict[str, list[str]] = {}
    for name in splits:
        if name in sessions and (config_id := sessions[name].config_id):
            members.setdefault(config_id, []).append(name)
    if not members:
        raise InvalidInput(
            f"group_by: no session of {config.clusters} has a config",
            errors=[
                {"field": "group_by", "value": "config", "allowed": "sessions that came from a config; else cluster or all"}
            ],
        )
    ordered = sorted(members, key=lambda one: (-len(members[one]), one))
    return [
        Work(Cluster(label, len(members[one]), "active", members[one], cluster_id=f"config-{_slug(one)}"), GROUP, splits, one)
        for label, one in enumerate(ordered)
    ]


def _slug(config_id: str) -> str:
    """What can stand in a name, no two configs alike."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", config_id.lower()).strip("._-")
    if plain == config_id and len(plain) <= LONGEST_SLUG:
        return plain
    return f"{plain[: LONGEST_SLUG - 9]}-{sha256(config_id.encode()).hexdigest()[:8]}".lstrip("-")


def _decisions(config: PairsConfig, ctx: JobContext) -> dict[int, str]:
    if config.gap is None:
        return {}
    measured = ctx.config(config.gap)["clusters"]
    if measured != config.clusters:
        raise InvalidInput(
            f"gap: {config.gap} measured the clusters of {measured}, not of {config.clusters}",
            errors=[{"field": "gap", "value": config.gap, "allowed": f"a gap job of {config.clusters}"}],
        )
    document = json.loads(ctx.artifact(f"{config.gap}/gap.json").read_text(encoding="utf-8"))
    return {one["label"]: one["decision"] for one in document["clusters"]}


def _check_name(config: PairsConfig, work: Work) -> None:
    name = work.name(config, "critic")
    if len(name) > LONGEST_NAME:
        raise InvalidInput(
            f"name: {name!r} would have {len(name)} characters; a dataset's name has at most {LONGEST_NAME}",
            errors=[{"field": "name", "value": config.name, "allowed": f"{NAME_PATTERN}, shorter"}],
        )
