"""A first gate against personal data: what patterns can find. Names and addresses written as words pass through it."""

from __future__ import annotations

import re
import unicodedata

# Every repetition is bounded: a long text of one character must not take quadratic time.
_PATTERNS = {
    "e-mail address": re.compile(
        r"[\w.+-]{1,64}\s?(?:@|\(at\)|\[at\])\s?[\w-]{1,63}(?:\.|\s?\((?:dot|punkt)\)\s?)[a-z]{2}", re.I
    ),
    # before the phone number, which part of an IBAN looks like
    "IBAN": re.compile(r"\b[a-z]{2}\d{2}(?:\s?[a-z0-9]{4}){3,7}(?:\s?[a-z0-9]{1,3})?\b", re.I),
    # seven digits or more that start with + or 0, in three dashed groups, or eight in a row (a million stars are not one)
    "phone number": re.compile(
        r"(?<!\w)(?:\+|0)(?:[ ()/.-]{0,2}\d){6,}|\b\d{3}[-. ]\d{3}[-. ]\d{4}\b|\b(?!\d{1,3}0{5,}\b)\d{8,}\b"
    ),
    "web address": re.compile(r"\bhttps?://|\bwww\.\w|\b[\w-]{2,63}\.(?:de|at|ch|com|net|org|eu|info|io|me|tv)\b", re.I),
    "handle": re.compile(r"(?<![\w.])@\w{2,}"),
}


def personal_data(text: str) -> str | None:
    """The first kind of personal data that the text shows, in words, or None. Look-alike characters are unified before."""
    plain = unicodedata.normalize("NFKC", text)
    return next((name for name, pattern in _PATTERNS.items() if pattern.search(plain)), None)
