"""One question below the meter: what comes back, and what every failure says of the bill."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

import pytest
from pydantic import SecretStr

from bench.metering import MeteringServer
from goldsmith.errors import GoldsmithError, RetryableError
from goldsmith.settings import Settings
from goldsmith.teacher.anthropic import request_body
from goldsmith.teacher.prices import Price, Usage, plan_cache, price_of
from goldsmith.teacher.provider import Failed, Provider, Reply, Request
from goldsmith.teacher.providers import open_provider
from goldsmith.teacher.refusals import retry_after_s

T = TypeVar("T")
ASKED = Request("A whale is stuck in the lift.", 300, system="Be brief.", recorded=False)


@pytest.fixture
def server() -> Iterator[MeteringServer]:
    with MeteringServer() as server:
        yield server
        server.let_go()


def anthropic(server: MeteringServer, model: str = "claude-sonnet-5-5", **settings: object) -> Provider:
    known = {"ANTHROPIC_API_KEY": SecretStr("k"), "ANTHROPIC_BASE_URL": server.url, **settings}
    return open_provider(Settings(_env_file=None, **known), "anthropic", model, recorded=False)  # type: ignore[arg-type]


def with_provider(provider: Provider, do: Callable[[Provider], Awaitable[T]]) -> T:
    async def work() -> T:
        async with aclosing(provider):
            return await do(provider)

    return asyncio.run(work())


def ask(provider: Provider, request: Request = ASKED) -> Reply:
    return with_provider(provider, lambda it: it.ask(request))


def failure(provider: Provider, request: Request = ASKED) -> Failed:
    with pytest.raises(Failed) as caught:
        ask(provider, request)
    return caught.value


def test_the_base_url_can_be_another(server: MeteringServer) -> None:
    reply = ask(anthropic(server))
    assert reply.text.startswith("A whale is stuck in the lift: ")
    assert server.statuses["200"] == 1


@pytest.mark.parametrize(("status", "why"), [("401", "key"), ("403", "key")])
def test_a_wrong_key_ends_it_at_once(server: MeteringServer, status: str, why: str) -> None:
    server.fail_next(status)
    failed = failure(anthropic(server))
    assert (failed.why, failed.billed, type(failed.error)) == (why, "no", GoldsmithError)
    assert len(server.requests) == 1


@pytest.mark.parametrize("how", ["html", "half_json", "other_shape"])
def test_what_is_no_message_is_not_asked_again_here(server: MeteringServer, how: str) -> None:
    server.fail_next(how)
    failed = failure(anthropic(server))
    assert (failed.why, failed.billed, type(failed.error)) == ("broken", "maybe", RetryableError)
    assert len(server.requests) == 1


def test_more_tokens_than_asked_for_are_no_answer_but_a_bill(server: MeteringServer) -> None:
    server.fail_next("huge")
    failed = failure(anthropic(server))
    assert "tokens; at most 300 were asked for" in failed.error.detail
    assert (failed.why, failed.billed) == ("too_long", "maybe")
    assert failed.usage is not None
    assert failed.usage.output_tokens >= 40_000
    assert float(price_of("claude-sonnet-5-5").cost(failed.usage)) == pytest.approx(server.meter.usd, abs=1e-6)


def test_an_empty_text_is_an_answer_that_says_nothing(server: MeteringServer) -> None:
    server.fail_next("empty")
    reply = ask(anthropic(server))
    assert (reply.text, reply.output_tokens) == ("", 0)


def test_a_teacher_that_never_answers_is_given_up_and_may_have_billed(server: MeteringServer) -> None:
    server.faults = {"never": 1.0}
    failed = failure(anthropic(server, teacher_timeout_s=1))
    assert (failed.why, failed.billed) == ("unreachable", "maybe")
    assert "ReadTimeout" in failed.error.detail


def test_busy_is_asked_again_as_soon_as_it_was_said_and_reserved_once(server: MeteringServer) -> None:
    server.fail_next("429", "529", "500")
    reserved: list[int] = []

    async def reserve() -> None:
        reserved.append(len(server.requests))

    reply = with_provider(anthropic(server), lambda it: it.ask(ASKED, ready=reserve))
    assert reply.text
    assert reserved == [0]
    assert len(server.requests) == 4


def test_what_ready_raises_comes_out_and_nothing_is_sent(server: MeteringServer) -> None:
    async def no_money() -> None:
        raise KeyError("no money")

    with pytest.raises(KeyError, match="no money"):
        with_provider(anthropic(server), lambda it: it.ask(ASKED, ready=no_money))
    assert not server.requests


def test_tokens_are_counted_as_the_bill_counts_them(server: MeteringServer) -> None:
    provider = anthropic(server)

    async def both(provider: Provider) -> tuple[int | None, Reply]:
        return await provider.count_tokens(ASKED), await provider.ask(ASKED)

    counted, reply = with_provider(provider, both)
    assert counted == reply.input_tokens > 0


def test_a_temperature_goes_out_under_the_version_that_takes_one(server: MeteringServer) -> None:
    assert ask(anthropic(server, "claude-sonnet-4-6"), replace(ASKED, temperature=0.5)).text


def test_marks_for_the_cache_change_neither_the_words_nor_the_identity(server: MeteringServer) -> None:
    provider = anthropic(server)
    marked = replace(ASKED, shared=8, cache="5m")
    body = request_body(provider.price, provider.model, marked)
    blocks = body["messages"][0]["content"]
    assert "".join(block["text"] for block in blocks) == ASKED.prompt
    assert [block.get("cache_control") for block in blocks] == [{"type": "ephemeral", "ttl": "5m"}, None]
    assert body["system"] == "Be brief."
    only_system = request_body(provider.price, provider.model, replace(ASKED, cache="1h"))
    assert only_system["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert provider.identity(marked) == provider.identity(ASKED) == provider.identity(replace(ASKED, recorded=True))
    assert provider.identity(replace(ASKED, max_tokens=301)) != provider.identity(ASKED)
    with_provider(provider, lambda it: it.aclose())


def test_the_cache_is_worth_it_from_the_providers_minimum_on() -> None:
    price = price_of("claude-sonnet-5-5")
    short = plan_cache(price, prefix_tokens=300, requests=4000, batch=True)
    assert (short.ttl, short.saves_usd) == (None, 0)
    assert "below 1024 the provider caches nothing" in short.why
    assert plan_cache(price, prefix_tokens=2000, requests=1, batch=False).ttl is None
    assert plan_cache(price, prefix_tokens=2000, requests=2, batch=True).ttl is None  # 2 + 0.1 is more than 2
    assert plan_cache(price, prefix_tokens=2000, requests=2, batch=False).ttl == "5m"
    long = plan_cache(price, prefix_tokens=2000, requests=4000, batch=True)
    assert long.ttl == "1h"
    plain = 4000 * price.cost(Usage(2000, 0), batch=True)
    cached = price.cost(Usage(2000, 0, cache_write_1h_tokens=2000), batch=True)
    cached += 3999 * price.cost(Usage(2000, 0, cache_read_tokens=2000), batch=True)
    assert float(long.saves_usd) == pytest.approx(float(plain - cached), rel=1e-6)


def test_the_worst_case_of_a_marked_prompt_pays_for_writing_the_cache() -> None:
    price = Price(input=1, output=10, batch=0.5, headroom=100)
    marked = price.worst_case(2000, 100, prefix_tokens=1500, cache="1h")
    assert marked == price.cost(Usage(2000, 200, cache_write_1h_tokens=1500))
    assert price.worst_case(2000, 100, prefix_tokens=1500, cache="1h", batch=True) == marked / 2
    assert price.worst_case(2000, 100, prefix_tokens=1500) == Decimal("0.004")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds
