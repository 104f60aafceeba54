"""The life of jobs against a model of it: hypothesis chooses what happens next, a real Postgres does it.

Each run tries the same sequences. `GOLDSMITH_MODEL_EXAMPLES=3000 pytest tests/test_state_machine.py` tries as many others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from goldsmith import jobs, paused
from goldsmith.db import Connection
from goldsmith.errors import Conflict, FencedOut, InvalidInput
from goldsmith.job import Job
from goldsmith.jobs import NewJob, Outcome
from tests.job_model import FINAL, UNSTARTED, Model, ModelJob

RANDOM = int(os.environ.get("GOLDSMITH_MODEL_EXAMPLES", "0"))
KINDS = ("noop", "probe")
QUOTAS = {"limited": 2}
GPUS = st.sampled_from([None, "GPU-1", "GPU-1", "GPU-1", "GPU-2"])
OUTCOMES = st.sampled_from(["completed", "cancelled", "requeue", "retry", "failed"])
PRIORITIES = st.sampled_from([0, 4, 9])
MESSAGE_PRIORITIES = st.one_of(st.none(), st.none(), PRIORITIES)
NUMBER = st.integers(0, 50)
SOME = st.lists(st.integers(0, 50), max_size=4)
"""Which jobs: counted around."""
TURNS = st.fixed_dictionaries(
    {
        "number": NUMBER,
        "gpu_id": GPUS,
        "outcome": st.one_of(st.none(), OUTCOMES),
        "later": st.sampled_from([False, False, True]),
    }
)
WISHES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "numbers": st.lists(st.integers(0, 50), max_size=2),
        "fate": st.sampled_from(["fail", "run", "cancel"]),
        "concurrency": st.sampled_from([None, None, ("c", 1), ("c", 2)]),
        "caller": st.sampled_from(["local", "limited"]),
        "unique": st.sampled_from([None, None, ("u", 0), ("u", 3600)]),
        "idempotency": st.sampled_from([None, None, None, None, None, ("i", "a"), ("i", "b"), ("j", "a")]),
        "later": st.sampled_from([False, False, False, True]),
        "max_attempts": st.integers(1, 3),
        "priority": PRIORITIES,
        "batch": st.booleans(),
    }
)

ANY_OR = {state: st.sampled_from([(state,), (state,), (state,), ()]) for state in ("queued", "running")}
BACK = st.sampled_from([0, 0, 0, 1])
WEIGHTED: list[tuple[int, str, dict[str, st.SearchStrategy[Any]]]] = [
    (2, "work", {"turns": st.lists(TURNS, min_size=2, max_size=5)}),
    (3, "claim", {"number": NUMBER, "states": ANY_OR["queued"], "gpu_id": GPUS, "priority": MESSAGE_PRIORITIES}),
    (1, "write", {"number": NUMBER, "states": ANY_OR["running"], "back": BACK}),
    (3, "finish", {"number": NUMBER, "states": ANY_OR["running"], "back": BACK, "outcome": OUTCOMES, "later": st.booleans()}),
    (
        1,
        "cancel",
        {"numbers": st.lists(NUMBER, max_size=2), "states": st.sampled_from([("running",), ("waiting", "scheduled"), ()])},
    ),
    (2, "retry", {"number": NUMBER, "states": st.sampled_from([("failed", "cancelled"), ("failed", "cancelled"), ()])}),
    (1, "set_priority", {"number": NUMBER, "priority": PRIORITIES}),
    (1, "pause_or_resume", {"kind": st.sampled_from(KINDS), "pause": st.sampled_from([False, False, True])}),
    (1, "time_comes", {"numbers": SOME}),
    (1, "rescue", {"silent": SOME, "overtime": st.lists(NUMBER, max_size=1)}),
]
STEPS = st.one_of(
    *[st.tuples(st.just("submit"), WISHES)] * 2,
    *(st.tuples(st.just(name), st.fixed_dictionaries(values)) for weight, name, values in WEIGHTED for _ in range(weight)),
)


class Life(RuleBasedStateMachine):
    def __init__(self, conn: Connection) -> None:
        super().__init__()
        self.conn = conn
        self.model = Model(QUOTAS)
        self.idempotent: dict[str, tuple[UUID, str]] = {}
        self.rows: dict[UUID, Job] = {}
        conn.execute("DELETE FROM jobs")
        conn.execute("DELETE FROM paused_kinds")

    def some(self, numbers: list[int], *states: str) -> list[ModelJob]:
        """Different jobs, of these states if given and there are any."""
        every = (self.model.of(*states) if states else []) or list(self.model.jobs.values())
        return list({job.id: job for job in (every[number % len(every)] for number in numbers)}.values()) if every else []

    def nothing_changes(self, error: type[Exception], act: Callable[[], object]) -> None:
        """Not even a heartbeat: `rows` is what the last step left."""
        with pytest.raises(error):
            act()
        assert {job.id: job for job in jobs.list_jobs(self.conn, limit=1000)} == self.rows

    # -- put in

    @rule(step=STEPS)
    def happens(self, step: tuple[str, dict[str, Any]]) -> None:
        """One rule for all: of several, Hypothesis leaves half out in each run, and few jobs would live to their end."""
        name, values = step
        getattr(self, name)(**values)

    @initialize(wishes=st.lists(WISHES, min_size=3, max_size=6))
    def begin(self, wishes: list[dict[str, Any]]) -> None:
        for wish in wishes:
            self.submit(**wish)
            self.everything_holds()

    def submit(
        self,
        kind: str,
        numbers: list[int],
        fate: Any,
        concurrency: tuple[str, int] | None,
        caller: str,
        unique: tuple[str, int] | None,
        idempotency: tuple[str, str] | None,
        later: bool,
        max_attempts: int,
        priority: int,
        batch: bool,
    ) -> None:
        parents = [job.id for job in self.some(numbers)]
        key, sha256 = idempotency if idempotency and not unique and not batch else (None, None)
        new = NewJob(
            kind,
            {"kind": kind},
            "io",
            60,
            max_attempts,
            priority=priority,
            run_at=self.moment("100 years" if later else "-1 day") if later or batch else None,
            parents=parents,
            idempotency_key=key and f"{caller} {key}",
            idempotency_sha256=sha256,
            created_by=caller,
            on_parent_failure=fate,
            unique_key=unique[0] if unique else None,
            unique_for_s=unique[1] if unique else 0,
            concurrency_key=concurrency[0] if concurrency else None,
            concurrency_limit=concurrency[1] if concurrency else None,
        )
        first, first_sha256 = self.idempotent.get(f"{caller} {key}", (None, None))
        if first is not None and first_sha256 != sha256:
            self.nothing_changes(InvalidInput, lambda: jobs.submit(self.conn, new))
            return
        there = self.model.unique(kind, unique[0], unique[1] > 0) if unique else None
        first = there.id if there else first
        job, created = jobs.submit_many(self.conn, [new])[0] if batch else jobs.submit(self.conn, new)
        assert created == (first is None)
        if first is not None:
            assert job.id == first
            return
        if key and sha256:
            self.idempotent[f"{caller} {key}"] = (job.id, sha256)
        made = ModelJob(
            job.id, kind, job.status, max_attempts, priority, caller, tuple(parents), fate, new.unique_key, concurrency
        )
        made.due = None if new.run_at is None else not later
        self.model.submit(made)

    def moment(self, away: str) -> Any:
        row = self.conn.execute("SELECT now() + %s::interval AS at", (away,)).fetchone()
        assert row is not None
        return row["at"]

    # -- take

    def claim(self, number: int, states: tuple[str, ...], gpu_id: str | None, priority: int | None) -> None:
        """Also late, doubled, and of a priority from before: whatever the broker may deliver."""
        (job,) = self.some([number], *states)
        taken = jobs.claim(self.conn, job.id, worker="w", gpu_id=gpu_id, priority=priority)
        assert (taken is not None) == self.model.claim(job, gpu_id, priority)
        if taken is not None:
            assert (taken.attempt, taken.failures) == (job.attempt, job.failures)

    def work(self, turns: list[dict[str, Any]]) -> None:
        """What workers mostly do, so that lives get long: take what is queued, and end it or leave it running."""
        for turn in turns:
            self.time_comes([])
            if self.model.of("queued"):
                self.claim(turn["number"], ("queued",), turn["gpu_id"], None)
                self.everything_holds()
            if turn["outcome"] is not None and self.model.of("running"):
                self.finish(turn["number"], ("running",), 0, turn["outcome"], turn["later"])
                self.everything_holds()

    # -- an attempt's writes

    def write(self, number: int, states: tuple[str, ...], back: int) -> None:
        conn, (job,) = self.conn, self.some([number], *states)
        job_id, attempt = job.id, job.attempt - back
        writes: list[Callable[[], object]] = [
            lambda: jobs.heartbeat(conn, job_id, attempt),
            lambda: jobs.progress(conn, job_id, attempt, 40, "on its way", []),
            lambda: jobs.log(conn, job_id, attempt, "said", {}),
            lambda: jobs.fence(conn, job_id, attempt),
        ]
        if job.status != "running" or back:
            for act in writes:
                self.nothing_changes(FencedOut, act)
            return
        asked = [act() for act in writes]
        assert asked[:2] == [job.cancel_asked] * 2
        job.events += ["progress", "log"]

    def finish(self, number: int, states: tuple[str, ...], back: int, outcome: Any, later: bool) -> None:
        conn, (job,) = self.conn, self.some([number], *states)
        job_id = job.id
        end = Outcome(outcome, result={"attempt": job.attempt}, message="why", after_s=3600 if later else -1)
        if job.status != "running" or back:
            self.nothing_changes(FencedOut, lambda: jobs.finish(conn, job_id, job.attempt - back, end))
            return
        self.model.finish(job, outcome, later)
        assert jobs.finish(conn, job_id, job.attempt, end).status == job.status

    # -- a caller's wishes

    def cancel(self, numbers: list[int], states: tuple[str, ...]) -> None:
        chosen = self.some(numbers, *states)
        if len(chosen) == 1 and chosen[0].status in ("completed", "failed"):
            self.nothing_changes(Conflict, lambda: jobs.cancel(self.conn, chosen[0].id))
        elif len(chosen) == 1:
            self.model.cancel(chosen)
            assert jobs.cancel(self.conn, chosen[0].id).status == chosen[0].status
        else:
            expected = {job.id for job in chosen if not job.ended and not job.cancel_asked}
            assert set(jobs.cancel_many(self.conn, [job.id for job in chosen])) == expected
            self.model.cancel(chosen)

    def retry(self, number: int, states: tuple[str, ...]) -> None:
        (job,) = self.some([number], *states)
        if job.status not in ("failed", "cancelled"):
            self.nothing_changes(Conflict, lambda: jobs.retry(self.conn, job.id))
            return
        self.model.retry(job)
        again = jobs.retry(self.conn, job.id)
        assert (again.status, again.result, again.error, again.progress) == (job.status, None, None, 0)

    def set_priority(self, number: int, priority: int) -> None:
        (job,) = self.some([number])
        if job.status not in UNSTARTED:
            self.nothing_changes(Conflict, lambda: jobs.set_priority(self.conn, job.id, priority))
            return
        jobs.set_priority(self.conn, job.id, priority)
        job.priority = priority
        job.events.append("priority")

    def pause_or_resume(self, kind: str, pause: bool) -> None:
        if not pause:
            paused.resume(self.conn, kind, "test")
            self.model.resume(kind)
        else:
            paused.pause(self.conn, kind, "test")
            self.model.pause(kind)

    # -- time passes

    def time_comes(self, numbers: list[int]) -> None:
        due = [job for job in self.some(numbers) if job.due is False]
        ids = [job.id for job in due]
        self.conn.execute("UPDATE jobs SET run_at = now() - interval '1 second', seq = seq + 1 WHERE id = ANY(%s)", (ids,))
        for job in due:
            job.due = True
        expected = {job.id for job in self.model.of("scheduled") if job.due}
        assert set(jobs.wake_due(self.conn)) == expected
        self.model.wake_due()

    def rescue(self, silent: list[int], overtime: list[int]) -> None:
        lost = [job for job in self.some(silent, "running") if job.status == "running"]
        late = [job for job in self.some(overtime, "running") if job.status == "running"]
        self.conn.execute("UPDATE jobs SET heartbeat_at = now() + interval '1 day' WHERE status = 'running'")
        for column, given in (("heartbeat_at", lost), ("started_at", late)):
            ids = [job.id for job in given]
            self.conn.execute(f"UPDATE jobs SET {column} = now() - interval '1 day', seq = seq + 1 WHERE id = ANY(%s)", (ids,))
        assert set(jobs.rescue(self.conn, lease_s=0)) == {job.id for job in (*lost, *late)}
        self.model.rescue(lost, late)

    # -- what holds after each step

    @invariant()
    def everything_holds(self) -> None:
        self.rows_are_as_in_the_model()
        self.events_tell_the_life()
        self.no_more_run_than_may()

    def rows_are_as_in_the_model(self) -> None:
        before, self.rows = self.rows, {job.id: job for job in jobs.list_jobs(self.conn, limit=1000)}
        assert self.rows.keys() == self.model.jobs.keys()
        for job_id, row in self.rows.items():
            job = self.model.jobs[job_id]
            found = (row.status, row.attempt, row.failures, row.priority, row.cancel_requested_at is not None)
            assert found == (job.status, job.attempt, job.failures, job.priority, job.cancel_asked), job
            assert (row.completed_at is not None) == job.ended
            assert (row.progress == 100) == (row.status == "completed") == (row.result is not None)
            assert (row.error is not None) == (row.status == "failed")
            if row.status == "running":
                assert row.gpu_id == job.gpu_id
            if row.status in UNSTARTED:
                assert row.blocked_by == job.blocked_by, job
            if (then := before.get(job_id)) is not None:
                unseen = {"heartbeat_at", "seq"}
                assert row.attempt >= then.attempt
                assert row.seq > then.seq or row.model_dump(exclude=unseen) == then.model_dump(exclude=unseen), job

    def events_tell_the_life(self) -> None:
        rows = self.conn.execute("SELECT job_id, seq, event, attempt FROM job_events ORDER BY job_id, seq").fetchall()
        told: dict[UUID, list[dict[str, Any]]] = {}
        for row in rows:
            told.setdefault(row["job_id"], []).append(row)
        for job_id, job in self.model.jobs.items():
            names = [row["event"] for row in told[job_id]]
            assert names == job.events
            assert told[job_id][0]["seq"] == 1
            assert told[job_id][-1]["seq"] <= self.rows[job_id].seq
            attempts = [row["attempt"] for row in told[job_id]]
            assert attempts == sorted(attempts)
            assert sum(name in FINAL for name in names) == job.submissions - (not job.ended)

    def no_more_run_than_may(self) -> None:
        running = [row for row in self.rows.values() if row.status == "running"]
        gpus = [row.gpu_id for row in running if row.gpu_id]
        assert len(gpus) == len(set(gpus))
        with_key = [row.concurrency_limit or 0 for row in running if row.concurrency_key]
        assert len(with_key) <= max(with_key, default=0)
        assert sum(row.created_by == "limited" for row in running) <= QUOTAS["limited"]

    def teardown(self) -> None:
        """Nothing is stuck: with every run completing and rescue going round, all jobs end."""
        for kind in KINDS:
            paused.resume(self.conn, kind, "test")
        self.conn.execute("UPDATE jobs SET run_at = now() - interval '1 second' WHERE status IN ('scheduled', 'waiting')")
        for job in self.model.of("running"):
            jobs.finish(self.conn, job.id, job.attempt, Outcome("completed", result={}))
        for _ in range(2 * len(self.model.jobs) + 2):
            jobs.rescue(self.conn, lease_s=3600)
            for told in jobs.tell(self.conn, "io", 100, retell_after_s=-1):
                if taken := jobs.claim(self.conn, told.id, worker="w", gpu_id="GPU-1", priority=told.priority):
                    jobs.finish(self.conn, told.id, taken.attempt, Outcome("completed", result={}))
        left = {row.id: row for row in jobs.list_jobs(self.conn, limit=1000) if row.status not in FINAL}
        assert not left


@pytest.mark.timeout(0 if RANDOM else 600)
def test_jobs_live_as_the_model_says(conn: Connection) -> None:
    for name, quota in QUOTAS.items():
        conn.execute(
            "INSERT INTO api_keys (name, prefix, sha256, running_at_once) VALUES (%s, %s, %s, %s)", (name, name, name, quota)
        )
    run_state_machine_as_test(
        lambda: Life(conn),
        settings=settings(
            max_examples=RANDOM or 25,
            stateful_step_count=40,
            derandomize=not RANDOM,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
