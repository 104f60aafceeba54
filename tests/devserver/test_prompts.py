from __future__ import annotations

import hashlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.devserver.prompts import render
from goldsmith.errors import InvalidInput

GERMAN = "Du faltest alles aus Papier.\n\nZeige Kanten, Schatten und Klebestellen."
ENGLISH = "You fold everything out of paper.\n\nShow edges, shadows and glue."
TASK = "Describe the scene as a maker would.\nKeep every figure."
TEMPLATE = "Job:\n{{TASK_INSTRUCTION}}\n\nRules:\n{{CONTEXT}}\n\nAnswer in the language of the wish.\n\nWish:\n{{INPUT_TEXT}}"


def checkout(template: str = TEMPLATE, **contexts: str) -> Checkout:
    config = InterceptionConfig(
        config_id="papier", name={"de": "Papier"}, context=contexts or {"de": GERMAN, "en": ENGLISH}, parameters={}, meta={}
    )
    return Checkout(template=template, task=TASK, configs=[config])


def test_the_prompt_is_byte_for_byte_the_filled_template() -> None:
    rendered = render(checkout(), "papier", "de", "Ein Wal  im Aufzug\n")
    assert rendered.content.encode() == (
        b"Job:\nDescribe the scene as a maker would.\nKeep every figure.\n\n"
        b"Rules:\nDu faltest alles aus Papier.\n\nZeige Kanten, Schatten und Klebestellen.\n\n"
        b"Answer in the language of the wish.\n\n"
        b"Wish:\nEin Wal  im Aufzug\n"
    )
    assert rendered.context_lang == "de"
    assert rendered.context_sha256 == hashlib.sha256(GERMAN.encode()).hexdigest()
    assert rendered.template_version == checkout().template_version


@pytest.mark.parametrize(
    ("contexts", "language", "taken"),
    [
        ({"de": GERMAN, "en": ENGLISH}, "de", "de"),
        ({"de": GERMAN, "en": ENGLISH}, "tr", "en"),
        ({"de": GERMAN, "fr": "Plie le papier."}, "tr", "de"),
        ({"fr": "Plie le papier.", "de": GERMAN}, "und", "fr"),
    ],
)
def test_the_context_is_in_the_asked_language_else_english_else_the_first(
    contexts: dict[str, str], language: str, taken: str
) -> None:
    rendered = render(checkout(**contexts), "papier", language, "x")
    assert rendered.context_lang == taken
    assert contexts[taken] in rendered.content


@given(text=st.text() | st.sampled_from(["{{CONTEXT}}", "{{TASK_INSTRUCTION}} {{INPUT_TEXT}}", r"\1 \g<0>", "{{{CONTEXT}}}"]))
def test_what_is_typed_is_never_filled(text: str) -> None:
    assert (
        render(checkout(), "papier", "en", text).content
        == TEMPLATE[: -len("{{INPUT_TEXT}}")].replace("{{TASK_INSTRUCTION}}", TASK).replace("{{CONTEXT}}", ENGLISH) + text
    )


def test_a_context_that_contains_a_placeholder_is_never_filled() -> None:
    rendered = render(checkout(en="Never write {{INPUT_TEXT}}."), "papier", "en", "a wish")
    assert "Rules:\nNever write {{INPUT_TEXT}}.\n" in rendered.content
    assert rendered.content.count("a wish") == 1


def test_a_placeholder_that_nothing_fills_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"\{\{WIKI\}\}.*known are \{\{TASK_INSTRUCTION\}\}") as refused:
        render(checkout(TEMPLATE + "\n{{WIKI}}"), "papier", "en", "x")
    assert refused.value.errors[0]["value"] == "{{WIKI}}"


def test_an_unknown_config_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="papier"):
        render(checkout(), "stein", "en", "x")


def test_a_config_id_in_another_unicode_form_is_the_same_config() -> None:
    config = InterceptionConfig(config_id="töpferei", name={}, context={"en": ENGLISH}, parameters={}, meta={})
    known = Checkout(template=TEMPLATE, task=TASK, configs=[config])
    assert render(known, unicodedata.normalize("NFD", "töpferei"), "en", "x") == render(known, "töpferei", "en", "x")
