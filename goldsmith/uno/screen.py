"""Texts of logs that speak to the machinery instead of about an answer: found, and kept out of rules.

Written patterns for German and English, and disguises of them (letters spread or replaced, hidden characters, base64). They know
how such texts are worded, not what is true: a rule that is merely wrong passes, and so does an attack in another language. What
they find and what they miss is measured on texts that they were not written for: see docs/uno.md.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from goldsmith.uno.injections import GROUPS, Where

LONGEST_LINE = 2_000  # a pattern looks no further than that for its second half; longer texts are looked at piece by piece
OVERLAP = 200


def screen(text: str, where: Where) -> str | None:
    """Why this text must not be learned from; None: nothing was found. Takes time in proportion to its length."""
    if _hidden(text):
        return "it hides characters"
    for said in _spellings(text):
        if reason := _found(said, where):
            return reason
    return next((f"{reason}, encoded" for said in _decoded(text) if (reason := _found(_plain(said), where))), None)


def _found(said: str, where: Where) -> str | None:
    for start in range(0, max(1, len(said)), LONGEST_LINE - OVERLAP):
        piece = said[start : start + LONGEST_LINE]
        for reason, places, pattern in _patterns():
            if where in places and pattern.search(piece):
                return reason
    return None


@lru_cache
def _patterns() -> list[tuple[str, frozenset[Where], re.Pattern[str]]]:
    return [(reason, where, re.compile(pattern, re.MULTILINE)) for reason, where, patterns in GROUPS for pattern in patterns]


# -- disguises

_ALIKE = str.maketrans("аеорсухіјѕԁɡ℮ᴏαορνικ", "aeopcyxijsdgeoaopvik")
_DIGITS = str.maketrans("013457@$", "oieastas")


def _plain(text: str) -> str:
    """Lower case, composed, without what cannot be seen; runs of spaces are one, lines stay lines."""
    text = unicodedata.normalize("NFKC", html.unescape(text)).replace("’", "'")
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return re.sub(r"[^\S\n]+", " ", re.sub(r"(?<![^\W_])[*_`~|\\]+|[*_`~|\\]+(?![^\W_])", "", text)).lower()


def _spellings(text: str) -> Iterator[str]:
    said = _plain(text)
    yield said
    joined = re.sub(r"\n+", " ", said)
    if joined != said:
        yield joined
    if re.search(r"(?:\b\w[ .·-]{1,2}){5,}\w\b", joined):  # i g n o r e
        words = re.split(r" {2,}", re.sub(r"\n+", "  ", unicodedata.normalize("NFKC", text)))
        yield " ".join(re.sub(r"(?<=\b\w)[ .·-](?=\w\b)", "", word) for word in words).lower()
        yield re.sub(r"(?<=\b\w) {1,2}(?=\w\b)", "", text).lower()
        yield re.sub(r"(?<=\b\w)[.·-](?=\w\b)", "", joined)
    mixed = re.sub(r"\w*[a-z]\w*", lambda word: word[0].translate(_ALIKE), joined)
    if mixed != joined:
        yield mixed
    letters = re.sub(r"\b(?=\w*[a-z])(?=\w*[0134579@$])[\w@$]+|\b4ll\b", lambda word: word[0].translate(_DIGITS), joined)
    if letters != joined:
        yield letters


def _hidden(text: str) -> bool:
    """Characters without a width inside of words, or the ones that only machines read."""
    if text.isascii():
        return False
    if any(0xE0000 <= ord(letter) <= 0xE007F for letter in text):
        return not re.search("\U0001f3f4[\U000e0020-\U000e007f]+", text)  # flags of regions are spelled with them
    return len(re.findall(r"(?<=[^\W\d_])[\u200b\u200c\u2060\ufeff\u202a-\u202e\u2066-\u2069]+(?=[^\W\d_])", text)) > 1


def _decoded(text: str) -> Iterator[str]:
    """What stands in base64; ordinary words that look like it decode to nothing that can be read."""
    for found in re.findall(r"(?<![\w+/=])[A-Za-z0-9+/]{24,4000}={0,2}(?![\w+/=])", text)[:20]:
        try:
            decoded = base64.b64decode(found + "=" * (-len(found) % 4), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if decoded.isprintable() and " " in decoded:
            yield decoded
