"""Which teacher may be asked about children's texts, and what each teacher needs to be set."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from goldsmith.errors import GoldsmithError, InvalidInput, Unavailable
from goldsmith.settings import Settings
from goldsmith.teacher.prices import eu_regions
from goldsmith.teacher.privacy import bedrock_place, is_own
from goldsmith.teacher.provider import Provider, Request
from goldsmith.teacher.providers import open_provider

CHILD = Request("Mein Hund Bello fliegt.", 100, recorded=True)
MADE_UP = Request("Ein Hund fliegt.", 100, recorded=False)


def opened(provider: str, model: str | None = None, *, recorded: bool = True, **settings: Any) -> Provider:
    known = {"ANTHROPIC_API_KEY": SecretStr("k"), "rehearsal_url": "http://127.0.0.1:9", **settings}
    return open_provider(Settings(_env_file=None, **known), provider, model, recorded=recorded)


def test_recorded_rows_do_not_leave_the_eu_unless_the_admin_allows_the_provider_by_name() -> None:
    with pytest.raises(
        InvalidInput, match=r"'anthropic' works outside the EU.*children.*GOLDSMITH_ALLOW_PROVIDERS=anthropic"
    ) as caught:
        opened("anthropic")
    assert caught.value.errors[0]["setting"] == "GOLDSMITH_ALLOW_PROVIDERS"
    assert opened("anthropic", allow_providers=["anthropic"]).name == "anthropic"
    with pytest.raises(InvalidInput, match="GOLDSMITH_ALLOW_PROVIDERS=anthropic"):
        opened("anthropic", allow_providers=["bedrock"])
    assert opened("anthropic", recorded=False).name == "anthropic"


@pytest.mark.parametrize("how", ["ask", "count_tokens", "batch"])
def test_each_row_is_looked_at_on_its_own_before_it_is_sent(how: str) -> None:
    """A job of made-up rows that smuggles in a recorded one: nothing goes onto the wire, which is not even there."""
    provider = opened("anthropic", recorded=False, ANTHROPIC_BASE_URL="http://127.0.0.1:9")
    assert provider.batches is not None
    ways: dict[str, Callable[[], Any]] = {
        "ask": lambda: provider.ask(CHILD),
        "count_tokens": lambda: provider.count_tokens(CHILD),
        "batch": lambda: provider.batches and provider.batches.create([("a", MADE_UP), ("b", CHILD)]),
    }

    async def send() -> None:
        await ways[how]()

    with pytest.raises(InvalidInput, match="GOLDSMITH_ALLOW_PROVIDERS"):
        asyncio.run(send())


def test_a_gateway_on_this_machine_does_not_make_the_provider_a_local_one() -> None:
    with pytest.raises(InvalidInput, match="GOLDSMITH_ALLOW_PROVIDERS"):
        opened("anthropic", ANTHROPIC_BASE_URL="http://127.0.0.1:4000")


@pytest.mark.parametrize(
    ("region", "model", "place"),
    [
        ("eu-central-1", "eu.anthropic.claude-sonnet-4-6", "eu"),
        ("eu-west-3", "anthropic.claude-haiku-4-5-20251001-v1:0", "eu"),
        ("eu-central-1", "global.anthropic.claude-sonnet-4-6", "outside"),
        ("eu-central-1", "us.anthropic.claude-sonnet-4-6", "outside"),
        ("us-east-1", "anthropic.claude-haiku-4-5-20251001-v1:0", "outside"),
        ("eu-west-2", "anthropic.claude-haiku-4-5-20251001-v1:0", "outside"),  # London
        ("eu-central-2", "anthropic.claude-haiku-4-5-20251001-v1:0", "outside"),  # Zurich
        ("eu-central-1", "arn:aws:bedrock:eu-central-1:1:application-inference-profile/x", "outside"),
    ],
)
def test_bedrock_is_in_the_eu_when_region_and_profile_are(region: str, model: str, place: str) -> None:
    assert bedrock_place(region, model, eu_regions())[0] == place


def test_bedrock_in_the_eu_needs_no_word_and_elsewhere_it_does(tmp_path: Path) -> None:
    assert opened("bedrock").model == "eu.anthropic.claude-sonnet-4-6"
    with pytest.raises(InvalidInput, match=r"in us-east-1, outside the EU.*GOLDSMITH_ALLOW_PROVIDERS=bedrock"):
        opened("bedrock", bedrock_region="us-east-1")
    own = tmp_path / "prices.yaml"
    own.write_text("models:\n  global.anthropic.claude-sonnet-4-6: {provider: bedrock, input: 3, output: 15}\n")
    with pytest.raises(InvalidInput, match="wherever the inference profile 'global' sends it"):
        opened("bedrock", "global.anthropic.claude-sonnet-4-6", prices=own)


def test_bedrock_without_its_extra_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "botocore" else there(name, *a))
    with pytest.raises(GoldsmithError, match=r"extra `bedrock`.*pip install 'goldsmith\[bedrock\]'"):
        opened("bedrock")


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:11434/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost:8000/v1", True),
        ("http://192.168.1.20:8000/v1", True),
        ("http://ollama:11434/v1", True),
        ("http://gpu.local:8000/v1", True),
        ("http://8.8.8.8/v1", False),
        ("https://api.example.org/v1", False),
        ("https://localhost.example.org/v1", False),
        ("https://127.0.0.1.example.org/v1", False),
    ],
)
def test_a_server_is_our_own_by_its_address(url: str, own: bool) -> None:
    assert is_own(url) is own


def test_a_model_on_our_own_machine_costs_nothing_and_may_see_everything() -> None:
    provider = opened("openai-compatible", "qwen3:32b", OLLAMA_HOST="127.0.0.1:11434")
    assert (provider.local, provider.price.input, provider.price.output) == (True, 0, 0)
    assert provider.batches is None


def test_a_model_that_the_local_server_sends_on_is_not_local(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'gpt-oss:120b-cloud' has no price"):
        opened("openai-compatible", "gpt-oss:120b-cloud", OLLAMA_HOST="127.0.0.1:11434")
    own = tmp_path / "prices.yaml"
    own.write_text("models:\n  gpt-oss:120b-cloud: {provider: openai-compatible, input: 1, output: 1}\n")
    with pytest.raises(InvalidInput, match="GOLDSMITH_ALLOW_PROVIDERS=openai-compatible"):
        opened("openai-compatible", "gpt-oss:120b-cloud", OLLAMA_HOST="127.0.0.1:11434", prices=own)


def test_a_server_elsewhere_needs_a_price_and_the_admins_word(tmp_path: Path) -> None:
    elsewhere = {"openai_compatible_url": "https://llm.example.org/v1"}
    with pytest.raises(InvalidInput, match="'qwen3:32b' has no price"):
        opened("openai-compatible", "qwen3:32b", **elsewhere)
    own = tmp_path / "prices.yaml"
    own.write_text("models:\n  qwen3:32b: {provider: openai-compatible, input: 0.2, output: 0.6}\n")
    with pytest.raises(InvalidInput, match=r"not known to be in the EU.*GOLDSMITH_ALLOW_PROVIDERS=openai-compatible"):
        opened("openai-compatible", "qwen3:32b", prices=own, **elsewhere)
    assert not opened("openai-compatible", "qwen3:32b", prices=own, recorded=False, **elsewhere).local


def test_what_is_not_set_is_named() -> None:
    with pytest.raises(Unavailable, match="set GOLDSMITH_OPENAI_COMPATIBLE_URL or OLLAMA_HOST"):
        opened("openai-compatible", "qwen3:32b")
    with pytest.raises(InvalidInput, match="say `model`, or set GOLDSMITH_OPENAI_COMPATIBLE_MODEL"):
        opened("openai-compatible", OLLAMA_HOST="127.0.0.1:11434")
    with pytest.raises(
        InvalidInput, match=r"'claude-sonnet-5-5' is not one of teacher 'bedrock'.*belongs to 'anthropic'"
    ) as caught:
        opened("bedrock", "claude-sonnet-5-5")
    assert "eu.anthropic.claude-sonnet-4-6" in caught.value.errors[0]["allowed"]
