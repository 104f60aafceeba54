"""The limiter itself: one for all processes through a real Valkey, and one of its own when there is none."""

from __future__ import annotations

import asyncio
import json
import time
from uuid import uuid4

import pytest
import redis
import redis.asyncio

from goldsmith.errors import GoldsmithError
from goldsmith.teacher.limiter import COMPARE_AND_SET, Limiter
from goldsmith.teacher.provider import Failed
from tests.conftest import free_port


async def ask(limiter: Limiter, gate: asyncio.Event, inside: list[int]) -> None:
    async with limiter.slot() as slot:
        inside[0] += 1
        inside[1] = max(inside)
        await gate.wait()
        slot.answered()
        inside[0] -= 1


async def settled(inside: list[int]) -> int:
    """How many are inside when no more come in."""
    before = -1
    while inside[0] != before:
        before = inside[0]
        await asyncio.sleep(0.4)  # longer than the limiter's own look
    return before


@pytest.fixture
def name() -> str:
    return f"test:{uuid4().hex}"


def test_two_processes_share_one_window(valkey_url: str, name: str) -> None:
    async def both() -> tuple[int, int]:
        one, two = Limiter(valkey_url, name), Limiter(valkey_url, name)
        gate, inside, also = asyncio.Event(), [0, 0], [0, 0]
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(ask(one, gate, inside))
                group.create_task(ask(two, gate, also))
            held = await settled(inside), await settled(also)
            gate.set()
        await one.aclose()
        await two.aclose()
        return held

    one, two = asyncio.run(both())
    assert one + two == 16
    with redis.Redis.from_url(valkey_url) as valkey:
        state = json.loads(valkey.get(f"goldsmith:teacher:{name}"))  # type: ignore[arg-type]
        assert state["window"] > 16  # it has grown with the answers
        assert 0 < valkey.ttl(f"goldsmith:teacher:{name}") <= 600  # type: ignore[operator]


def test_without_valkey_each_process_has_a_limit_of_its_own(name: str) -> None:
    async def alone() -> int:
        limiter = Limiter(f"redis://127.0.0.1:{free_port()}/0", name)
        gate, inside = asyncio.Event(), [0, 0]
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(ask(limiter, gate, inside))
            held = await settled(inside)
            gate.set()
        await limiter.aclose()
        return held

    assert asyncio.run(alone()) == 16


def test_a_question_that_is_cancelled_leaves_its_place_to_others(valkey_url: str, name: str) -> None:
    async def cancel() -> int:
        limiter = Limiter(valkey_url, name)
        gate, inside = asyncio.Event(), [0, 0]
        tasks = [asyncio.create_task(ask(limiter, gate, inside)) for _ in range(20)]
        await settled(inside)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        inside[0] = 0
        again = [asyncio.create_task(ask(limiter, gate, inside)) for _ in range(20)]
        held = await settled(inside)
        gate.set()
        await asyncio.gather(*again)
        await limiter.aclose()
        return held

    assert asyncio.run(cancel()) == 16


def test_429s_are_obeyed_without_valkey_and_what_was_known_is_shared_out(valkey_url: str, name: str) -> None:
    async def lose_it() -> tuple[float, float, int]:
        one, two = Limiter(valkey_url, name), Limiter(valkey_url, name)
        for limiter in (two, one):
            async with limiter.slot() as slot:
                await slot.turn()
                slot.heard({"anthropic-ratelimit-requests-limit": "600", "anthropic-ratelimit-requests-remaining": "9"})
                slot.answered()
        async with two.slot():
            async with one.slot():
                pass
            shared = one._shared
            assert shared is not None
            await shared.aclose()
            shared._redis = redis.asyncio.Redis(port=free_port(), retry=None)
            shared._compare_and_set = shared._redis.register_script(COMPARE_AND_SET)
            began = time.monotonic()
            async with one.slot() as slot:
                await slot.turn()
                slot.failed(Failed(GoldsmithError("slow down"), "no", why="limited", retry_after_s=0.3))
            async with one.slot() as slot:
                await slot.turn()
            waited = time.monotonic() - began
        assert one._alone is not None
        rate = one._alone.rate or 0.0
        times = one.unavailable
        await one.aclose()
        await two.aclose()
        return waited, rate, times

    waited, rate, times = asyncio.run(lose_it())
    assert waited >= 0.3
    assert 0 < rate <= 5  # half of the ten a second that both had together
    assert times == 1
