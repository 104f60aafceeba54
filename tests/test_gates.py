from __future__ import annotations

import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

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


def broken(
    text: str, language: str, *, typed: str | None = None, context: str | None = None, min_words: int = 10, max_words: int = 45
) -> set[str]:
    checks = gates.check(
        text,
        input=INPUT[language] if typed is None else typed,
        context=CONTEXT[language] if context is None else context,
        language=language,
        min_words=min_words,
        max_words=max_words,
        task=TASK[language],
    )
    assert list(checks) == list(gates.RULES)
    return {rule for rule, reason in checks.items() if reason is not None}


@pytest.mark.parametrize(("language", "text"), [(language, text) for language, texts in GOOD.items() for text in texts])
def test_a_good_text_breaks_no_rule(language: str, text: str) -> None:
    """Ten texts in each language that every single rule lets through."""
    assert broken(text, language) == set()
    assert gates.passes(text, input=INPUT[language], context=CONTEXT[language], language=language, min_words=10, max_words=45)


MARKERS = (
    *('wiki lang="de"', "/wiki", "WIKI", " wiki", 'wiki lang="en">Karton</wiki', 'wiki lang="de"/', "wiki\n", "wiki>x</wiki"),
    *("/ wiki ", "Wiki lang=en"),
)
BAD: dict[str, dict[str, list[str]]] = {
    **TEXTS["bad"],
    "K12_wiki": {
        language: [text.replace(" ", f" <{marker}> ", 1) for text, marker in zip(texts, MARKERS, strict=True)]
        for language, texts in GOOD.items()
    },
    "truncated": {language: [text.rsplit(" ", 3)[0].rstrip(",;") for text in texts] for language, texts in GOOD.items()},
}


@pytest.mark.parametrize(
    ("rule", "language"), [(rule, language) for rule, by_language in BAD.items() for language in by_language]
)
def test_a_bad_text_breaks_its_rule(rule: str, language: str) -> None:
    """Ten texts for each rule in each language."""
    assert [text for text in BAD[rule][language] if rule not in broken(text, language)] == []


def test_there_are_ten_texts_for_every_rule_and_language() -> None:
    assert {*BAD, "K8_bans"} == set(gates.RULES)
    every = [GOOD, TEXTS["bans"], TEXTS["allowed"], TEXTS["lengths"], *BAD.values()]
    assert all(set(by_language) == {"de", "en"} for by_language in every)
    assert all(len(set(map(str, texts))) >= 10 for by_language in every for texts in by_language.values())


@pytest.mark.parametrize("language", ["de", "en"])
def test_what_the_context_forbids_by_name_is_found_and_nothing_else(language: str) -> None:
    for context, text in TEXTS["bans"][language]:
        assert "K8_bans" in broken(text, language, context=context), (context, text)
    for context, text in TEXTS["allowed"][language]:
        assert "K8_bans" not in broken(text, language, context=context), (context, text)


def test_a_ban_is_not_held_against_what_the_child_wrote() -> None:
    context = "Build it from card. Leave out faces."
    assert "K8_bans" in broken("A card with two faces and an edge lies there.", "en", context=context)
    assert "K8_bans" not in broken("A card with two faces and an edge lies there.", "en", context=context, typed="two faces")


@pytest.mark.parametrize("language", ["de", "en"])
def test_the_length_that_a_context_names_overrules_the_jobs(language: str) -> None:
    for context, number in TEXTS["lengths"][language]:
        text = " ".join(["Karton"] * number) + "."
        assert "K5_length" in broken(text, language, context=context, min_words=1, max_words=500), context
    assert "K5_length" not in broken("word " * 7 + "end.", "en", context="Write 5 to 8 words.", min_words=20, max_words=50)


def labelled(name: str = "gates_labelled.tsv") -> list[tuple[str, set[str], str, str, str]]:
    """Language, the rules that the text breaks, input, context, text."""
    lines = (Path(__file__).parent / "data" / name).read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [
        (language, set() if rules == "-" else set(rules.split(",")), typed, context, text.replace("\\n", "\n"))
        for language, rules, typed, context, text in rows
    ]


def measured(rows: list[tuple[str, set[str], str, str, str]]) -> dict[str, tuple[float, float]]:
    """Precision and recall of every rule; printed with `-s`."""
    hits, false, missed = Counter[str](), Counter[str](), Counter[str]()
    for language, wanted, typed, context, text in rows:
        checks = gates.check(text, input=typed, context=context, language=language, min_words=4, max_words=80)
        found = {rule for rule, reason in checks.items() if reason}
        hits.update(found & wanted)
        false.update(found - wanted)
        missed.update(wanted - found)
    numbers = {}
    for rule in gates.RULES:
        precision, recall = hits[rule] / max(1, hits[rule] + false[rule]), hits[rule] / max(1, hits[rule] + missed[rule])
        print(f"{rule:16} {hits[rule] + missed[rule]:3} rows  precision {precision:.2f}  recall {recall:.2f}")
        numbers[rule] = precision, recall
    return numbers


def test_each_rule_finds_what_people_labelled() -> None:
    rows = labelled()
    assert len(rows) >= 200
    for rule, (precision, recall) in measured(rows).items():
        assert precision >= 0.95, (rule, precision)
        assert recall >= 0.95, (rule, recall)


def test_each_rule_finds_what_somebody_wrote_who_had_not_seen_the_rules() -> None:
    """What is reached now; docs/gates.md has what was reached before the rules were changed for these rows."""
    rows = labelled("gates_blind.tsv")
    assert len(rows) >= 200
    for rule, (precision, recall) in measured(rows).items():
        assert precision >= 0.9, (rule, precision)
        assert recall >= 0.9, (rule, recall)
    clean = [row for row in rows if not row[1]]
    assert len(clean) >= 50
    assert [flagged for row in clean if (flagged := _flagged(row))] == []


def test_the_rules_still_find_what_they_were_tuned_on() -> None:
    rows = labelled("gates_tuning.tsv")
    assert len(rows) > 500
    for rule, (precision, recall) in measured(rows).items():
        assert precision >= 0.9, (rule, precision)
        assert recall >= 0.9, (rule, recall)
    assert [flagged for row in rows if not row[1] and (flagged := _flagged(row))] == []


def _flagged(row: tuple[str, set[str], str, str, str]) -> list[str]:
    language, _, typed, context, text = row
    checks = gates.check(text, input=typed, context=context, language=language, min_words=4, max_words=80)
    return [reason for reason in checks.values() if reason]


def test_phrases_that_the_rules_did_not_know_when_they_were_written() -> None:
    """Rows that were made to find gaps; the gaps they found are closed, and docs/gates.md says how many there were."""
    lines = (Path(__file__).parent / "data" / "gates_phrases.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    missed, false = [], []
    for language, rule, context, text in rows:
        context = "" if context == "-" else context
        found = gates.check(text, input="", context=context, language=language, min_words=1, max_words=99)
        if rule != "-" and found[rule] is None:
            missed.append((rule, text))
        on_phrases = (
            "K3_style_of",
            "K3_artist",
            "K4_meta",
            "K7_red_flags",
            "K8_bans",
            "K9_superlatives",
            "K11_safety",
            "refusal",
            "truncated",
        )
        if rule == "-" and any(found[name] for name in on_phrases):
            false.append(text)
    assert len(rows) > 400
    assert len(missed) <= 2, missed
    assert false == []


def test_near_duplicates_are_found_whatever_their_order_and_the_first_is_kept() -> None:
    base = "The two foxes are folded card, the umbrella has a sharp edge, and the long bridge is one crease across the sheet."
    other = "A whale of clay lies in the kiln, its tail pressed on with slip, and a thumb has left a groove along its back."
    texts = [base, other, base.replace("sharp", "clean"), base.upper(), other.replace("whale", "train"), base[: len(base) // 2]]
    assert gates.near_duplicates(texts) == {2: 0, 3: 0, 4: 1}
    assert gates.near_duplicates(texts, 1.0) == {3: 0}
    assert gates.near_duplicates([]) == {}


CHANGES: tuple[Callable[[str], str], ...] = (
    str.upper,
    lambda text: text.replace(",", " –").replace(";", ","),
    lambda text: text.rstrip(".") + "!",
    lambda text: f"»{text}«",
    lambda text: text.rsplit(" ", 1)[0] + ".",
    lambda text: text.split(" ", 1)[1],
    lambda text: text.replace(".", " hier."),
    lambda text: text.replace(" ", "  ").replace(",", ""),
    lambda text: " ".join(word for number, word in enumerate(text.split()) if number != 4),
    lambda text: unicodedata.normalize("NFD", text).lower(),
)


@pytest.mark.parametrize("language", ["de", "en"])
def test_ten_texts_are_no_near_duplicates_and_ten_changed_ones_are(language: str) -> None:
    texts = GOOD[language]
    assert gates.near_duplicates(texts) == {}
    changed = [change(text) for change, text in zip(CHANGES, texts, strict=True)]
    assert len(set(changed) - set(texts)) == 10
    assert gates.near_duplicates([*texts, *changed]) == {10 + number: number for number in range(10)}


def test_near_duplicates_are_the_same_as_by_comparing_every_pair() -> None:
    random = Random(4)
    texts = [" ".join(random.choices("abcdefgh", k=random.randint(1, 9))) for _ in range(300)]

    def pairs(text: str) -> set[tuple[str, str]]:
        said = ["", *text.split(), ""]
        return set(pairwise(said))

    kept: list[int] = []
    repeats = set()
    for number, text in enumerate(texts):
        if any(len(pairs(text) & pairs(texts[k])) >= 0.7 * len(pairs(text) | pairs(texts[k])) for k in kept):
            repeats.add(number)
        else:
            kept.append(number)
    found = gates.near_duplicates(texts, 0.7)
    assert set(found) == repeats
    assert set(found.values()) <= set(kept)


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
        context = "Fold the card, score each crease, glue a tab."
        return gates.check(text, input=INPUT["en"], context=context, language="en", min_words=5, max_words=45, task=task)[
            "K1_vocabulary"
        ]

    plain = "The two foxes walk with an umbrella over the bridge."
    assert vocabulary(plain.replace("umbrella", "umbrella of folded card"), "") is None
    assert (
        vocabulary(plain, "")
        == "0 words of the context are used, 2 at least are wanted, such as fold, card, score, crease, glue, tab"
    )
    assert vocabulary(plain, "Write about folded card.") is None


def test_other_languages_are_left_alone() -> None:
    text = "Robot, sokaktaki bütün çocuklar için kartondan krep pişiriyor ve kenarları çok keskin."
    checks = gates.check(text, input="Robot krep pişiriyor", context="", language="tr", min_words=5, max_words=45)
    assert checks["K6_language"] is None


def test_an_empty_text_fails() -> None:
    assert {"K5_length", "K6_language", "K10_copy", "truncated"} <= broken("", "de")


def test_the_parts_of_a_prompt_are_found_whatever_the_child_typed() -> None:
    typed = "Ein Hund\n\nContext:\nkein Kontext\n\nImportant: nein\n\nPrompt:\nnoch einer"
    prompt = f"Task:\nSchreibe.\n\nContext:\nNimm Karton.\n\nUnd eine Schere.\n\nImportant: Antworte.\n\nPrompt:\n{typed}"
    assert gates.prompt_parts(prompt, typed) == ("Schreibe.", "Nimm Karton.\n\nUnd eine Schere.")
    assert gates.prompt_parts("Mach etwas aus: Ein Hund", "Ein Hund") == ("", "")
