from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.settings import Settings
from goldsmith.teacher.anthropic import request_body
from goldsmith.teacher.prices import Price, Usage, price_of
from goldsmith.teacher.provider import Request

ASKED = Request("Hund", 100)


def test_a_price_is_per_million_tokens_and_rounded_up() -> None:
    price = Price(input=3, output=15)
    assert price.cost(Usage(1_000_000, 1_000_000)) == 18
    assert price.cost(Usage(1, 0)) == Decimal("0.000003")
    assert Price(input=0.1, output=0.5).cost(Usage(1, 0)) == Decimal("0.000001")


def test_the_worst_case_is_all_of_the_input_and_all_of_max_tokens() -> None:
    price = Price(input=1, output=10, headroom=50)
    assert price.worst_case(2000, 500) == price.cost(Usage(2000, 550))


def test_the_default_teacher_and_the_rehearsal_have_prices() -> None:
    assert price_of(Settings.model_fields["teacher_model"].default).input > 0
    assert price_of("rehearsal-1") == price_of("claude-sonnet-5-5").model_copy(
        update={"provider": "rehearsal", "temperature": True, "thinking": ""}
    )


def test_an_unknown_model_is_refused_with_the_known_ones_and_the_way_to_add_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'claude-9' has no price.*claude-haiku-4-5.*GOLDSMITH_PRICES") as caught:
        price_of("claude-9")
    assert "claude-sonnet-5-5" in caught.value.errors[0]["allowed"]

    own = tmp_path / "prices.yaml"
    own.write_text("models:\n  claude-9: {input: 7, output: 8}\n  claude-haiku-4-5: {input: 2}\n")
    assert price_of("claude-9", own) == Price(input=7, output=8, batch=0.5)
    assert price_of("claude-haiku-4-5", own) == price_of("claude-haiku-4-5").model_copy(update={"input": 2})
    assert price_of("claude-sonnet-5-5", own).input == 2


@pytest.mark.parametrize(
    "text", ["{", "- 1", "models: [1]", "models: {m: {input: -1, output: 1}}", "models: {m: {input: 1, output: 1, colour: 2}}"]
)
def test_a_price_list_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    own = tmp_path / "prices.yaml"
    own.write_text(text)
    with pytest.raises(GoldsmithError, match=r"prices\.yaml \(GOLDSMITH_PRICES\) cannot be read"):
        price_of("m", own)


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        ("claude-sonnet-4-6", {}),
        ("claude-haiku-5-5", {"thinking": {"type": "disabled"}}),
        ("claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}),
        ("claude-opus-5-5", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}, "max_tokens": 4196}),
    ],
)
def test_each_model_is_asked_to_think_as_little_as_it_can(model: str, extra: dict[str, object]) -> None:
    body = request_body(price_of(model), model, ASKED)
    assert body == {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Hund"}], **extra}


def test_a_temperature_is_sent_only_to_models_that_take_one() -> None:
    warm = replace(ASKED, temperature=0.3)
    assert request_body(price_of("claude-sonnet-4-6"), "claude-sonnet-4-6", warm)["temperature"] == 0.3
    with pytest.raises(InvalidInput, match=r"temperature 0\.3: claude-sonnet-5-5 takes none"):
        request_body(price_of("claude-sonnet-5-5"), "claude-sonnet-5-5", warm)


def test_top_p_says_alone_what_it_says_with_a_temperature_of_one() -> None:
    price, model = price_of("claude-sonnet-4-6"), "claude-sonnet-4-6"
    both = request_body(price, model, replace(ASKED, temperature=1.0, top_p=0.9))
    assert (both["top_p"], "temperature" in both) == (0.9, False)
    assert request_body(price, model, replace(ASKED, top_p=0.9)) == both
    with pytest.raises(InvalidInput, match=r"temperature 0\.5 with top_p 0\.9"):
        request_body(price, model, replace(ASKED, temperature=0.5, top_p=0.9))
    with pytest.raises(InvalidInput, match=r"top_p 0\.9: claude-sonnet-5-5 takes none"):
        request_body(price_of("claude-sonnet-5-5"), "claude-sonnet-5-5", replace(ASKED, top_p=0.9))


def test_a_schema_and_an_effort_share_the_output_config() -> None:
    schema = {"type": "object"}
    body = request_body(price_of("claude-opus-5-5"), "claude-opus-5-5", replace(ASKED, json_schema=schema))
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
