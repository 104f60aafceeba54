"""The sessions that examine the variants: held out, and trained on by nobody who is compared on them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from goldsmith.errors import InvalidInput
from goldsmith.sessions import sessions_ref
from goldsmith.uno.split import split
from goldsmith.uno.taught import rules_jobs, taught

if TYPE_CHECKING:
    from goldsmith.context import JobContext
    from goldsmith.sessions import Session


@dataclass(frozen=True)
class Question:
    session: Session
    rules: list[str]
    """From its feedback; what its answers are graded by."""
    vector: NDArray[numpy.float32]

    @property
    def key(self) -> str:
        return self.session.session_id

    @property
    def messages(self) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.session.system}] if self.session.system else []
        return [*system, {"role": "user", "content": self.session.query}]


@dataclass(frozen=True)
class Seen:
    """What was trained on: sessions, and questions in other sessions' words."""

    groups: frozenset[str]
    inputs: frozenset[str]

    def knows(self, session: Session) -> bool:
        return session.session_id in self.groups or session.query in self.inputs


def seen(ctx: JobContext, datasets: Iterable[str]) -> Seen:
    rows = [row for ref in set(datasets) for row in ctx.examples(ref, "train")]
    return Seen(frozenset(row.group for row in rows), frozenset(row.input for row in rows))


def questions(clusters: str, trained: Seen, ctx: JobContext) -> list[Question]:
    """Of every cluster the held-out fifth, as split for training, without what was trained on all the same."""
    members = {session for cluster in ctx.clusters(clusters) for session in _heldout(cluster.members)}
    with numpy.load(ctx.artifact(f"{clusters}/embeddings.npz"), allow_pickle=False) as arrays:
        vectors = dict(zip(map(str, arrays["sessions"]), arrays["queries"], strict=True))
    found: dict[str, Question] = {}
    for ref in rules_jobs(ctx, clusters):
        lessons = taught(ctx.rules(ref))
        for session in ctx.sessions(sessions_ref(ref, ctx.config(ref))):
            name = session.session_id
            if name in members and name in vectors and name in lessons and lessons[name].rules and not trained.knows(session):
                found[name] = Question(session, lessons[name].rules, vectors[name])
    if not found:
        raise InvalidInput(f"no session of {clusters} is held out and untrained: {len(members)} are held out by the split")
    return [found[name] for name in sorted(found)]


def _heldout(members: Sequence[str]) -> list[str]:
    return [session for session, where in split(members).items() if where == "heldout"]


def draw(every: Sequence[Question], limit: int | None, seed: int, barred: Sequence[Seen]) -> list[Question]:
    """`limit` of them by seed, first those that all variants may answer."""
    shuffled = list(every)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - reproducible on purpose
    shuffled.sort(key=lambda question: sum(one.knows(question.session) for one in barred))  # keeps the order of equals
    return sorted(shuffled[:limit], key=lambda question: question.key)
