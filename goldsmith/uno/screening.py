"""Sessions whose texts speak to the machinery are put into quarantine: kept, counted, and read by no later job."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from goldsmith.language import is_other
from goldsmith.sessions import Session
from goldsmith.uno.injections import Where
from goldsmith.uno.screen import screen

LOOKED_AT = 500  # characters of feedback that tell its language


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
    others = sum(one.language not in ("de", "en") or _elsewhere(one.feedback) for one in sessions)
    if not others:
        return ""
    return (
        f" {others} of {len(sessions)} sessions are in another language than German or English, or too short to tell: the screen for"
        " prompt injection knows these two only, so look at what the others teach before it is trained on."
    )


def _elsewhere(feedback: str | None) -> bool:
    """What was said is surely in another language, or in another script, than the query's German or English."""
    said = re.sub(r"^Feedback \d+: ", "", feedback or "", flags=re.MULTILINE)[:LOOKED_AT]
    letters = [letter for letter in said if letter.isalpha()]
    foreign = sum(not unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    return 2 * foreign > len(letters) or is_other(said)
