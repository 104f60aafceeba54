"""Prompts of our own presets: what a teacher is asked for, and which of its answers are prompts."""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from goldsmith.kinds.corpus.prompts import Prompt
from goldsmith.kinds.corpus.schema import Preset
from goldsmith.kinds.corpus.words import words
from goldsmith.language import language_of
from goldsmith.traditions import recognised, table

AT_ONCE = 10  # prompts in a question: fewer cost more for the same system prompt, more are cut by small models
MAX_TOKENS = 1500
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"prompts": {"type": "array", "items": {"type": "string"}}},
    "required": ["prompts"],
    "additionalProperties": False,
}
LONGEST = {
    "clean_image": 40,
    "photo": 45,
    "everyday_de": 25,
    "everyday_en": 25,
    "traditions": 40,
}  # words; some more than asked
_CAMERA = re.compile(
    r"\b(?:camera\w*|kamera\w*|lens|lenses|objektiv\w*|bokeh|film|analog\w*|photo\w*|foto\w*|focus\w*|fokus\w*|blur\w*|unsch[aä]rf\w*"
    r"|unscharf\w*|vintage|retro|vignett\w*|grain\w*|polaroid\w*|kodak\w*|\d+\s?mm|35mm|depth of field|tiefenschärfe|close-up|nahaufnahme)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Draw:
    """One question. The same seed, preset and number make the same question, so that a rerun buys nothing twice."""

    preset: Preset
    number: int
    language: str
    about: tuple[str, ...]
    film: str = ""
    tradition: str = ""

    @property
    def item(self) -> str:
        return f"synthetic:{self.preset}{f'/{self.tradition}' if self.tradition else ''}/{self.number}"

    @property
    def system(self) -> str:
        text: str = data()["system"][self.preset].strip()
        return text

    @property
    def prompt(self) -> str:
        lines = [f"Language: {'German' if self.language == 'de' else 'English'}", f"Number: {len(self.about)}"]
        lines += [f"Film: {self.film}"] if self.film else []
        lines += [f"Tradition: {table()[self.tradition].name[self.language]}"] if self.tradition else []
        lines += ["About, one each, in this order; change it as you like:", *(f"- {each}" for each in self.about)]
        return "\n".join(lines)


@lru_cache
def data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("presets.toml").read_text(encoding="utf-8"))


def draw(preset: Preset, number: int, size: int, seed: int, tradition: str = "") -> Draw:
    """What question `number` of a preset (and tradition) is about."""
    chance = random.Random(f"{seed}/{preset}/{tradition}/{number}")  # noqa: S311 - reproducible on purpose
    turn = number + (list(table()).index(tradition) if tradition else 0)
    language = {"everyday_de": "de", "everyday_en": "en"}.get(preset) or ("de", "en")[turn % 2]
    about = chance.sample(data()["things"][language], size)
    if tradition:
        things = table()[tradition].things[language]
        about = [things[(number + each) % len(things)] for each in range(size)]
    places = [chance.choice(data()["places"][language]) for _ in about]
    film = chance.choice(data()["films"]["names"]) if preset == "photo" else ""
    return Draw(
        preset,
        number,
        language,
        tuple(f"{thing}, {place}" for thing, place in zip(about, places, strict=True)),
        film,
        tradition,
    )


def prompts_in(answer: str, draw: Draw) -> tuple[list[str], list[str]]:
    """The usable prompts of an answer, and for each other one the reason."""
    try:
        found = json.loads(answer)["prompts"]
        texts = [" ".join(each.split()) for each in found]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [], ["the teacher's answer is no list of prompts"]
    reasons = [_unusable(text, draw) for text in texts[: 2 * AT_ONCE]]
    usable = [text for text, reason in zip(texts, reasons, strict=False) if reason is None]
    return usable, [reason for reason in reasons if reason is not None]


def _unusable(text: str, draw: Draw) -> str | None:
    number = len(words(text))
    if not number:
        return "a made prompt is empty"
    if number > LONGEST[draw.preset]:
        return f"a made prompt has more than {LONGEST[draw.preset]} words"
    if re.search("[\0\ud800-\udfff]", text):
        return "a made prompt cannot be stored"
    if language_of(text) not in (draw.language, None):
        return "a made prompt is in another language than asked"
    if draw.film and not text.casefold().startswith(draw.film.casefold()):
        return "a made prompt does not begin with its film"
    if draw.preset == "clean_image" and _CAMERA.search(text):
        return "a made prompt speaks of cameras or film"
    if draw.tradition and draw.tradition not in recognised(text):
        return "a made prompt does not name its tradition"
    return None


def made(text: str, draw: Draw, place: int, *, rehearsal: bool) -> Prompt:
    source = f"{draw.item}/{place}"
    return Prompt(text, draw.language, source, origin="synthetic", preset=draw.preset, rehearsal=rehearsal)


def anti_default(number: int) -> list[Prompt]:
    """Up to so many of our list, German and English in turn."""
    turns = [
        (language, text)
        for pair in zip(data()["anti_default"]["de"], data()["anti_default"]["en"], strict=True)
        for language, text in zip(("de", "en"), pair, strict=True)
    ]
    return [
        Prompt(text, language, f"synthetic:anti_default/{place}", origin="synthetic", preset="anti_default")
        for place, (language, text) in enumerate(turns[:number])
    ]


def shared_out(number: int, covered: Mapping[str, int], traditions: Iterable[str]) -> Counter[str]:
    """How many prompts each tradition gets, so that with those it has all come out as even as `number` allows."""
    have = {tradition: covered.get(tradition, 0) for tradition in traditions}
    given: Counter[str] = Counter()
    for _ in range(number):
        least = min(have, key=lambda tradition: have[tradition])  # of several the first of the table
        have[least] += 1
        given[least] += 1
    return given
