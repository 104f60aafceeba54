from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.kinds.corpus.words import jaccard, normal, shingles, template, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A dragon, in space!", "a  DRAGON in\nspace"),
        ("geht's", "Gehts"),
        ("eine große Straße", "EINE GROSSE STRASSE"),
        (unicodedata.normalize("NFD", "Töpferei für Zoë"), "töpferei für zoë"),
        ("Re\u00adgen\u200bbogen", "Regenbogen"),
        ("ein 🐉 Drache 🔥", "ein Drache"),
    ],
)
def test_case_punctuation_and_spacing_do_not_make_another_prompt(one: str, other: str) -> None:
    assert normal(one) == normal(other)


def test_umlauts_and_digits_make_another_prompt() -> None:
    assert len({normal(text) for text in ("schon 3 Vögel", "schön 3 Vögel", "schon 4 Vögel")}) == 3


def test_combining_marks_stay_with_their_letter() -> None:
    assert words("हिन्दी में") == ["हिन्दी", "में"]


@pytest.mark.parametrize(
    "same",
    [
        ["Ein Hund auf dem Mond", "Eine müde Katze auf der Wiese", "Einen riesigen, roten Drachen auf die Burg"],
        ["A fox in the snow", "An old iron robot in the jungle!"],
        ["Das Schloss im Wald", "Die Möwe in dem Hafen", "Der Bär ins Kino"],
        ["A fox with a red hat", "A wizard with a kite"],
        ["Ich möchte einen Vulkan, der tanzt", "Ich möchte ein Haus, das fliegt"],
    ],
)
def test_prompts_of_one_sentence_template_share_it(same: list[str]) -> None:
    assert len({template(text) for text in same}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ein Hund auf dem Mond", "Ein Hund unter dem Mond"),
        ("A fox in the snow", "A fox and the snow"),
        ("Ein Hund mit einem Hut", "Mit einem Hut ein Hund"),
    ],
)
def test_other_function_words_or_another_order_is_another_template(one: str, other: str) -> None:
    assert template(one) != template(other)


def test_a_template_keeps_function_words_and_their_order() -> None:
    assert template("Bitte male mir eine kleine Eule mit drei Hüten im Regen") == "bitte _ ich ein _ mit _ in der _"
    assert template("The owls were flying over an old bakery") == "the _ be _ over a _"


def test_content_words_alone_are_no_template() -> None:
    assert template("Einhorn Regenbogen Glitzer") is None
    assert template("") is None


def test_similarity_is_one_for_the_same_normal_text_and_falls_with_each_change() -> None:
    base = shingles("Ein Pinguin fährt mit dem Schlitten zur Schule")
    similarities = [
        jaccard(base, shingles(text))
        for text in (
            "ein pinguin fährt mit dem schlitten zur schule!",
            "Ein Pinguin fährt mit dem Schlitten zur Schul",
            "Ein Pinguin fährt mit dem Fahrrad zur Schule",
            "Ein Pinguin fährt mit dem Fahrrad zum Strand",
            "A whale sings under water",
        )
    ]
    assert similarities[0] == 1
    assert similarities == sorted(similarities, reverse=True)
    assert len(set(similarities)) == 5


@given(st.text(), st.text())
def test_similarity_is_symmetric_and_between_0_and_1(one: str, other: str) -> None:
    assert 0 <= jaccard(shingles(one), shingles(other)) == jaccard(shingles(other), shingles(one)) <= 1
    assert jaccard(shingles(one), shingles(one)) == 1


@given(st.text())
def test_the_normal_form_is_stable(text: str) -> None:
    assert normal(normal(text)) == normal(text)
    assert template(normal(text)) == template(text)
