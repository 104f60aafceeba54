"""The words of the traditions and of the presets are nobody's name: a filter that takes them would empty what they are for."""

from __future__ import annotations

from goldsmith import privacy
from goldsmith.kinds.corpus import presets
from goldsmith.traditions import table


def test_no_thing_of_a_tradition_is_a_name() -> None:
    things = [thing for tradition in table().values() for texts in tradition.things.values() for thing in texts]
    assert len(things) > 80
    assert {thing: found for thing in things if (found := privacy.find(thing))} == {}


def test_no_film_is_a_name() -> None:
    films = presets.data()["films"]["names"]
    assert {film: found for film in films if (found := privacy.find(film))} == {}
