from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from goldsmith import gates

INPUT = {
    "de": "Ein Roboter backt Pfannkuchen für alle Kinder der Straße.",
    "en": "Two foxes, one umbrella, and a very long bridge",
}
CONTEXT = {
    "de": "Baue die Szene aus gefaltetem Karton. Sage, wo die Schere eine scharfe Kante schneidet und wo ein Falz hochsteht.",
    "en": "Build the scene from folded card. Say where the scissors cut a sharp edge and where a crease stands up.",
}
TASK = {"de": "Schreibe einen Absatz.", "en": "Write one paragraph."}
TEXTS = tomllib.loads(Path(__file__).with_name("gates.toml").read_text(encoding="utf-8"))
GOOD: dict[str, list[str]] = TEXTS["good"]


def broken(text: str, language: str, *, typed: str | None = None, min_words: int = 10, max_words: int = 45) -> set[str]:
    checks = gates.check(
        text,
        input=INPUT[language] if typed is None else typed,
        context=CONTEXT[language],
        language=language,
        min_words=min_words,
        max_words=max_words,
        task=TASK[language],
    )
    assert list(checks) == list(gates.RULES)
    return {rule for rule, reason in checks.items() if reason is not None}


@pytest.mark.parametrize(("language", "text"), [(language, text) for language, texts in GOOD.items() for text in texts])
def test_a_good_text_breaks_no_rule(language: str, text: str) -> None:
    """Five texts in each language that every single rule lets through."""
    assert broken(text, language) == set()
    assert gates.passes(text, input=INPUT[language], context=CONTEXT[language], language=language, min_words=10, max_words=45)


MARKERS = ('wiki lang="de"', "/wiki", "WIKI", " wiki", 'wiki lang="en">Karton</wiki')
BAD: dict[str, dict[str, list[str]]] = {
    **TEXTS["bad"],
    "K12_wiki": {
        language: [text.replace(" ", f" <{marker}> ", 1) for text, marker in zip(texts, MARKERS, strict=True)]
        for language, texts in GOOD.items()
    },
    "truncated": {language: [text.rsplit(" ", 3)[0].rstrip(",;") for text in texts] for language, texts in GOOD.items()},
}


@pytest.mark.parametrize(
    ("rule", "language", "text"),
    [(rule, language, text) for rule, by_language in BAD.items() for language, texts in by_language.items() for text in texts],
)
def test_a_bad_text_breaks_its_rule(rule: str, language: str, text: str) -> None:
    """Five texts for each rule in each language."""
    assert rule in broken(text, language)


def test_there_are_five_failing_texts_for_every_rule_and_language() -> None:
    assert set(BAD) == set(gates.RULES)
    assert all(len(texts) >= 5 for by_language in BAD.values() for texts in by_language.values())
    assert all(set(by_language) == {"de", "en"} for by_language in BAD.values())


@pytest.mark.parametrize(
    ("language", "typed", "text"),
    [
        (
            "de",
            "Ein geheimnisvoller Wald",
            "Der geheimnisvolle Wald ist aus Karton, jede Kante ist scharf, und ein Falz steht in der Mitte hoch.",
        ),
        (
            "de",
            "Ich werde ein Ritter",
            "Ich werde ein Ritter: Aus Karton ist das Schild, die Kante ist scharf, und ein Falz steht hoch.",
        ),
        (
            "en",
            "I will be a knight",
            "I will be a knight: the shield is of card, its edge is sharp, and a crease is in the middle.",
        ),
        (
            "en",
            "A mysterious old door",
            "The mysterious door is old card with a sharp edge, and a crease is where the handle was.",
        ),
    ],
)
def test_what_the_child_wrote_is_not_held_against_the_text(language: str, typed: str, text: str) -> None:
    assert broken(text, language, typed=typed) == set()


def test_forms_of_a_word_count_as_the_word() -> None:
    text = "Die Äpfel fliegen an den Häusern vorbei, der Karton hat eine Kante, und der Falz ist so scharf wie die Schere."
    assert broken(text, "de", typed="Ein Apfel fliegt am Haus vorbei") == set()


def test_vocabulary_is_not_judged_across_languages() -> None:
    text = GOOD["en"][0]
    checks = gates.check(text, input=INPUT["en"], context=CONTEXT["de"], language="en", min_words=10, max_words=45)
    assert checks["K1_vocabulary"] is None


def test_the_words_of_the_task_are_no_vocabulary_of_the_context() -> None:
    def vocabulary(text: str, task: str) -> str | None:
        context = "Fold the card."
        return gates.check(text, input=INPUT["en"], context=context, language="en", min_words=5, max_words=45, task=task)[
            "K1_vocabulary"
        ]

    plain = "The two foxes walk with an umbrella over the bridge."
    assert vocabulary(plain.replace("umbrella", "umbrella of folded card"), "") is None
    assert vocabulary(plain, "") == "0 words of the context are used, 2 at least are wanted, such as fold, card"
    assert vocabulary(plain, "Write about folded card.") is None


def test_other_languages_are_left_alone() -> None:
    text = "Robot, sokaktaki bütün çocuklar için kartondan krep pişiriyor ve kenarları çok keskin."
    checks = gates.check(text, input="Robot krep pişiriyor", context="", language="tr", min_words=5, max_words=45)
    assert checks["K6_language"] is None


def test_an_empty_text_fails() -> None:
    assert {"K5_form", "truncated", "K2_content"} <= broken("", "de")


def test_the_parts_of_a_prompt_are_found_whatever_the_child_typed() -> None:
    typed = "Ein Hund\n\nContext:\nkein Kontext\n\nImportant: nein\n\nPrompt:\nnoch einer"
    prompt = f"Task:\nSchreibe.\n\nContext:\nNimm Karton.\n\nUnd eine Schere.\n\nImportant: Antworte.\n\nPrompt:\n{typed}"
    assert gates.prompt_parts(prompt, typed) == ("Schreibe.", "Nimm Karton.\n\nUnd eine Schere.")
    assert gates.prompt_parts("Mach etwas aus: Ein Hund", "Ein Hund") == ("", "")
