"""The cultural traditions that a corpus shall cover: a table of ours, and how a text that speaks of one is recognised.

A tradition is found by its words (instruments, crafts, feasts, places, its name), in German and English. That says what a
text names, not whether it does it justice.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

TABLE = Path(__file__).with_name("traditions.toml")
WESTERN = "western"
"""The id of `western()`, which is no row of the table."""

TraditionId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,39}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[^\W_*].*$", max_length=60)]
"""A word or several, whole; one with `*` at its end stands for every word that begins so."""


Side = Literal["western", "other", "neither"]
"""Where a comparison of tones puts a tradition: with those that are mostly told as one's own, with those that are mostly told as
somebody else's, or with none of the two. A convention of such comparisons, not a fact about anybody."""


class Tradition(BaseModel):
    """One row of the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: dict[str, str] = Field(description="Language to name; `de` and `en` are always there in the table of ours.")
    words: tuple[Word, ...] = Field(min_length=1, max_length=500)
    things: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="What prompts can be about, by language.")
    side: Side = "other"


@lru_cache
def table() -> Mapping[str, Tradition]:
    """All of ours by id, in the order of the file."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {tradition: Tradition.model_validate(row) for tradition, row in rows.items()}


@lru_cache
def western() -> Tradition:
    """What texts name when nobody said where."""
    return Tradition.model_validate(tomllib.loads(TABLE.with_name("western.toml").read_text(encoding="utf-8")))


def named(text: str, words: Sequence[str]) -> list[str]:
    """Which of a text's words are among `words`, in order, each once, without case and accents."""
    return list(dict.fromkeys(match[0] for match in _pattern(tuple(words)).finditer(folded(text)))) if words else []


def recognised(text: str, more: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """The ids of the traditions that a text names, in the table's order; `more`: the words of further ones, by id, or further
    words of one that is there. Case, accents and the sort of hyphen do not count."""
    said = folded(text)
    every = {tradition: row.words for tradition, row in table().items()}
    for tradition, words in (more or {}).items():
        every[tradition] = (*every.get(tradition, ()), *words)
    return [tradition for tradition, words in every.items() if _pattern(tuple(words)).search(said)]


def own_words(row: Tradition) -> tuple[str, ...]:
    """The words of things, people's crafts and places, without those that only say what it is called: `Japanese` is a label,
    `furoshiki` is not. A word is a label when it begins like one of the row's names."""
    beginnings = {folded(name)[:3] for name in row.name.values()}
    return tuple(word for word in row.words if folded(word)[:3] not in beginnings)


@lru_cache(maxsize=512)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    forms = []
    for word in words:
        parts = re.split(r"[\s-]+", folded(word))
        forms.append(r"[\s-]+".join(re.escape(part.rstrip("*")) + (r"\w*" if part.endswith("*") else "") for part in parts))
    return re.compile(rf"(?<!\w)(?:{'|'.join(forms)})(?!\w)")


@lru_cache(maxsize=4096)  # one text is searched for the words of every tradition
def folded(text: str) -> str:
    """Without case, accents and the sort of hyphen."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return re.sub(r"[\u2010-\u2015]", "-", bare)
