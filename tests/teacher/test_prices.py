from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.settings import Settings
from goldsmith.teacher.anthropic import request_body
from goldsmith.teacher.prices import FRAME_TOKENS, Price, price_of

BODY = {"system": None, "prompt": "Hund", "max_tokens": 100, "temperature": None, "json_schema": None}


def test_a_price_is_per_million_tokens_and_rounded_up() -> None:
    price = Price(input=3, output=15)
    assert price.cost(1_000_000, 1_000_000) == 18
    assert price.cost(1, 0) == Decimal("0.000003")
    assert Price(input=0.1, output=0.5).cost(1, 0) == Decimal("0.000001")


def test_the_worst_case_counts_a_token_for_every_byte_and_all_of_max_tokens() -> None:
    price = Price(input=1, output=10)
    assert price.worst_case(2000, 500) == price.cost(2000 + FRAME_TOKENS, 500)
    assert price.worst_case(2000, 500) > price.cost(500, 500)


def test_the_default_teacher_and_the_rehearsal_have_prices() -> None:
    assert price_of(Settings.model_fields["teacher_model"].default).input > 0
    assert price_of("rehearsal-1") == price_of("claude-sonnet-5-5").model_copy(update={"temperature": True, "thinking": ""})


def test_an_unknown_model_is_refused_with_the_known_ones_and_the_way_to_add_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'claude-9' has no price.*claude-haiku-4-5.*GOLDSMITH_PRICES") as caught:
        price_of("claude-9")
    assert "claude-sonnet-5-5" in caught.value.errors[0]["allowed"]

    own = tmp_path / "prices.toml"
    own.write_text('["claude-9"]\ninput = 7\noutput = 8\n["claude-haiku-4-5"]\ninput = 2\noutput = 3\n')
    assert price_of("claude-9", own) == Price(input=7, output=8)
    assert price_of("claude-haiku-4-5", own).input == 2
    assert price_of("claude-sonnet-5-5", own).input == 2


@pytest.mark.parametrize("text", ["[[", '["m"]\ninput = -1\noutput = 1', '["m"]\ninput = 1\noutput = 1\ncolour = 2'])
def test_a_price_list_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(text)
    with pytest.raises(GoldsmithError, match=r"prices\.toml \(GOLDSMITH_PRICES\) cannot be read"):
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
    body = request_body(price_of(model), model=model, **BODY)  # type: ignore[arg-type]
    assert body == {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Hund"}], **extra}


def test_a_temperature_is_sent_only_to_models_that_take_one() -> None:
    warm = {**BODY, "temperature": 0.3}
    assert request_body(price_of("claude-sonnet-4-6"), model="claude-sonnet-4-6", **warm)["extra_body"] == {"temperature": 0.3}  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"temperature 0\.3: claude-sonnet-5-5 takes none"):
        request_body(price_of("claude-sonnet-5-5"), model="claude-sonnet-5-5", **warm)  # type: ignore[arg-type]


def test_a_schema_and_an_effort_share_the_output_config() -> None:
    schema = {"type": "object"}
    body = request_body(price_of("claude-opus-5-5"), model="claude-opus-5-5", **{**BODY, "json_schema": schema})  # type: ignore[arg-type]
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
