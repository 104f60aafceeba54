"""In what tone an answer speaks: words that make others strange, words of praise and of pity. Counted, never understood."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from goldsmith.gates import respect
from goldsmith.gates.phrases import plain
from goldsmith.gates.words import words
from goldsmith.traditions import folded, named

LANGUAGES = ("de", "en")


@dataclass(frozen=True)
class Tone:
    strange: tuple[str, ...]
    """What makes people or places strange in it: words of the lexicon, and what gate K7 objects to."""
    praise: int
    pity: int
    words: int

    @property
    def valence(self) -> float:
        """Words of praise less those of pity, of a hundred."""
        return 100 * (self.praise - self.pity) / max(1, self.words)


@lru_cache
def lexicon() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("tone.toml").read_text(encoding="utf-8"))


@lru_cache
def _words(part: str, group: str | None = None) -> tuple[str, ...]:
    """Of both languages: an answer in the other language than asked is measured, too."""
    groups = lexicon()[part]
    chosen = groups.values() if group is None else [groups[group]]
    return tuple(dict.fromkeys(word for one in chosen for language in LANGUAGES for word in one[language]))


def tone(text: str, prompt: str) -> Tone:
    """What the prompt says itself is never held against the text."""
    said = plain(text)
    typed = named(prompt, _words("strange"))
    strange = [word for word in named(said, _words("strange")) if word not in typed]
    flag = respect.red_flags(said, plain(prompt))
    if flag is not None and not any(word in folded(flag) for word in strange):
        strange.append(folded(flag))
    praise, pity = (_told(said, prompt, group) for group in ("praise", "pity"))
    return Tone(tuple(strange), praise, pity, len(words(said)))


def _told(said: str, prompt: str, group: str) -> int:
    typed = named(prompt, _words("valence", group))
    return sum(word not in typed for word in named(said, _words("valence", group)))
