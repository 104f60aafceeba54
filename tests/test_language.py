from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from goldsmith.language import language_of


@pytest.mark.parametrize(
    "text",
    ["Ein Haus", "rote Katze mit Hut", "Oma tanzt nicht", "Niemand weiß, warum", "DREI BÄREN UND EIN BOOT"],
)
def test_short_german_texts_are_german(text: str) -> None:
    assert language_of(text) == "de"


@pytest.mark.parametrize("text", ["a red fox", "my dog on the moon", "Robots at the beach", "WHY IS IT RAINING"])
def test_short_english_texts_are_english(text: str) -> None:
    assert language_of(text) == "en"


@pytest.mark.parametrize("text", ["", "pizza", "12 34", "你好", "Un dragon dans la forêt"])
def test_what_cannot_be_told_has_no_language(text: str) -> None:
    assert language_of(text) is None


def test_decomposed_umlauts_count_like_composed_ones() -> None:
    assert language_of(unicodedata.normalize("NFD", "Ein Bär im Öl")) == language_of("Ein Bär im Öl") == "de"


def test_very_short_inputs_are_told_as_well_as_the_documentation_says() -> None:
    lines = (Path(__file__).parent / "data" / "languages.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    right = sum(language_of(text) == language for language, text in rows if language in ("de", "en"))
    taken = sum(language_of(text) is not None for language, text in rows if language not in ("de", "en"))
    assert len(rows) == 155
    assert right >= 108
    assert taken <= 1
