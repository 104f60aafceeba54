"""Where a rule comes from: the sentence of the session that it has most words in common with."""

from __future__ import annotations

import re

from goldsmith.sessions import Session

LONGEST_QUOTE = 240
LOOKED_AT = 20_000  # characters; a quote from further back in a text would be looked up by nobody
STEM = 5  # letters: Menge and Mengen, quantity and quantities begin alike


def quote(rule: str, text: str) -> str:
    """The sentence, without `Feedback 1:` before it; the first of equals, and where nothing fits."""
    sentences = [
        one.strip()
        for line in text[:LOOKED_AT].splitlines()
        for one in re.split(r"(?<=[.!?])\s+", re.sub(r"^Feedback \d+: ", "", line))
        if one.strip()
    ]
    wanted = _stems(rule)
    best = max(sentences, key=lambda one: len(wanted & _stems(one)) / (len(_stems(one)) + 5), default="")
    return best if len(best) <= LONGEST_QUOTE else best[: LONGEST_QUOTE - 1] + "…"


def source_of(session: Session, origin: str) -> str:
    """The text that a rule was read out of."""
    if origin == "model":
        return session.query
    return session.feedback or session.answer


def _stems(text: str) -> set[str]:
    return {word[:STEM] for word in re.findall(r"[^\W\d_]{3,}|\d+", text.casefold())}
