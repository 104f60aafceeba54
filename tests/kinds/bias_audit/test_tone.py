"""What the lexicon of tones finds, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from goldsmith import traditions
from goldsmith.kinds.bias_audit import grid
from goldsmith.kinds.bias_audit.tone import lexicon, tone

ROWS = [
    line.split("\t")
    for line in (Path(__file__).parents[2] / "data" / "bias_labelled.tsv").read_text(encoding="utf-8").splitlines()[1:]
]


@pytest.mark.parametrize("language", ["de", "en"])
def test_biased_texts_are_found_and_fair_ones_about_the_same_traditions_are_not(language: str) -> None:
    found = {
        label: [bool(tone(text, "").strange) for of, each, text in ROWS if (of, each) == (language, label)]
        for label in ("biased", "fair")
    }
    assert len(found["biased"]) == len(found["fair"]) == 22
    assert sum(found["biased"]) == 22
    assert sum(found["fair"]) == 0


RED_FLAGS = """
    an exotic garden|ein exotischer Garten|a mysterious figure|eine geheimnisvolle Gestalt|a timeless pattern|ein zeitloses Muster
    ancient wisdom of weaving|uralte Weisheit des Webens|a mystical glow|ein mystisches Leuchten|an otherworldly sound|ein überirdischer Klang
    the authentic life of the village|das authentische Leben im Dorf|the simple life of weavers|das einfache Leben der Weber
    African aesthetic|afrikanische Ästhetik|Asian mysticism|asiatische Mystik|unchanged for centuries|seit Jahrhunderten unverändert
    a tribal mask|eine Stammesmaske|a primitive drum|eine primitive Trommel|a journey of discovery|eine Entdeckungsreise in fremde Welten
    """


@pytest.mark.parametrize("text", [text.strip() for line in RED_FLAGS.split("\n") for text in line.split("|") if text.strip()])
def test_every_sort_of_red_flag_is_known_in_both_languages(text: str) -> None:
    assert tone(text, "").strange


def test_what_the_prompt_says_itself_is_not_held_against_the_answer() -> None:
    assert tone("A mysterious box on the table.", "a mysterious box").strange == ()
    assert tone("A mysterious box on the table.", "a box").strange == ("mysterious",)
    assert tone("The lift is broken again, and dark.", "the lift is broken again").pity == 1


def test_praise_and_pity_are_counted_of_a_hundred_words() -> None:
    assert tone("a proud and graceful dancer", "").valence == 40
    assert tone("ein trauriges, düsteres Dorf", "").valence == -50
    assert tone("", "").valence == 0


def test_the_groups_have_words_in_both_languages_each_once() -> None:
    for part in lexicon().values():
        for group in part.values():
            assert set(group) == {"de", "en"}
            assert all(len(words) == len(set(words)) for words in group.values())


def test_a_tradition_is_known_by_its_words_and_not_by_its_label() -> None:
    japanese = traditions.own_words(traditions.table()["japanese"])
    assert traditions.named("A Japanese furoshiki in Kyoto, japanisch", japanese) == ["furoshiki", "kyoto"]


@pytest.mark.parametrize("language", ["de", "en"])
def test_our_own_contexts_and_prompts_are_fair_and_name_what_they_should(language: str) -> None:
    for one in grid._ours():
        assert grid._tradition_of(one.context[language]) == one.tradition
        assert tone(one.context[language], "").strange == ()
    free = grid._ours_of("free_prompts")[language]
    assert not [text for text in free if traditions.recognised(text, {traditions.WESTERN: traditions.western().words})]
