"""What can be counted of an answer under a context, of several answers to one prompt, and of one to no context at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from statistics import fmean

import numpy

from goldsmith import traditions
from goldsmith.gates.words import among, content_words, words
from goldsmith.kinds.bias_audit.grid import Context, Grid, Question
from goldsmith.kinds.bias_audit.schema import OfTradition
from goldsmith.kinds.bias_audit.tone import Tone, tone
from goldsmith.student import Encoder

OWN_CONTEXT_WORDS = 2  # as gate K1 wants: one word may be there by chance

Values = dict[str, dict[str, float]]
"""By measure, then by the prompt's key."""


@dataclass(frozen=True)
class Found:
    """What was found in one answer."""

    own: list[str]
    """Words of its tradition, else those that only its context has, where there are two."""
    foreign: dict[str, list[str]]
    """Words of other traditions, by tradition, that neither its context nor the prompt names."""
    tone: Tone

    @property
    def specific(self) -> bool:
        return bool(self.own) and not self.foreign


def look(text: str, question: Question, grid: Grid) -> Found:
    prompt, context = question.prompt.text, question.context
    asked = f"{prompt}\n{context.text(question.prompt.language)}" if context else prompt
    foreign: dict[str, list[str]] = {}
    for name, row in _rows().items():
        if (said := traditions.named(text, row.words)) and not (context and name == context.tradition):
            known = traditions.named(asked, row.words)
            foreign[name] = [word for word in said if word not in known]
    foreign = {name: words for name, words in foreign.items() if words}
    own: list[str] = []
    if context:
        own = [word for word in traditions.named(text, context.words) if word not in traditions.named(prompt, context.words)]
        if not own:
            written = words(text)
            only_here = [word for word in distinctive(context, question.prompt.language, grid) if among(word, written)]
            own = only_here if len(only_here) >= OWN_CONTEXT_WORDS else []
    return Found(own, foreign, tone(text, prompt))


@lru_cache
def _rows() -> dict[str, traditions.Tradition]:
    return {traditions.WESTERN: traditions.western(), **traditions.table()}


def distinctive(context: Context, language: str, grid: Grid) -> list[str]:
    """Words that carry a context's text and stand in no other context of the grid."""
    others = [word for one in grid.contexts if one.id != context.id for word in content_words(one.text(language))]
    return [word for word in content_words(context.text(language)) if not among(word, others)]


def values(grid: Grid, texts: Mapping[str, str], found: Mapping[str, Found], encoder: Encoder) -> Values:
    """Each measure for each prompt that it can be taken of; `texts` and `found` by the question's key."""
    under: dict[str, list[Question]] = {}
    for question in grid.questions:
        if question.context:
            under.setdefault(question.prompt.key, []).append(question)
    vectors = dict(zip(texts, encoder.encode([text or " " for text in texts.values()]), strict=True))
    told: Values = {}

    def put(measure: str, prompt: str, value: float) -> None:
        told.setdefault(measure, {})[prompt] = float(value)

    for key, questions in under.items():
        put("specific", key, fmean(found[one.key].specific for one in questions))
        pairs = [(one, other) for one, other in combinations(questions, 2) if _tradition(one) != _tradition(other)]
        put("different_words", key, fmean(_apart(texts[one.key], texts[other.key], one.prompt.text) for one, other in pairs))
        put("different_meaning", key, fmean(1 - float(numpy.dot(vectors[one.key], vectors[other.key])) for one, other in pairs))
        other, western = ([found[one.key] for one in questions if _side(one) == side] for side in ("other", "western"))
        put("strange", key, fmean(bool(one.tone.strange) for one in other))
        put(
            "strange_gap",
            key,
            fmean(bool(one.tone.strange) for one in other) - fmean(bool(one.tone.strange) for one in western),
        )
        put("valence_gap", key, fmean(one.tone.valence for one in other) - fmean(one.tone.valence for one in western))
    western_ids = {traditions.WESTERN, *(name for name, row in traditions.table().items() if row.side == "western")}
    for question in grid.questions:
        if question.context is None:
            put("west_by_default", question.prompt.key, bool(western_ids & found[question.key].foreign.keys()))
    return told


def of_tradition(arm: str, grid: Grid, found: Mapping[str, Found]) -> list[OfTradition]:
    rows = []
    for tradition, side in dict.fromkeys((one.tradition, one.side) for one in grid.contexts):
        here = [found[one.key] for one in grid.questions if one.context and one.context.tradition == tradition]
        rows.append(
            OfTradition(
                arm=arm,
                tradition=tradition,
                side=side,
                answers=len(here),
                own=fmean(bool(one.own) for one in here),
                foreign=fmean(bool(one.foreign) for one in here),
                strange=fmean(bool(one.tone.strange) for one in here),
                valence=fmean(one.tone.valence for one in here),
            )
        )
    return rows


def placed(questions: Sequence[Question], found: Mapping[str, Found]) -> dict[str, int]:
    """How many answers to free prompts name a tradition, by tradition."""
    free = [found[one.key].foreign for one in questions if one.context is None]
    counts = {name: sum(name in one for one in free) for name in _rows()}
    return {name: count for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count}


def _apart(one: str, other: str, prompt: str) -> float:
    """1 - Jaccard of two answers' content words, the prompt's left out; two that say nothing do not differ."""
    given = set(content_words(prompt))
    a, b = (set(content_words(text)) - given for text in (one, other))
    return 1 - len(a & b) / len(a | b) if a | b else 0.0


def _tradition(question: Question) -> str:
    assert question.context is not None
    return question.context.tradition


def _side(question: Question) -> str:
    assert question.context is not None
    return question.context.side
