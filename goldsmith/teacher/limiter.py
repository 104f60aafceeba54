"""One limiter for all workers: its state is one value in Valkey, changed by compare-and-set; while Valkey is away each process
goes on alone, with its share of what was known.

A process takes its turns for all of its questions, at most every TURN_S: a report of what ended, a grant for what waits. So the
cost does not grow with the number of questions, and a process that dies is forgotten with what it held.
"""

from __future__ import annotations

import asyncio
import copy
import json
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import uuid4

import redis.asyncio
import redis.exceptions
import structlog

from goldsmith.teacher.pace import AHEAD_S, NO_WORD_S, Grant, Report, State, move, said_by, share_of, turn
from goldsmith.teacher.provider import Failed

TURN_S = 0.01  # while no limit is known; then AHEAD_S
LOOK_EVERY_S = 0.25  # others may have made room, and Valkey must hear that we are still there
AWAY_S = 5.0  # between two tries to reach Valkey
KEEP_S = 600  # an unused limit is forgotten
TRIES = 8

# (the state as this process knew it, the new one, seconds to keep it) → {1 or 0, the state that is there now, server's time}.
COMPARE_AND_SET = """
local now = redis.call('TIME')
local at = now[1] .. '.' .. string.format('%06d', now[2])
local there = redis.call('GET', KEYS[1]) or ''
if there ~= ARGV[1] then return {0, there, at} end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return {1, ARGV[2], at}
"""

log = structlog.get_logger()


class Limiter:
    """`async with limiter.slot() as slot: await slot.turn(); …; slot.ended(…)`. Belongs to one event loop."""

    def __init__(self, broker_url: str | None, name: str) -> None:
        self._shared = _Shared(broker_url, f"goldsmith:teacher:{name}") if broker_url else None
        self._alone: State | None = None
        self._holder = uuid4().hex[:12]
        self._report = Report()
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[Slot]] = deque()
        self._woken = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._away_until = 0.0
        self._held_until = 0.0
        self.unavailable = 0
        """How often Valkey did not answer, so that this process went on alone."""

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """Wait until one more question may be asked. It is in flight until the block ends."""
        slot = await self._enter()
        try:
            yield slot
        finally:
            self._leave()

    def _leave(self) -> None:
        self._in_flight -= 1
        self._woken.set()

    async def _enter(self) -> Slot:
        waiting: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._take_turns(), name="teacher-limiter")
        self._woken.set()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():  # let through and cancelled in one breath
                self._leave()
            raise

    async def _take_turns(self) -> None:
        try:
            await self._turns()
        except Exception as error:
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_exception(error)
            self._waiting.clear()
            raise

    async def _turns(self) -> None:
        while self._waiting or self._in_flight:
            self._woken.clear()
            self._waiting = deque(waiting for waiting in self._waiting if not waiting.done())
            report, self._report = self._report, Report()
            report.in_flight = self._in_flight
            grant = await self._turn(report, len(self._waiting))
            self._let_through(grant)
            pause = AHEAD_S if 0 < grant.wait < math.inf else TURN_S
            await asyncio.sleep(pause)
            if self._waiting and grant.wait <= pause:
                continue
            try:
                async with asyncio.timeout(min(grant.wait, LOOK_EVERY_S if self._waiting else 20 * LOOK_EVERY_S)):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def _let_through(self, grant: Grant) -> None:
        now, let = time.monotonic(), 0
        while let < grant.count and self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                self._in_flight += 1
                waiting.set_result(Slot(self, now + grant.first + let * grant.step, grant.counted - let))
                let += 1

    async def _turn(self, report: Report, wanted: int) -> Grant:
        now = time.monotonic()
        if self._shared is not None and now >= self._away_until:
            try:
                grant = await self._shared.turn(self._holder, report, wanted)
            except (redis.exceptions.RedisError, OSError) as error:
                self.unavailable += 1
                self._away_until = now + AWAY_S
                log.warning("the limit of the teacher is not shared: Valkey does not answer", error=str(error))
            else:
                self._alone = None
                return grant
        if self._alone is None:
            self._alone = State() if self._shared is None else self._shared.share(self._holder)
        return turn(self._alone, now, self._holder, report, wanted)

    # -- what the slots say

    def report(self) -> Report:
        """Of what this process sees until its next turn."""
        return self._report

    def hold(self, seconds: float) -> None:
        """Nothing of this process goes for so long, what was let through included."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)

    @property
    def held_until(self) -> float:
        return self._held_until

    async def aclose(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        if self._shared is not None:
            await self._shared.aclose()


class Slot:
    """One question that was let through, and what became of it."""

    def __init__(self, limiter: Limiter, at: float, counted: float) -> None:
        self._limiter = limiter
        self._at = at
        self._counted = counted
        self._began = at

    async def turn(self) -> None:
        """Wait for the question's moment, right before it goes onto the wire; what was before is no latency of the provider."""
        while (wait := max(self._at, self._limiter.held_until) - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait)
        self._began = time.monotonic()

    def heard(self, headers: Mapping[str, str]) -> None:
        """The headers of a response, whatever its status."""
        report = self._limiter.report()
        limit, remaining = said_by(headers)
        if limit is not None:
            report.limit_per_minute = limit
        if remaining is not None:
            report.said += 1
            report.apart += remaining - self._counted

    def answered(self) -> None:
        report = self._limiter.report()
        report.accepted += 1
        report.seconds += time.monotonic() - self._began

    def failed(self, failed: Failed) -> None:
        report = self._limiter.report()
        if failed.why == "limited":
            report.limited += 1
            if failed.retry_after_s is not None:
                report.retry_after_s = max(report.retry_after_s or 0.0, failed.retry_after_s)
            self._limiter.hold(NO_WORD_S if failed.retry_after_s is None else failed.retry_after_s)
        elif failed.why == "busy":
            report.overloaded += 1


class _Shared:
    """The state in Valkey, and its clock."""

    def __init__(self, broker_url: str, key: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            broker_url, socket_timeout=0.5, socket_connect_timeout=0.5, retry=None, decode_responses=True
        )
        self._key = key
        self._compare_and_set = self._redis.register_script(COMPARE_AND_SET)
        self._there = ""
        self._known = ""
        """The newest state that was there; a server that has lost it gets it back."""
        self._ahead: float | None = None
        """Seconds that the server's clock is ahead of ours."""

    def _state(self) -> State:
        try:
            return State(**json.loads(self._known)) if self._known else State()
        except TypeError:  # of another version, with other fields
            return State()

    def share(self, holder: str) -> State:
        """For this process alone, by its own clock."""
        state = share_of(self._state(), holder)
        move(state, -(self._ahead or 0.0))
        return state

    async def turn(self, holder: str, report: Report, wanted: int) -> Grant:
        if self._ahead is None:
            await self._put("?", "")  # no state reads so: it only tells what is there, and the time
        for _ in range(TRIES):
            state = self._state()
            grant = turn(state, time.monotonic() + (self._ahead or 0.0), holder, copy.copy(report), wanted)
            if await self._put(self._there, json.dumps(state.as_json(), separators=(",", ":"))):
                return grant
        return Grant(0, TURN_S)  # others were faster each time; the report is lost, which costs nothing but knowledge

    async def _put(self, known: str, new: str) -> bool:
        done, self._there, at = await self._compare_and_set(keys=[self._key], args=[known, new, KEEP_S])
        self._known = self._there or self._known
        self._ahead = float(at) - time.monotonic()
        return bool(done)

    async def aclose(self) -> None:
        await self._redis.aclose()
