from __future__ import annotations

import asyncio

import pytest

from goldsmith.teacher.bounded import for_each


def test_every_item_is_done_and_never_more_at_once_than_allowed() -> None:
    done: list[int] = []
    at_once: list[int] = []
    running = 0

    async def do(item: int) -> bool:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0)
        running -= 1
        done.append(item)
        return True

    asyncio.run(for_each(range(20), do, concurrency=3))
    assert sorted(done) == list(range(20))
    assert max(at_once) == 3


def test_false_ends_it_and_what_is_under_way_is_finished() -> None:
    done: list[int] = []

    async def do(item: int) -> bool:
        await asyncio.sleep(0)
        done.append(item)
        return item != 1

    asyncio.run(for_each(range(100), do, concurrency=3))
    assert {0, 1, 2} <= set(done) <= {0, 1, 2, 3}  # 3 was begun when 0 ended, before 1 said no


def test_the_first_exception_cancels_the_others_and_comes_out_as_it_is() -> None:
    cancelled: list[int] = []

    async def do(item: int) -> bool:
        if item == 1:
            raise KeyError("one")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return True

    with pytest.raises(KeyError, match="one"):
        asyncio.run(for_each(range(3), do, concurrency=3))
    assert sorted(cancelled) == [0, 2]
