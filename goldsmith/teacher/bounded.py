"""Many questions at once, but not too many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
FINISH_S = 10.0  # most short answers take less; one that is cut off stays paid at its worst case


async def for_each(items: Iterable[T], do: Callable[[T], Awaitable[bool]], *, concurrency: int) -> None:
    """`do` every item, in order of starting, at most `concurrency` at once, until one returns False or raises.

    What is under way then is finished. The first exception is raised as it is; the others get `FINISH_S` to end by themselves.
    """
    waiting = iter(items)
    going_on = True
    raised: list[BaseException] = []

    async def one_after_the_other() -> None:
        nonlocal going_on
        try:
            while going_on and (item := next(waiting, _END)) is not _END:
                going_on = await do(item) and going_on  # type: ignore[arg-type]
        except Exception as error:
            going_on = False
            raised.append(error)
            raise

    tasks = [asyncio.create_task(one_after_the_other()) for _ in range(concurrency)]
    try:
        _, going = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        if going:
            await asyncio.wait(going, timeout=FINISH_S)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in [*raised, *ended]:
        if isinstance(error, BaseException):
            raise error


_END = object()
