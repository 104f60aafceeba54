"""Many questions at once, but not too many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def for_each(items: Iterable[T], do: Callable[[T], Awaitable[bool]], *, concurrency: int) -> None:
    """`do` every item, in order of starting, at most `concurrency` at once, until one returns False.

    What is under way then is finished. The first exception cancels the others and is raised as it is.
    """
    waiting = iter(items)
    going_on = True

    async def one_after_the_other() -> None:
        nonlocal going_on
        while going_on and (item := next(waiting, _END)) is not _END:
            going_on = await do(item) and going_on  # type: ignore[arg-type]

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(one_after_the_other())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed


_END = object()
