"""The rules of a cluster, each once, with the sessions that taught it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from goldsmith.cluster_rules import ClusterRule
from goldsmith.kinds.cluster.sessions import Taught
from goldsmith.rules import Rule

# Two rules say the same when they mean the same and are worded alike. Either alone is not enough: "Name the wood." and "Name the
# stone." are one word apart, and sentences of one topic are near each other in any encoder.
NEAR = 0.85  # cosine; MiniLM gives 0.93 to 0.99 to rules that differ in an article, an adverb or the order of words
ALIKE = 0.6  # share of letter triples that both have

_NEGATIONS = frozenset(
    "no not never without avoid don't dont nicht kein keine keinen keiner keinem nie niemals ohne vermeide".split()  # noqa: SIM905
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


@dataclass(frozen=True)
class _Wording:
    plain: str
    triples: frozenset[str]
    fixed: frozenset[str]
    """Negations and numbers: where these differ, two rules say different things however near they are."""

    @classmethod
    def of(cls, rule: str) -> _Wording:
        words = _WORD.findall(unicodedata.normalize("NFKC", rule).casefold().replace("’", "'"))
        plain = " ".join(words)
        padded = f"  {plain} "
        triples = frozenset(padded[at : at + 3] for at in range(len(padded) - 2))
        return cls(plain, triples, frozenset(word for word in words if word in _NEGATIONS or any(map(str.isdigit, word))))

    def alike(self, other: _Wording) -> bool:
        if self.plain == other.plain:
            return True
        shared = 2 * len(self.triples & other.triples) / (len(self.triples) + len(other.triples))
        return self.fixed == other.fixed and shared >= ALIKE


@dataclass
class _Said:
    """What one or several rules say."""

    wording: _Wording
    rules: list[tuple[Taught, Rule]]

    @property
    def sessions(self) -> dict[str, Rule]:
        """The first rule of each session that says it."""
        return {taught.session_id: rule for taught, rule in reversed(self.rules)}

    @property
    def text(self) -> str:
        """In the words that most sessions used."""
        counts = Counter(rule.rule.strip() for _, rule in self.rules)
        return min(counts, key=lambda text: (-counts[text], text))


def distinct_rules(
    label: int, members: Sequence[Taught], vectors: Mapping[str, NDArray[numpy.float32]], source: str
) -> list[ClusterRule]:
    """What the members' rules say, the most supported first, numbered from 0. `vectors`: of every rule; `source`: the rules job
    whose ordinals are kept."""
    exact: dict[str, _Said] = {}
    for taught in sorted(members, key=lambda one: one.session_id):
        for rule in taught.rules:
            wording = _Wording.of(rule.rule)
            exact.setdefault(wording.plain, _Said(wording, [])).rules.append((taught, rule))

    found: list[_Said] = []
    theirs = numpy.empty((len(exact), len(next(iter(vectors.values())))), dtype=numpy.float32)
    for said in sorted(exact.values(), key=lambda one: (-len(one.sessions), one.wording.plain)):
        vector = vectors[said.text]
        near = theirs[: len(found)] @ vector
        by_nearness = sorted(numpy.flatnonzero(near >= NEAR), key=lambda index: -near[index])
        same = next((found[index] for index in by_nearness if said.wording.alike(found[index].wording)), None)
        if same is None:
            theirs[len(found)] = vector
            found.append(_Said(said.wording, list(said.rules)))
        else:
            same.rules += said.rules

    found.sort(key=lambda said: (-len(said.sessions), said.wording.plain))
    return [_kept(ordinal, label, said, len(members), source) for ordinal, said in enumerate(found)]


def _kept(ordinal: int, label: int, said: _Said, size: int, source: str) -> ClusterRule:
    sessions = dict(sorted(said.sessions.items()))
    return ClusterRule(
        ordinal=ordinal,
        label=label,
        rule=said.text,
        support=len(sessions),
        coverage=len(sessions) / size,
        session_ids=list(sessions),
        signals=[str(rule.evidence.get("signal") or "") for rule in sessions.values()],
        configs=[rule.config_id or "" for rule in sessions.values()],
        rule_ordinals=sorted(rule.ordinal for taught, rule in said.rules if taught.source == source),
    )
