"""Lists of names and words, read once. What each holds stands in its first line; NOTICE says where the generated ones are from."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

_FOLDED = str.maketrans(
    {"ß": "ss", "ı": "i", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "æ": "ae", "œ": "oe", "þ": "th", "ə": "e", "’": "'"}
)


def fold(word: str) -> str:
    """In lower case and without diacritics, as children type names of other languages: "Şeyma" and "seyma" are one."""
    lower = word.lower()
    if lower.isascii():
        return lower
    decomposed = unicodedata.normalize("NFD", lower.translate(_FOLDED))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def lines(name: str) -> list[str]:
    """The lines of `<name>.txt` that are no comments."""
    text = (Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


@cache
def words(name: str) -> frozenset[str]:
    """The words of `<name>.txt`, folded, umlauts also as two letters."""
    found = {word for line in lines(name) for word in line.split()}
    spelled = {word.replace("ä", "ae").replace("ö", "oe").replace("ü", "ue") for word in found if not word.isascii()}
    return frozenset(fold(word) for word in found | spelled)
