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

    @property
    def rules_text(self) -> str:
        return "\n".join(self.rules)


def join(rules: Iterable[Rule], runs: Iterable[RecordedRun]) -> tuple[list[Session], int]:
    """The sessions with their texts, in the order of their first rule, and how many had no run with a text that may be used."""
    texts = {run.run_id: run.input.strip() for run in runs if run.may_train and run.input and run.input.strip()}
    sessions: dict[str, Session] = {}
    left_out = set()
    for rule in rules:
        if not rule.rule.strip():
            continue
        if rule.session_id not in texts:
            left_out.add(rule.session_id)
            continue
        session = sessions.setdefault(
            rule.session_id, Session(rule.session_id, texts[rule.session_id], rule.config_id, rule.language)
        )
        session.rules.append(rule.rule.strip())
    return list(sessions.values()), len(left_out)
