from __future__ import annotations

import pytest

from goldsmith.language import language_of
from goldsmith.traditions import recognised, table

NAMED = """
ukrainian yoruba gamelan arabic jewish franconian african_american romani japanese korean hindustani tuvan
aboriginal_australian flamenco electronic
"""


def test_the_fifteen_of_the_mission_are_there_and_more() -> None:
    assert set(NAMED.split()) <= set(table())
    assert len(table()) > 15
    assert all({"de", "en"} <= set(row.name) and {"de", "en"} <= set(row.things) for row in table().values())


@pytest.mark.parametrize("tradition", table())
def test_what_a_tradition_suggests_is_recognised_as_it_alone_and_in_its_language(tradition: str) -> None:
    for language, things in table()[tradition].things.items():
        for thing in things:
            assert recognised(thing) == [tradition], thing
            assert language_of(thing) == language, thing


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Oma malt ukrainische Ostereier", ["ukrainian"]),
        ("ein GAMELANORCHESTER im Schwimmbad", ["gamelan"]),
        ("Yorùbá drummers and a flamenco dancer", ["yoruba", "flamenco"]),
        ("eine jüdische Hochzeit mit Klezmermusik", ["jewish"]),
        ("African–American quilts", ["african_american"]),
        ("Sinti und Roma feiern", ["romani"]),
        ("fraenkisch oder fränkisches Bier", ["franconian"]),
        ("Koreanischer Papierdrachen", ["korean"]),
        ("techno im keller", ["electronic"]),
        ("a nordindischer Tanz", ["hindustani"]),
        ("a beautiful landscape", []),
        ("Programmieren in Java, Romania, zehn Schweizer Franken", []),
        ("my brother is romantic and plays on the balcony", []),
        ("a turkey, a soul and a coat", []),
    ],
)
def test_words_are_found_in_both_languages_and_false_friends_are_not(text: str, found: list[str]) -> None:
    assert recognised(text) == found


def test_more_traditions_and_more_words_can_be_given() -> None:
    text = "Ein Alphorn und ein Fandango"
    assert recognised(text) == []
    assert recognised(text, {"alpine": ["alphorn*"], "flamenco": ["fandango"]}) == ["flamenco", "alpine"]
