"""Message Batches through the SDK, over real HTTP to a teacher that keeps the true bill."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from pydantic import SecretStr

from bench.metering import MeteringServer
from goldsmith.errors import GoldsmithError, InvalidInput, RetryableError
from goldsmith.settings import Settings
from goldsmith.teacher.prices import Price
from goldsmith.teacher.provider import Batch, Batches, Failed, Provider, Reply, Request
from goldsmith.teacher.providers import open_provider

T = TypeVar("T")
CONTEXT = "Task:\nRewrite the prompt.\n\nContext:\nThink of the scene as cloth on a loom. " + "The warp holds the weft. " * 200


@pytest.fixture
def server() -> Iterator[MeteringServer]:
    with MeteringServer(batch_s=0.05) as server:
        yield server


def anthropic(server: MeteringServer, model: str = "claude-sonnet-5-5") -> Provider:
    settings = Settings(_env_file=None, ANTHROPIC_API_KEY=SecretStr("k"), ANTHROPIC_BASE_URL=server.url)
    return open_provider(settings, "anthropic", model, recorded=False)


def with_provider(provider: Provider, do: Callable[[Provider], Awaitable[T]]) -> T:
    async def work() -> T:
        async with aclosing(provider):
            return await do(provider)

    return asyncio.run(work())


def asked(number: int, **more: object) -> Request:
    return replace(Request(f"A whale number {number} is in the lift.", 300, system="Be brief.", recorded=False), **more)  # type: ignore[arg-type]


def batches_of(provider: Provider) -> Batches:
    assert provider.batches is not None
    return provider.batches


async def ended(batches: Batches, batch: Batch) -> Batch:
    while batch.state != "ended":
        await asyncio.sleep(0.02)
        batch = await batches.get(batch.id)
    return batch


async def bought(provider: Provider, requests: list[tuple[str, Request]]) -> dict[str, Reply | Failed]:
    batches = batches_of(provider)
    batch = await ended(batches, await batches.create(requests))
    return {custom_id: outcome async for custom_id, outcome in batches.results(batch.id)}


def test_a_batch_answers_every_request_under_its_own_name_at_half_the_price(server: MeteringServer) -> None:
    provider = anthropic(server)
    outcomes = with_provider(provider, lambda it: bought(it, [(f"row-{n}", asked(n)) for n in range(120)]))
    assert len(outcomes) == 120
    assert list(outcomes) != sorted(outcomes, key=lambda name: int(name[4:]))  # in no order that could be relied on
    for name, outcome in outcomes.items():
        assert isinstance(outcome, Reply)
        assert f"number {name[4:]} " in outcome.text
    cost = sum(provider.price.cost(outcome.usage, batch=True) for outcome in outcomes.values() if isinstance(outcome, Reply))
    assert float(cost) == pytest.approx(server.meter.usd, abs=120e-6)  # each is rounded up to a millionth
    assert server.meter.tokens["batch_requests"] == 120


def test_what_failed_expired_or_was_cancelled_says_so_and_costs_nothing(server: MeteringServer) -> None:
    server.batches.errored = server.batches.expired = 0.3
    outcomes = with_provider(
        anthropic(server),
        lambda it: bought(it, [*((f"row-{n}", asked(n)) for n in range(60)), ("hot", asked(0, prompt="\n"))]),
    )
    refused = outcomes.pop("hot")
    assert isinstance(refused, Failed)
    assert (refused.why, refused.billed, isinstance(refused.error, RetryableError)) == ("request", "no", False)
    failed = [outcome for outcome in outcomes.values() if isinstance(outcome, Failed)]
    assert {outcome.why for outcome in failed} == {"busy", "expired"}
    assert {(outcome.billed, type(outcome.error)) for outcome in failed} == {("no", RetryableError)}
    assert server.meter.tokens["requests"] == 60 - len(failed)


def test_a_batch_that_is_cancelled_ends_and_keeps_what_was_done(server: MeteringServer) -> None:
    server.batches.takes_s = 30

    async def stop(provider: Provider) -> dict[str, Reply | Failed]:
        batches = batches_of(provider)
        batch = await batches.create([(f"row-{n}", asked(n)) for n in range(100)])  # two waves: the second waits for 15 s
        while not server.meter.tokens["requests"]:
            await asyncio.sleep(0.01)
        assert (await batches.cancel(batch.id)).state in ("canceling", "ended")
        batch = await ended(batches, batch)
        assert batch.counts["canceled"] >= 50
        return {custom_id: outcome async for custom_id, outcome in batches.results(batch.id)}

    outcomes = with_provider(anthropic(server), stop)
    assert len(outcomes) == 100
    assert sum(isinstance(outcome, Reply) for outcome in outcomes.values()) == server.meter.tokens["requests"] > 0
    assert {outcome.why for outcome in outcomes.values() if isinstance(outcome, Failed)} == {"cancelled"}


def test_a_batch_that_was_made_but_never_confirmed_is_found_again(server: MeteringServer) -> None:
    server.batches.lost_creates = 1

    async def lose(provider: Provider) -> list[Batch]:
        batches = batches_of(provider)
        with pytest.raises(Failed, match="gave no answer") as caught:
            await batches.create([("row-1", asked(1))])
        assert (caught.value.billed, caught.value.why) == ("maybe", "unreachable")
        return [batch async for batch in batches.since(datetime.now(UTC) - timedelta(minutes=1))]

    [found] = with_provider(anthropic(server), lose)
    assert found.requests == 1


def test_batches_are_listed_page_by_page_and_no_older_than_asked_for(server: MeteringServer) -> None:
    async def list_them(provider: Provider) -> tuple[list[str], list[str], list[str]]:
        batches = batches_of(provider)
        made = [(await batches.create([("row", asked(n))])) for n in range(103)]
        newest_first = [batch.id async for batch in batches.since(made[0].created_at)]
        late = [batch.id async for batch in batches.since(made[100].created_at)]
        return [batch.id for batch in made], newest_first, late

    made, newest_first, late = with_provider(anthropic(server), list_them)
    assert newest_first == made[::-1]
    assert late == made[:99:-1]


def test_a_fresh_batch_that_is_not_to_be_seen_yet_is_worth_asking_again(server: MeteringServer) -> None:
    server.batches.fresh_404 = 2

    async def look(provider: Provider) -> str:
        batches = batches_of(provider)
        batch = await batches.create([("row", asked(1))])
        for _ in range(2):
            with pytest.raises(Failed, match="not yet") as caught:
                await batches.get(batch.id)
            assert (caught.value.why, caught.value.billed) == ("not_found", "no")
            assert isinstance(caught.value.error, RetryableError)
        return (await batches.get(batch.id)).id

    assert with_provider(anthropic(server), look).startswith("msgbatch_")


def test_results_are_not_to_be_had_before_the_end(server: MeteringServer) -> None:
    server.batches.takes_s = 60

    async def too_early(provider: Provider) -> None:
        batches = batches_of(provider)
        batch = await batches.create([("row", asked(1))])
        async for _ in batches.results(batch.id):
            raise AssertionError("a result")

    with pytest.raises(Failed, match="has no results yet"):
        with_provider(anthropic(server), too_early)


def test_a_wrong_key_is_said_at_once(server: MeteringServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.batches.expires_s = 1
    provider = anthropic(server)

    def refuse(path: str) -> dict[str, str]:
        from goldsmith.teacher.rehearsal_messages import Refused

        raise Refused(401, "invalid x-api-key")

    monkeypatch.setattr(server, "admit", refuse)
    with pytest.raises(Failed, match="refused the key in ANTHROPIC_API_KEY") as caught:
        with_provider(provider, lambda it: batches_of(it).create([("row", asked(1))]))
    assert (caught.value.why, type(caught.value.error)) == ("key", GoldsmithError)


def test_portions_keep_within_what_the_provider_takes(server: MeteringServer) -> None:
    provider = anthropic(server)
    batches = batches_of(provider)
    small = Price(input=1, output=1, batch=0.5, batch_requests=40, batch_bytes=10_000)
    batches._messages.price = small  # type: ignore[attr-defined]
    requests = [(f"row-{n}", asked(n)) for n in range(100)]
    assert [len(portion) for portion in batches.portions(requests)] == [40, 40, 20]
    long = [(f"row-{n}", asked(n, prompt="x" * 3000)) for n in range(7)]
    assert [len(portion) for portion in batches.portions(long)] == [3, 3, 1]
    assert [pair for portion in batches.portions(long) for pair in portion] == long
    with pytest.raises(InvalidInput, match=r"'row-1' has 10.* bytes; a batch holds 10000"):
        list(batches.portions([("row-1", asked(1, prompt="x" * 10_000))]))
    with pytest.raises(InvalidInput, match="'a row'"):
        list(batches.portions([("a row", asked(1))]))


def test_a_marked_prefix_is_written_once_and_then_read(server: MeteringServer) -> None:
    marked = [asked(n, prompt=f"{CONTEXT}\n\nPrompt:\nA whale {n}", shared=len(CONTEXT), cache="1h") for n in range(60)]

    async def warm_then_buy(provider: Provider) -> tuple[Reply, dict[str, Reply | Failed]]:
        warmed = await provider.ask(replace(marked[0], max_tokens=0))
        return warmed, await bought(provider, [(f"row-{n}", request) for n, request in enumerate(marked)])

    provider = anthropic(server)
    warmed, outcomes = with_provider(provider, warm_then_buy)
    assert (warmed.text, warmed.output_tokens) == ("", 0)
    assert warmed.cache_write_1h_tokens > 1024
    replies = [outcome for outcome in outcomes.values() if isinstance(outcome, Reply)]
    assert {reply.cache_read_tokens for reply in replies} == {warmed.cache_write_1h_tokens}
    cost = provider.price.cost(warmed.usage) + sum(provider.price.cost(reply.usage, batch=True) for reply in replies)
    assert float(cost) == pytest.approx(server.meter.usd, abs=61e-6)


def test_a_temperature_goes_out_under_the_version_that_takes_one(server: MeteringServer) -> None:
    provider = anthropic(server, "claude-sonnet-4-6")
    outcomes = with_provider(provider, lambda it: bought(it, [("warm", asked(1, temperature=0.5)), ("cold", asked(2))]))
    assert {type(outcome) for outcome in outcomes.values()} == {Reply}


def test_a_line_of_another_request_comes_out_as_it_is(server: MeteringServer) -> None:
    server.batches.foreign = 2
    outcomes = with_provider(anthropic(server), lambda it: bought(it, [("row", asked(1))]))
    assert len(outcomes) == 3
    assert isinstance(outcomes["row"], Reply)
