"""Sessions: a recorded text and the rules that it taught."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from goldsmith.recordings import RecordedRun
    from goldsmith.rules import Rule


@dataclass
class Session:
    session_id: str
    query: str
    config_id: str | None
    language: str | None
    rules: list[str] = field(default_factory=list)
    rehearsal: bool = False
    """A rehearsal teacher wrote the rules."""

    @property
    def rules_text(self) -> str:
        return "\n".join(self.rules)


@dataclass(frozen=True)
class Joined:
    sessions: list[Session]
    """In the order of their first rule."""
    without_feedback: int
    """Sessions left out because their rules are only the teacher's own view of the text (UNO drops these, too)."""
    without_text: int
    """Sessions left out because their run has no text that may be used."""


def join(rules: Iterable[Rule], runs: Iterable[RecordedRun]) -> Joined:
    texts = {run.run_id: run.input.strip() for run in runs if run.may_train and run.input and run.input.strip()}
    sessions: dict[str, Session] = {}
    seen: set[str] = set()
    taught: set[str] = set()
    for rule in rules:
        seen.add(rule.session_id)
        if rule.origin != "feedback" or not rule.rule.strip():
            continue
        taught.add(rule.session_id)
        if rule.session_id in texts:
            new = Session(rule.session_id, texts[rule.session_id], rule.config_id, rule.language)
            session = sessions.setdefault(rule.session_id, new)
            session.rules.append(rule.rule.strip())
            session.rehearsal |= bool(rule.evidence.get("rehearsal"))
    return Joined(list(sessions.values()), len(seen - taught), len(taught) - len(sessions))
