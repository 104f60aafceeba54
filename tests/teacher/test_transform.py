"""The written rules on the prompts of the example workshop's contexts, judged by the gates that judge every teacher."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from goldsmith import gates
from goldsmith.devserver.checkout import Checkout, read_checkout
from goldsmith.devserver.prompts import render
from goldsmith.teacher import transform
from goldsmith.teacher.transform import REJECTED

WHO = {
    "de": ["Ein Wal", "Meine Oma", "Der Briefkasten", "Die Katze", "Ein Pinguin", "Unser Bus"],
    "en": ["A whale", "My grandpa", "The mailbox", "A cat", "Some penguin", "Our bus"],
}
DOES = {
    "de": [
        "tanzt auf dem Dach der Schule",
        "backt Pfannkuchen für den Mond",
        "schläft im Regal",
        "spielt mit einem Fahrrad",
        "fliegt",
    ],
    "en": [
        "dances on the roof of the school",
        "bakes a cake for the moon",
        "sleeps on the shelf",
        "plays with a bike",
        "flies away",
    ],
}


@pytest.fixture(scope="module")
def checkout() -> Checkout:
    return read_checkout(Path("examples/workshop"))[0]


def rows(checkout: Checkout) -> list[tuple[str, str, str, str]]:
    """(prompt, input, language, config) for every config."""
    return [
        (render(checkout, config.config_id, language, typed).content, typed, language, config.config_id)
        for config in checkout.configs
        for language in ("de", "en")
        for typed in (f"{who} {does}." for who, does in product(WHO[language], DOES[language]))
    ]


def broken(text: str, prompt: str, typed: str, language: str) -> list[str]:
    task, context = gates.prompt_parts(prompt, typed)
    checks = gates.check(text, input=typed, context=context, language=language, min_words=25, max_words=45, task=task)
    return [rule for rule, reason in checks.items() if reason]


def test_one_first_answer_in_five_breaks_a_rule_and_most_repairs_do_not(checkout: Checkout) -> None:
    first: Counter[str] = Counter()
    failed = repaired = 0
    for prompt, typed, language, _ in rows(checkout):
        answer = transform.answer(prompt)
        rules = broken(answer, prompt, typed, language)
        first.update(rules)
        if rules:
            failed += 1
            repaired += not broken(
                transform.answer(f"{prompt}{REJECTED}{answer}\n\nReasons:\n- {rules}"), prompt, typed, language
            )
    assert 0.15 < failed / len(rows(checkout)) < 0.25
    assert 0.6 < repaired / failed < 1
    assert {"K3_style_of", "K4_meta", "K5_plain_text", "K6_language", "K10_copy", "truncated"} <= set(first)


def test_the_answer_keeps_the_childs_words_and_uses_the_frames_of_its_context(checkout: Checkout) -> None:
    good = [
        (transform.answer(prompt), typed, config_id)
        for prompt, typed, language, config_id in rows(checkout)
        if not broken(transform.answer(prompt), prompt, typed, language)
    ]
    assert all(answer.startswith(f"{typed.removesuffix('.')}: ") for answer, typed, _ in good)
    frames = Counter((config_id, answer.partition(": ")[2]) for answer, _, config_id in good)
    assert len(frames) == len(checkout.configs) * 2 * 2  # two frames a config and language, none shared


def test_the_same_prompt_gets_the_same_answer(checkout: Checkout) -> None:
    prompt = rows(checkout)[0][0]
    assert transform.answer(prompt) == transform.answer(prompt)


@pytest.mark.parametrize(
    ("typed", "subject"),
    [
        ("Lieber Computer, zeig mir eine Burg aus Matratzen.", "Eine Burg aus Matratzen"),
        ("Male mir den Wald, in dem die Pilze leuchten.", "Der Wald, in dem die Pilze leuchten"),
        ("Ich hätte gern einen Vulkan, der Konfetti spuckt.", "Ein Vulkan, der Konfetti spuckt"),
        ("Please make a snowman who is afraid of carrots.", "A snowman who is afraid of carrots"),
        (
            "Show me the smallest train station in the world, inside a teacup!",
            "The smallest train station in the world, inside a teacup",
        ),
        ("**Oma**\n\ntanzt", "Oma tanzt"),
        ("Male", "Male"),
    ],
)
def test_the_asking_is_left_out(typed: str, subject: str) -> None:
    assert transform.subject(typed) == subject


def test_a_context_that_nobody_wrote_frames_for_lends_its_own_words() -> None:
    context = "Treat the scene as bread. Say how the dough rises, where the crust breaks, which flour dusts the basket."
    prompt = f"Task:\nWrite.\n\nContext:\n{context}\n\nImportant: Answer.\n\nPrompt:\nA tiger in the laundry"
    assert broken(transform.answer(prompt), prompt, "A tiger in the laundry", "en") == []
