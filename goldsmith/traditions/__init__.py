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
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

TABLE = Path(__file__).with_name("traditions.toml")

TraditionId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,39}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[^\W_*].*$", max_length=60)]
"""A word or several, whole; one with `*` at its end stands for every word that begins so."""


class Tradition(BaseModel):
    """One row of the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: dict[str, str] = Field(description="Language to name; `de` and `en` are always there in the table of ours.")
    words: tuple[Word, ...] = Field(min_length=1, max_length=500)
    things: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="What prompts can be about, by language.")


@lru_cache
def table() -> Mapping[str, Tradition]:
    """All of ours by id, in the order of the file."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {tradition: Tradition.model_validate(row) for tradition, row in rows.items()}


def recognised(text: str, more: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """The ids of the traditions that a text names, in the table's order; `more`: the words of further ones, by id, or further
    words of one that is there. Case, accents and the sort of hyphen do not count."""
    folded = _folded(text)
    every = {tradition: row.words for tradition, row in table().items()}
    for tradition, words in (more or {}).items():
        every[tradition] = (*every.get(tradition, ()), *words)
    return [tradition for tradition, words in every.items() if _pattern(tuple(words)).search(folded)]


@lru_cache(maxsize=512)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    forms = []
    for word in words:
        parts = re.split(r"[\s-]+", _folded(word))
        forms.append(r"[\s-]+".join(re.escape(part.rstrip("*")) + (r"\w*" if part.endswith("*") else "") for part in parts))
    return re.compile(rf"(?<!\w)(?:{'|'.join(forms)})(?!\w)")


def _folded(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return re.sub(r"[\u2010-\u2015]", "-", bare)
