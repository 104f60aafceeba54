"""What a caller may use up: jobs in an hour, and requests in a minute.

The quota is a row in Postgres and exact. Rates are guards against floods: reads are counted in each process, writes in
Valkey for all of them; while Valkey is away writes are let through, and counted as such.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime

import redis.asyncio
import redis.exceptions

from goldsmith.db import Connection
from goldsmith.errors import TooManyRequests
from goldsmith.keys import Caller

READS_PER_MINUTE, WRITES_PER_MINUTE = 60_000, 30_000
"""Of a key, when the settings say nothing: far above what a polling browser or a nightly import sends. A guess."""

TAKE_JOBS = """
UPDATE api_keys SET hour_jobs = %(jobs)s + CASE WHEN hour_started_at > now() - interval '1 hour' THEN hour_jobs ELSE 0 END,
    hour_started_at = CASE WHEN hour_started_at > now() - interval '1 hour' THEN hour_started_at ELSE now() END
WHERE id = %(id)s AND jobs_per_hour IS NOT NULL
RETURNING jobs_per_hour, hour_jobs - %(jobs)s AS used, hour_started_at + interval '1 hour' AS free_at,
    extract(epoch FROM hour_started_at + interval '1 hour' - now())::float AS free_in_s
"""


def take_jobs(conn: Connection, caller: Caller, jobs: int = 1) -> None:
    """Count new jobs against the caller's `jobs_per_hour`, in the transaction that writes them: what is refused is undone with
    its count. The hour begins with the first job after the last hour ended. Raises `TooManyRequests`."""
    if caller.jobs_per_hour is None:
        return
    row = conn.execute(TAKE_JOBS, {"id": caller.key_id, "jobs": jobs}).fetchone()
    if row is None or row["used"] + jobs <= row["jobs_per_hour"]:
        return
    limit, used, free_at = row["jobs_per_hour"], row["used"], row["free_at"]
    assert isinstance(free_at, datetime)
    wanted = "one more" if jobs == 1 else f"{jobs} more"
    raise TooManyRequests(
        f"quota jobs_per_hour: the key {caller.name!r} may submit {limit} jobs in an hour and has submitted {used}; "
        f"{wanted} would be too many; the next hour begins at {free_at.isoformat(timespec='seconds')}",
        quota="jobs_per_hour",
        limit=limit,
        used=used,
        free_at=free_at.isoformat(),
        headers={"Retry-After": str(max(1, math.ceil(row["free_in_s"])))},
    )


@dataclass(frozen=True)
class Rate:
    """Where a caller stands after a request. `left` below 0: this one was too many."""

    limit: int
    left: int
    reset_s: int
    """Seconds until all of the limit is there again."""
    retry_s: int = 0
    """Seconds until one more request is let through, when this one was not."""

    @property
    def headers(self) -> dict[str, str]:
        found = {"RateLimit-Limit": self.limit, "RateLimit-Remaining": max(0, self.left), "RateLimit-Reset": self.reset_s}
        return {name: str(value) for name, value in found.items()}


class Buckets:
    """Token buckets in this process: a minute's worth at once, then as it refills. One for each name."""

    KEPT = 10_000

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> Rate:
        now, per_s = time.monotonic(), self.per_minute / 60
        left, at = self._buckets.get(name, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - at) * per_s) - 1
        if name not in self._buckets and len(self._buckets) >= self.KEPT:
            self._forget_full(now)
        if left < 0:
            self._buckets[name] = (left + 1, now)
            return Rate(self.per_minute, -1, self._seconds(self.per_minute - left - 1), self._seconds(-left))
        self._buckets[name] = (left, now)
        return Rate(self.per_minute, int(left), self._seconds(self.per_minute - left))

    def _seconds(self, tokens: float) -> int:
        return max(1, math.ceil(tokens * 60 / self.per_minute))

    def _forget_full(self, now: float) -> None:
        """Those that are full again say nothing; if none is, all start anew rather than fill the memory."""
        kept = {name: (left, at) for name, (left, at) in self._buckets.items() if now - at < 60}
        self._buckets = kept if len(kept) < self.KEPT else {}


class Windows:
    """A minute from a caller's first write on, counted in Valkey for all processes. One round trip for each write."""

    # a window without an end would shut a caller out for good: should the expiry be missing, it is set again
    COUNT = """
    local taken = redis.call('INCR', KEYS[1])
    local left = redis.call('PTTL', KEYS[1])
    if left < 0 then
        redis.call('PEXPIRE', KEYS[1], 60000)
        left = 60000
    end
    return {taken, left}
    """
    TIMEOUT_S = 0.25
    PAUSE_S = 5.0
    AWAY = (redis.exceptions.RedisError, OSError)

    def __init__(self, per_minute: int, broker_url: str) -> None:
        self.per_minute = per_minute
        self._redis = redis.asyncio.Redis.from_url(
            broker_url, socket_timeout=self.TIMEOUT_S, socket_connect_timeout=self.TIMEOUT_S, retry=None
        )
        self._paused_until = 0.0

    async def take(self, name: str) -> Rate | None:
        """None: Valkey does not answer, or did not within the last seconds; the write is let through."""
        if time.monotonic() < self._paused_until:
            return None
        try:
            taken, left_ms = await self._redis.eval(self.COUNT, 1, f"goldsmith:writes:{name}")
        except self.AWAY:
            self._paused_until = time.monotonic() + self.PAUSE_S
            return None
        seconds = max(1, math.ceil(int(left_ms) / 1000))
        return Rate(self.per_minute, max(-1, self.per_minute - int(taken)), seconds, seconds)

    async def close(self) -> None:
        await self._redis.aclose()
