"""The jobs of a run, by what they are to it: submitted once, waited for without a worker, ended together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from goldsmith.context import JobContext
from goldsmith.errors import GoldsmithError, Requeue
from goldsmith.job import FINAL, Job

LONGEST_WAIT_S = 30.0  # the end of a job wakes the run early; in between it only says how far the others are
SHOWN = 3  # running jobs in one message

# Share of the whole, a guess: training takes the day, and only its own log knows how long.
SHARES = {"sessions": 2, "rules": 15, "cluster": 4, "gap": 6, "pairs": 20, "adapters": 41, "router": 2, "ablation": 10}


class StepFailed(GoldsmithError):
    title = "A job of it did not complete"


class Steps:
    def __init__(self, ctx: JobContext) -> None:
        self._ctx = ctx
        self.jobs: dict[str, Job] = {}
        """By key, in the order in which they were submitted."""
        self._may_fail: set[str] = set()
        self._stages: dict[str, list[str]] = {}

    def start(self, key: str, body: Mapping[str, Any], stage: str | None = None, *, may_fail: bool = False) -> Job:
        """Submit it, or find it again; its state is that of now. One that `may_fail` is waited for, and its end looked at by
        whoever submitted it."""
        if may_fail:
            self._may_fail.add(key)
        job = self._ctx.child(self._ctx.submit(body, key))
        self.jobs[key] = job
        self._stages.setdefault(stage or key, []).append(key)
        return job

    def result(self, key: str) -> dict[str, Any]:
        """Of a job that `settle` has let pass and that may not fail."""
        result = self.jobs[key].result
        assert result is not None, f"{key} has completed"
        return result

    def settle(self, *keys: str) -> None:
        """Return when these have ended. Raises `StepFailed` with the cause of the first that had to complete and did not, after it
        has asked the others to stop; `Requeue` while one is under way."""
        wanted = {key: self.jobs[key] for key in keys or self.jobs}
        ended_badly = (
            job for key, job in wanted.items() if key not in self._may_fail and job.status in ("failed", "cancelled")
        )
        if bad := next(ended_badly, None):
            for job in self.jobs.values():
                if job.status not in FINAL:
                    self._ctx.cancel_child(job.id)
            raise _failed(next(key for key, job in self.jobs.items() if job is bad), bad)
        under_way = [job for job in wanted.values() if job.status not in FINAL]
        if under_way:
            self.wait(under_way)

    def wait(self, under_way: Iterable[Job]) -> None:
        """Say how far these are, and raise `Requeue`: longer the longer the newest of them has been there."""
        jobs = list(under_way)
        message = "; ".join(self._told(job) for job in jobs[:SHOWN]) + (
            f"; {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else ""
        )
        self._ctx.progress(self.percent(), message)
        age = (datetime.now(UTC) - max(job.started_at or job.created_at for job in jobs)).total_seconds()
        raise Requeue(min(LONGEST_WAIT_S, max(1.0, age / 10)), message)

    def percent(self) -> float:
        found = 0.0
        for stage, share in SHARES.items():
            jobs = [self.jobs[key] for key in self._stages.get(stage, [])]
            found += share * sum(job.progress for job in jobs) / max(1, len(jobs)) / 100
        return min(99.0, found)

    def _told(self, job: Job) -> str:
        key = next(key for key, one in self.jobs.items() if one is job)
        return f"{key} {job.progress:.0f} %: {job.message}" if job.status == "running" else f"{key}: {job.status}"


def _failed(key: str, job: Job) -> StepFailed:
    cause = job.error or {}
    said = cause.get("detail") or job.message
    how = f"failed: {said}" if job.status == "failed" else "was cancelled"
    return StepFailed(f"{key} ({job.ref}) {how}"[:2000], job=job.ref, step=key, cause=cause.get("title"))
