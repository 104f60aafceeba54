"""Sessions: a text and the rules that it taught."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from goldsmith.errors import InvalidInput
from goldsmith.sessions import sessions_ref
from goldsmith.uno.taught import rules_jobs, rules_text

if TYPE_CHECKING:
    from goldsmith.context import JobContext
    from goldsmith.kinds.cluster.schema import ClusterConfig
    from goldsmith.rules import Rule
    from goldsmith.sessions import Session


@dataclass
class Taught:
    """A session with the rules from its feedback."""

    session: Session
    source: str
    """The rules job."""
    rules: list[Rule] = field(default_factory=list)
    kept: bool = False
    """Although its feedback taught nothing (`keep_empty` of the rules job)."""

    @property
    def session_id(self) -> str:
        return self.session.session_id

    @property
    def query(self) -> str:
        return self.session.query_text.strip()

    @property
    def rules_text(self) -> str:
        return rules_text(rule.rule for rule in self.rules)


@dataclass(frozen=True)
class Joined:
    sessions: list[Taught]
    """By session id, so that the order of the rules job decides nothing."""
    without_feedback: int
    """Sessions left out because their rules are only the teacher's own view of the text (UNO drops these, too)."""
    without_text: int
    """Sessions left out because no text of theirs may be used."""
    already: int

    @property
    def empty(self) -> int:
        """Sessions that are here although their feedback taught nothing."""
        return sum(not one.rules for one in self.sessions)


def read(config: ClusterConfig, ctx: JobContext, known: Container[str] = ()) -> Joined:
    """The sessions of the rules job but those that are `known`. Raises `InvalidInput` where there is none to cluster."""
    asked = ctx.config(config.rules)
    if config.runs is not None and asked.get("runs") != config.runs:
        made = asked.get("runs") or asked.get("sessions")
        raise InvalidInput(
            f"runs: {config.rules} was made from {made}, not from {config.runs}",
            errors=[{"field": "runs", "value": config.runs, "message": f"leave it out; it was {made}"}],
        )
    joined = join(config.rules, ctx.rules(config.rules), ctx.sessions(sessions_ref(config.rules, asked)), known)
    if joined.already and not joined.sessions:
        raise InvalidInput(
            f"rules: {config.add_to} has all {joined.already} sessions of {config.rules} already; nothing is to be added",
            errors=[{"field": "rules", "value": config.rules, "message": f"must have sessions that {config.add_to} has not"}],
        )
    if len(joined.sessions) == joined.empty:
        raise InvalidInput(
            f"no session of {config.rules} has both rules from feedback and a text that may be used (without feedback:"
            f" {joined.without_feedback}, without text: {joined.without_text})",
            errors=[{"field": "rules", "value": config.rules, "message": "must be a rules job that found rules in feedback"}],
        )
    return joined


def of_earlier(clusters: str, ctx: JobContext, members: Container[str]) -> list[Taught]:
    """The members of a clustering as they are now, out of all rules jobs that it was added to from."""
    found: dict[str, Taught] = {}
    for source in rules_jobs(ctx, clusters):
        sessions = ctx.sessions(sessions_ref(source, ctx.config(source)))
        for taught in join(source, ctx.rules(source), sessions).sessions:
            if taught.session_id in members:
                found.setdefault(taught.session_id, taught)
    return list(found.values())


def join(source: str, rules: Iterable[Rule], sessions: Iterable[Session], known: Container[str] = ()) -> Joined:
    found = {session.session_id: Taught(session, source) for session in sessions if session.query_text.strip()}
    seen: set[str] = set()
    taught: set[str] = set()
    for rule in rules:
        seen.add(rule.session_id)
        if rule.empty:
            taught.add(rule.session_id)
            if rule.session_id in found:
                found[rule.session_id].kept = True
        elif rule.origin == "feedback" and rule.rule.strip():
            taught.add(rule.session_id)
            if rule.session_id in found:
                found[rule.session_id].rules.append(rule)
    usable = sorted((one for one in found.values() if one.rules or one.kept), key=lambda one: one.session_id)
    new = [one for one in usable if one.session_id not in known]
    return Joined(new, len(seen - taught), len(taught) - len(usable), len(usable) - len(new))
