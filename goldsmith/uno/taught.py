"""What each session taught: the rules from its feedback, beside those that a model had set itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from goldsmith.context import JobContext
    from goldsmith.rules import Rule


@dataclass
class Taught:
    rules: list[str] = field(default_factory=list)
    """From feedback, each once, in the order in which they were saved."""
    ordinals: list[int] = field(default_factory=list)
    """Of `rules`, in their rules job."""
    own: list[str] = field(default_factory=list)
    """What a model asks of itself, having seen the query alone."""
    language: str | None = None
    rehearsal: bool = False
    empty: bool = False
    """Its feedback was read, and what was learned from it is an empty list (`keep_empty` of the rules job)."""


def rules_text(rules: Iterable[str]) -> str:
    """Rules as they are embedded and shown to a reranker: each stripped, one a line, without numbers."""
    return "\n".join(rule.strip() for rule in rules)


def taught(rules: Iterable[Rule]) -> dict[str, Taught]:
    """By session. `rules`: the active ones of a rules job, as `JobContext.rules` gives them."""
    sessions: dict[str, Taught] = {}
    for rule in rules:
        session = sessions.setdefault(rule.session_id, Taught())
        text = rule.rule.strip()
        session.language = session.language or rule.language
        session.rehearsal |= bool(rule.evidence.get("rehearsal"))
        session.empty |= rule.empty
        if text and rule.origin == "model" and text not in session.own:
            session.own.append(text)
        elif text and rule.origin == "feedback" and text not in session.rules:
            session.rules.append(text)
            session.ordinals.append(rule.ordinal)
    return sessions


def rules_jobs(ctx: JobContext, clusters: str) -> Iterator[str]:
    """The rules jobs whose sessions are in a clustering: its own, then those of the clustering that it was added to."""
    ref: str | None = clusters
    while ref is not None:
        config = ctx.config(ref)
        yield config["rules"]
        ref = config.get("add_to")


def lineage(ctx: JobContext, clusters: str) -> list[str]:
    """What a clustering was made from, the nearest first: the jobs and uploads that its sessions went through."""
    found = [clusters]
    for rules in rules_jobs(ctx, clusters):
        found.append(rules)
        config = ctx.config(rules)
        if sessions := config.get("sessions"):
            found.append(sessions)
            config = ctx.config(sessions)
        found += [config[source] for source in ("runs", "upload") if config.get(source)]
    return list(dict.fromkeys(found))
