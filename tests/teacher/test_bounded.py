from __future__ import annotations

import asyncio

import pytest

from goldsmith.teacher import bounded
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


def test_after_an_exception_what_is_under_way_is_finished_and_nothing_else_begins() -> None:
    """A question that is cut off would be paid for nothing."""
    done: list[int] = []

    async def do(item: int) -> bool:
        if item == 1:
            await asyncio.sleep(0)
            raise KeyError("one")
        await asyncio.sleep(0.01)
        done.append(item)
        return True

    with pytest.raises(KeyError, match="one"):
        asyncio.run(for_each(range(9), do, concurrency=3))
    assert sorted(done) == [0, 2]


def test_what_does_not_end_by_itself_is_cancelled_and_the_first_exception_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "FINISH_S", 0.01)
    cancelled: list[int] = []

    async def do(item: int) -> bool:
        if item == 1:
            await asyncio.sleep(0)
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
