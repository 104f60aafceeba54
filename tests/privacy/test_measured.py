from __future__ import annotations

import sys
from pathlib import Path

import pytest

from goldsmith.privacy import find
from goldsmith.privacy.lists.vocabulary import is_word
from tests.privacy.measure import Measured, measure, unlabelled

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def measured() -> Measured:
    return measure(DATA / "privacy.txt")


def test_enough_is_found_of_what_somebody_else_labelled(measured: Measured) -> None:
    assert measured.labelled.total() + measured.clean >= 300
    assert measured.recall("name") >= 0.9, measured.missed
    assert measured.recall(*measured.structured) >= 0.98, measured.missed


def test_prompts_are_left_for_training(measured: Measured) -> None:
    assert len(measured.wrong) / measured.clean <= 0.05, measured.wrong


def test_the_rules_still_find_what_they_were_tuned_on() -> None:
    tuned = measure(DATA / "privacy_tuning.txt")
    assert tuned.recall(*tuned.structured) >= 0.99, tuned.missed
    assert tuned.recall("name") >= 0.97, tuned.missed
    assert len(tuned.wrong) / tuned.clean <= 0.01, tuned.wrong


def test_the_vocabulary_knows_words_and_what_is_made_of_them() -> None:
    assert all(is_word(word) for word in ("Einhorn", "laufen", "mushroom", "Regenbogenfisch", "Keksdrache"))
    assert not any(is_word(word) for word in ("Kajetan", "Xhqwz", "Zschoche"))


def test_the_glance_loses_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for file in ("privacy.txt", "privacy_tuning.txt") for line in (DATA / file).read_text("utf-8").splitlines()]
    texts = [unlabelled(line)[0] for line in lines if not line.startswith("#")]
    texts += ["\n".join(texts[place : place + 9]) for place in range(0, len(texts), 9)]  # longer than what a child types
    quick = [find(text) for text in texts]
    monkeypatch.setattr(sys.modules["goldsmith.privacy.names"], "worth_a_look", lambda text: True)
    assert [find(text) for text in texts] == quick
