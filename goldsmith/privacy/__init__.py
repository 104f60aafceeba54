"""Personal data in the texts of children, German and English, found on this machine alone.

`find` says what it sees and where. It works on characters, word lists and frames ("ich heiße …"); nothing is sent anywhere, no
model is loaded. What it finds of sentences that nothing was tuned on, and what it takes for personal by mistake, is in
docs/decisions/0012-names-by-lists-frames-and-a-vocabulary.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from goldsmith.privacy.birth import birth_dates
from goldsmith.privacy.contact import emails, handles, phones, urls
from goldsmith.privacy.finding import Finding, Kind, Text
from goldsmith.privacy.names import names
from goldsmith.privacy.numbers import cards, ibans
from goldsmith.privacy.places import addresses

__all__ = ["Finding", "Kind", "find", "personal", "version"]

# Where two overlap, the one named first here stands: what proves itself before what looks like many things.
_DETECTORS: tuple[tuple[Kind, Callable[[Text], Iterable[tuple[int, int]]]], ...] = (
    ("iban", ibans),
    ("card", cards),
    ("email", emails),
    ("url", urls),
    ("birth_date", birth_dates),
    ("address", addresses),
    ("handle", handles),
    ("phone", phones),
)


@cache
def version() -> str:
    """Changes with the code and the lists of this package: what was searched with another version may be searched again."""
    files = sorted(path for path in Path(__file__).parent.rglob("*") if path.suffix in (".py", ".txt", ".bloom"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def find(text: str, language: str | None = None) -> list[Finding]:
    """Personal data in `text`, in the order in which it stands there.

    `language` is "de", "en" or None for a text that may be either or mixed; it only sharpens the search for names. Never raises
    for a string, and takes time in proportion to its length.
    """
    prepared = Text(text)
    found: list[tuple[int, int, Kind]] = []
    for kind, detector in _DETECTORS:
        for start, end in detector(prepared):
            if not any(start < other_end and other_start < end for other_start, other_end, _ in found):
                found.append((start, end, kind))
    for start, end in names(prepared, language):
        behind = min((other for other, *_ in found if start < other < end), default=end)  # "Ines Carvalho ines.carvalho@…"
        end = start + len(prepared.plain[start:behind].rstrip())
        if not any(start < other_end and other_start < end for other_start, other_end, _ in found):
            found.append((start, end, "name"))
    return [Finding(kind, prepared.span(start, end)) for start, end, kind in sorted(found)]


def personal(texts: Iterable[str], language: str | None = None) -> str | None:
    """`personal data: email, name` when any of the texts holds some; None: nothing was found. As `find`."""
    kinds = sorted({finding.kind for text in texts for finding in find(text, language)})
    return f"personal data: {', '.join(kinds)}" if kinds else None
