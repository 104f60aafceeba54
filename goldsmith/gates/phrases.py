"""Phrases that a text must not hold. What the child wrote is never held against it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_QUOTED = re.compile(r"“[^“”]*”|„[^“”„]*[“”]|«[^»]*»|»[^«]*«|\"[^\"]*\"|(?<!\w)'[^']+'(?!\w)|‚[^‘’]*[‘’]")


def plain(text: str) -> str:
    """Composed, straight apostrophes, single spaces; case is kept."""
    return " ".join(unicodedata.normalize("NFC", text).replace("’", "'").replace("`", "'").split())


def without_speech(text: str) -> str:
    """What figures say is cut out: a fish may apologise. Quotes around the whole text are none of a figure."""
    text = text.strip()
    return text if _QUOTED.fullmatch(text) else _QUOTED.sub('""', text)


def compiled(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


def found(patterns: Iterable[re.Pattern[str]], text: str, typed: str) -> str | None:
    """The first match that does not stand in `typed` too. Both are `plain`."""
    known = typed.casefold()
    for pattern in patterns:
        for match in pattern.finditer(text):
            if match[0].casefold() not in known:
                return match[0]
    return None
