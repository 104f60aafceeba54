"""Sessions whose texts speak to the machinery are put into quarantine: kept, counted, and read by no later job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from goldsmith.sessions import Session
from goldsmith.uno.screen import Where, screen


def screened(session: Session) -> Session:
    """With the reason when one of its texts is not to be learned from. The system prompt is the operator's own, and trusted."""
    texts: tuple[tuple[Where, str | None], ...] = (
        ("feedback", session.feedback),
        ("query", session.query),
        ("answer", session.answer),
    )
    for where, text in texts:
        if text and (reason := screen(text, where)):
            return replace(session, status="quarantined", reason=f"{where}: {reason}")
    return session


def quarantined(sessions: Iterable[Session]) -> dict[str, int]:
    return dict(Counter(one.reason or "" for one in sessions if one.status == "quarantined").most_common())


def unknown_languages(sessions: Sequence[Session]) -> str:
    """A warning for the languages that the screen does not know; empty where there are none."""
    others = sum(one.language not in ("de", "en") for one in sessions)
    if not others:
        return ""
    return (
        f" {others} of {len(sessions)} sessions are in another language than German or English, or too short to tell: the screen for"
        " prompt injection knows these two only, so look at what the others teach before it is trained on."
    )
