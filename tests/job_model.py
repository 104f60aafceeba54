"""What a job's life should be, in plain Python without a database: the state machine's tests hold `goldsmith.jobs` to it.

Time is one word: a `run_at` is due or it is not. What readers see of waiting (`blocked_by`) is a consequence, modelled too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

FINAL = ("completed", "failed", "cancelled")
UNSTARTED = ("waiting", "scheduled", "queued")


@dataclass
class ModelJob:
    id: UUID
    kind: str
    status: str
    max_attempts: int
    priority: int
    caller: str
    parents: tuple[UUID, ...] = ()
    fate: str = "fail"
    unique_key: str | None = None
    concurrency: tuple[str, int] | None = None
    due: bool | None = None
    """None: it has no `run_at`; False: that is still to come."""
    attempt: int = 0
    failures: int = 0
    gpu_id: str | None = None
    blocked_by: str | None = None
    cancel_asked: bool = False
    submissions: int = 1
    events: list[str] = field(default_factory=lambda: ["submitted"])

    @property
    def ended(self) -> bool:
        return self.status in FINAL


class Model:
    def __init__(self, quotas: dict[str, int]) -> None:
        self.jobs: dict[UUID, ModelJob] = {}
        self.paused: set[str] = set()
        self.quotas = quotas
        """How many jobs of a caller may run at once."""

    # -- looking

    def of(self, *states: str) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.status in states]

    def running(self, fits: Callable[[ModelJob], bool]) -> int:
        return sum(fits(job) for job in self.of("running"))

    def first_status(self, parents: Iterable[UUID], fate: str, due: bool | None) -> str:
        """Where a job begins, and where a retry puts it. A parent that failed before is judged by the next rescue."""
        if any(not self.jobs[one].ended if fate == "run" else self.jobs[one].status != "completed" for one in parents):
            return "waiting"
        return "scheduled" if due is False else "queued"

    def unique(self, kind: str, key: str, window: bool) -> ModelJob | None:
        """Whom a submit with this key gets instead of a new job. `window`: completed ones are in it."""
        states = ("waiting", "scheduled", "queued", "running", *(("completed",) if window else ()))
        found = [job for job in self.of(*states) if (job.kind, job.unique_key) == (kind, key)]
        return max(found, key=lambda job: job.id) if found else None

    def holds_back(self, job: ModelJob) -> str | None:
        """Why a queued job may not start on any device; None: it may."""
        if job.kind in self.paused:
            return f"paused:{job.kind}"
        if job.concurrency and self._running_for(f"concurrency:{job.concurrency[0]}") >= job.concurrency[1]:
            return f"concurrency:{job.concurrency[0]}"
        if self._running_for(f"key:{job.caller}") >= self.quotas.get(job.caller, 1_000_000):
            return f"key:{job.caller}"
        return None

    def _running_for(self, name: str) -> int:
        what, _, value = name.partition(":")
        return {
            "gpu": lambda: self.running(lambda job: job.gpu_id == value),
            "concurrency": lambda: self.running(lambda job: bool(job.concurrency and job.concurrency[0] == value)),
            "key": lambda: self.running(lambda job: job.caller == value),
        }[what]()

    # -- changing

    def submit(self, job: ModelJob) -> None:
        self._put(job, self.first_status(job.parents, job.fate, job.due))
        self.jobs[job.id] = job

    def claim(self, job: ModelJob, gpu_id: str | None, priority: int | None) -> bool:
        """Whether this worker gets it: at most one running row for a device, a slot, and an id."""
        if job.status != "queued" or priority not in (None, job.priority):
            return False
        job.blocked_by = self.holds_back(job)
        if job.blocked_by is None and gpu_id and self._running_for(f"gpu:{gpu_id}"):
            job.blocked_by = f"gpu:{gpu_id}"
        if job.blocked_by is not None:
            return False
        job.status, job.gpu_id = "running", gpu_id
        job.attempt += 1
        job.events.append("started")
        return True

    def finish(self, job: ModelJob, outcome: str, later: bool) -> None:
        job.failures += outcome in ("failed", "retry")
        if outcome in FINAL:
            job.status = outcome
        elif job.cancel_asked:
            job.status = "cancelled"
        elif outcome == "retry" and job.failures >= job.max_attempts:
            job.status = "failed"
        else:
            job.status, job.due = "scheduled", not later
        job.events.append(job.status)
        if job.ended:
            self._judge(self._children([job.id]))
        self._let_go(self._freed(job))

    def cancel(self, jobs: Sequence[ModelJob]) -> None:
        asked = [job for job in jobs if not job.ended and not job.cancel_asked]
        for job in asked:
            job.cancel_asked = True
            if job.status == "running":
                job.events.append("cancel_requested")
            else:
                job.status = "cancelled"
                job.events.append("cancelled")
        self._judge(self._children([job.id for job in asked if job.ended]))

    def retry(self, job: ModelJob) -> None:
        """Before its first attempt `run_at` is the caller's and stays."""
        if job.attempt:
            job.due = None
        job.failures, job.cancel_asked = 0, False
        job.submissions += 1
        job.events.append("retried")
        self._put(job, self.first_status(job.parents, job.fate, job.due))

    def rescue(self, silent: Iterable[ModelJob], overtime: Iterable[ModelJob]) -> None:
        overtime = list(overtime)
        for job in {job.id: job for job in (*silent, *overtime)}.values():
            job.failures += 1
            if job.cancel_asked:
                job.status = "cancelled"
            elif job in overtime or job.failures >= job.max_attempts:
                job.status = "failed"
            else:
                self._put(job, "queued")
            job.events.append("rescued" if job.status == "queued" else job.status)
        self.wake_due()
        self._judge(self.of("waiting"))
        self._let_go(
            {job.blocked_by for job in self.of("queued") if job.blocked_by and not job.blocked_by.startswith("paused:")}
        )
        self._lift_pauses()

    def wake_due(self) -> None:
        for job in self.of("scheduled"):
            if job.due:
                self._put(job, "queued")
                job.events.append("woken")

    def pause(self, kind: str) -> None:
        self.paused.add(kind)
        for job in self.of("queued"):
            if job.kind == kind:
                job.blocked_by = f"paused:{kind}"

    def resume(self, kind: str) -> None:
        self.paused.discard(kind)
        self._lift_pauses()

    def _put(self, job: ModelJob, status: str) -> None:
        """What is queued while its kind is paused says so from the start."""
        job.status = status
        job.blocked_by = f"paused:{job.kind}" if status == "queued" and job.kind in self.paused else None

    def _lift_pauses(self) -> None:
        for job in self.of("queued"):
            if job.blocked_by == f"paused:{job.kind}" and job.kind not in self.paused:
                job.blocked_by = None

    def _children(self, parents: Sequence[UUID]) -> Iterator[ModelJob]:
        return (job for job in self.of("waiting") if set(job.parents) & set(parents))

    def _judge(self, waiting: Iterable[ModelJob]) -> None:
        """A bad parent decides at once, as chosen; otherwise all must have ended. Who ends here has children too."""
        ended = []
        for job in list(waiting):
            states = [self.jobs[one].status for one in job.parents]
            bad = "failed" in states or "cancelled" in states
            if bad and job.fate != "run":
                job.status = {"fail": "failed", "cancel": "cancelled"}[job.fate]
                job.events.append(job.status)
                ended.append(job.id)
            elif all(state in FINAL for state in states):
                self._put(job, "scheduled" if job.due is False else "queued")
                job.events.append("woken")
        if ended:
            self._judge(self._children(ended))

    def _freed(self, job: ModelJob) -> set[str | None]:
        names = {f"gpu:{job.gpu_id}" if job.gpu_id else None, f"concurrency:{job.concurrency[0]}" if job.concurrency else None}
        return names | {f"key:{job.caller}" if job.caller in self.quotas else None}

    def _let_go(self, names: Iterable[str | None]) -> None:
        """Of those that wait for a name the most urgent one that may start, no more: the others would only meet it there."""
        for name in names:
            waiting = [job for job in self.of("queued") if name and job.blocked_by == name and self._may_now(job, name)]
            if waiting:
                min(waiting, key=lambda job: (-job.priority, job.id)).blocked_by = None

    def _may_now(self, job: ModelJob, name: str) -> bool:
        running = self._running_for(name)
        if name.startswith("gpu:"):
            return running == 0
        if name.startswith("concurrency:"):
            return job.concurrency is not None and running < job.concurrency[1]
        return running < self.quotas[job.caller]
