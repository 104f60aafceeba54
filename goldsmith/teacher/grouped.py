"""One transaction for many: what comes while a group is under way goes with the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
ENOUGH = 8  # wait for no more: each of them costs little by now
MOST = 500  # of one group; its transaction then takes about 30 ms


class Grouped(Generic[T, R]):
    """`await grouped(item)` gives the item's own result of `do(items)`; an exception of `do` goes to all of its group.

    A group goes at once; where `more(items)` says that others are about to come, when there are ENOUGH, or after `gather_s`. For one
    event loop. A caller that is cancelled does not take its item back: it is done all the same.
    """

    def __init__(
        self,
        do: Callable[[list[T]], Awaitable[Sequence[R]]],
        *,
        gather_s: float = 0.0,
        more: Callable[[int], bool] = lambda items: False,
    ) -> None:
        self._do = do
        self._gather_s = gather_s
        self._more = more
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._working: asyncio.Task[None] | None = None
        self._enough = asyncio.Event()

    def __call__(self, item: T) -> asyncio.Future[R]:
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if len(self._waiting) >= ENOUGH:
            self._enough.set()
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return result

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # whoever is about to come in this turn of the loop goes with the group
            if len(self._waiting) < ENOUGH and self._more(len(self._waiting)):
                self._enough.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._gather_s):
                        await self._enough.wait()
            group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            try:
                results = await self._do([item for item, _ in group])
            except BaseException as error:
                for _, waiting in group:
                    if not waiting.done():
                        waiting.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            else:
                for (_, waiting), result in zip(group, results, strict=True):
                    if not waiting.done():
                        waiting.set_result(result)
        self._working = None

    async def done(self) -> None:
        """Nothing waits any more."""
        while self._working is not None:
            await asyncio.wait([self._working])
