"""What the detectors say, and the text that they look at."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from goldsmith.privacy.lists import fold

Kind = Literal["name", "email", "phone", "iban", "address", "birth_date", "card", "handle", "url"]


@dataclass(frozen=True)
class Finding:
    """One piece of personal data. `text[start:end]` of the text that was asked about shows it, a cue in front of it at times
    included; findings do not overlap."""

    kind: Kind
    span: tuple[int, int]


_DIGIT = re.compile(r"[0-9]")
WORD = re.compile(r"[^\W\d_]+")
# What normalising leaves alone, or changes one character for one: the common case, for which no offsets are needed.
_SIMPLE = frozenset(map(chr, range(128))) | frozenset(
    "ÄÖÜäöüßẞ„“”‚‘’«»–—…€§°àáâãåæçèéêëìíîïñòóôõøùúûýÿÀÁÂÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕØÙÚÛÝğĞıİşŞćčđšžĆČĐŠŽąęłńśźżĄĘŁŃŚŹŻ"
)
_SAME_LENGTH = str.maketrans({"’": "'", "‘": "'", "‚": "'", "–": "-", "—": "-"})
_hints: set[str] = set()


def hints(words: Iterable[str]) -> frozenset[str]:
    """The words, in lower case; from now on `Text.cues` has those of them that stand in a text."""
    declared = frozenset(words)
    _hints.update(declared)
    _cues_of.clear()
    return declared


class _CuesOf(dict[str, tuple[str, ...]]):
    """What stands between two spaces to the hints in it, and their folded forms. Texts repeat their words, and looking one up
    takes a hundredth of the time of finding its letters."""

    def __missing__(self, chunk: str) -> tuple[str, ...]:
        words = WORD.findall(chunk.lower())
        found = tuple(each for word in words for each in {word, fold(word)} if each in _hints)
        if len(self) > 100_000:  # some 10 MB
            self.clear()
        self[chunk] = found
        return found


_cues_of = _CuesOf()
_DASHES = "‐‑‒–—−"
# Letters that look like Latin ones; unified only in a word that mixes both scripts.
_LOOKALIKES = str.maketrans("аеорсухіјѕԁɡΑΒΕΖΗΙΚΜΝΟΡΤΥΧοАВЕКМНОРСТХУ", "aeopcyxijsdgABEZHIKMNOPTYXoABEKMHOPCTXY")


class Text:
    """A text with look-alikes unified: width, digits of other scripts, dashes, spaces; without invisible characters.

    `plain` is what detectors search; `span` translates a place in it back.
    """

    def __init__(self, original: str) -> None:
        self._offsets: list[int] | None = None
        if original.isascii():
            self.plain = original
        elif _SIMPLE.issuperset(original):
            self.plain = original.translate(_SAME_LENGTH) if any(char in original for char in "’‘‚–—") else original
        else:
            self.plain, self._offsets = _normalised(original)

    @cached_property
    def lower(self) -> str:
        """`plain` in lower case, every character at the same place."""
        lower = self.plain.lower()
        return lower if len(lower) == len(self.plain) else "".join(char.lower()[:1] for char in self.plain)

    @cached_property
    def chunks(self) -> list[str]:
        """What stands between the spaces of `plain`."""
        return self.plain.split()

    @cached_property
    def cues(self) -> frozenset[str]:
        """The `hints` among the words of `lower`: the guard that spares most texts the expensive patterns."""
        return frozenset().union(*map(_cues_of.__getitem__, self.chunks))

    @cached_property
    def has_digit(self) -> bool:
        return _DIGIT.search(self.plain) is not None

    def span(self, start: int, end: int) -> tuple[int, int]:
        if self._offsets is None:
            return start, end
        return self._offsets[start], self._offsets[end - 1] + 1 if end > start else self._offsets[start]


def _normalised(original: str) -> tuple[str, list[int]]:
    """Normalised character by character, and for each character of the result the place in the original that it came from."""
    chars: list[str] = []
    offsets: list[int] = []
    for place, char in enumerate(original):
        category = unicodedata.category(char)
        if category in ("Mn", "Me"):
            composed = unicodedata.normalize("NFC", chars[-1] + char) if chars else ""
            if len(composed) == 1:
                chars[-1] = composed
            continue  # a mark that composes with nothing, as on the keycaps of emoji, hides the character under it
        if category == "Cf":
            continue
        if char in _DASHES:
            plain = "-"
        elif category == "Zs":
            plain = " "
        elif category in ("Nd", "No") and (digit := unicodedata.digit(char, None)) is not None:
            plain = str(digit)
        else:
            plain = unicodedata.normalize("NFKC", char).translate(_SAME_LENGTH)
        chars.extend(plain)
        offsets.extend([place] * len(plain))
    return WORD.sub(_unmixed, "".join(chars)), offsets


def _unmixed(match: re.Match[str]) -> str:
    word = match[0]
    latin = sum("a" <= char.lower() <= "z" for char in word)
    return word.translate(_LOOKALIKES) if 0 < latin < len(word) else word
