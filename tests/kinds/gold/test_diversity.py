from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from goldsmith import traditions
from goldsmith.datasets import Example, Message
from goldsmith.kinds.gold.diversity import anti_default, contrast, report, summary


def row(output: str, *, input: str = "a garden", config_id: str = "loom", language: str = "en") -> Example:
    return Example(
        split="train",
        messages=[Message(role="user", content=input), Message(role="assistant", content=output)],
        config_id=config_id,
        context_lang=language,
        context_sha256="0" * 64,
        template_version="1",
        input=input,
        language=language,
        group=input,
        source="run",
    )


def test_contrast_is_none_of_one_context_zero_of_equal_and_one_of_wholly_different_answers() -> None:
    assert contrast([row("Yarn crosses the garden.")]) is None
    same = [row("Yarn crosses the garden."), row("Yarn crosses the garden.", config_id="kiln")]
    assert contrast(same) == 0
    assert contrast([same[0], row("Glaze covers a garden.", config_id="kiln")]) == 1
    assert contrast([same[0], row("Yarn holds the garden.", config_id="kiln")]) == pytest.approx(2 / 3)


def test_the_same_input_twice_under_one_context_is_no_contrast() -> None:
    assert contrast([row("Yarn crosses."), row("A knot holds.")]) is None


def placeless(outputs: Sequence[str]) -> list[Example]:
    return [row(text, input=f"a garden {number}") for number, text in enumerate(outputs)]


def test_answers_that_go_west_unasked_fail_the_anti_default_test() -> None:
    rows = placeless(["A castle stands in the garden."] * 6 + ["A hose lies in the garden."] * 24)
    found = anti_default(rows)
    assert (found.rows, found.placed, found.passed) == (30, {"western": 6}, False)


def test_answers_that_stay_where_the_prompt_was_pass_it() -> None:
    found = anti_default(placeless(["A hose lies in the garden."] * 30))
    assert (found.placed, found.passed) == ({}, True)


def test_many_places_in_like_numbers_pass_it_too() -> None:
    named = ["A castle stands there."] * 4 + ["A bandura hums there."] * 4 + ["A gamelan rings there."] * 4
    assert anti_default(placeless(named + ["A hose lies there."] * 10)).passed is True


def test_a_few_rows_say_nothing_and_prompts_with_a_place_are_not_counted() -> None:
    assert anti_default(placeless(["A castle stands there."] * 5)).passed is None
    asked = [row("A bandura hums.", input="a bandura in Lviv") for _ in range(30)]
    assert anti_default(asked).rows == 0


def test_the_report_is_by_config_language_and_tradition() -> None:
    rows = [
        row("Yarn crosses the garden.", input="a bandura"),
        row("A bandura in yarn.", input="a bandura"),
        row("Garn quert den Garten.", language="de"),
    ]
    told = report(rows, traditions.table())
    json.dumps(told)
    assert [(part["config_id"], part["language"], part["rows"]) for part in told["by_config"]] == [
        ("loom", "de", 1),
        ("loom", "en", 2),
    ]
    assert told["traditions"]["ukrainian"] == {"inputs": 2, "outputs": 1}
    assert set(told["traditions"]) == {*traditions.table(), "western"}
    assert told["by_config"][0]["distinct_1"] == 1
    assert summary(rows)["traditions"] == 1


def test_a_table_of_ones_own_can_be_given() -> None:
    rows = placeless(["A hose lies there."] * 25)
    assert anti_default(rows, lambda text: ["hoses"] if "hose" in text else []).passed is False
