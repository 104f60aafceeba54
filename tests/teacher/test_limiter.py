"""The limiter itself: one for all processes through a real Valkey, and one of its own when there is none."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest
import redis

from goldsmith.teacher.limiter import Limiter
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
