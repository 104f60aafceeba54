"""Supervises runs: claim, start, watch, end. The Celery task is a view of `Supervisor.run`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import psycopg
import redis
import structlog

from goldsmith import artifacts, jobs, windows
from goldsmith.db import Database
from goldsmith.errors import FencedOut, GoldsmithError, RetryableError, storable
from goldsmith.gpu import DeviceLock, environment
from goldsmith.job import Status
from goldsmith.jobs import Claimed, Outcome
from goldsmith.kinds.registry import kinds, load_run, parse_config
from goldsmith.queue import Queue
from goldsmith.rescue import tell_untold
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from worker.attempt import read_outcome
from worker.context import RunContext
from worker.outcome import backoff_s, of_exception
from worker.watch import Reason, Watch

log = structlog.get_logger()
ASK_S = 3.0  # a run that reports progress sees a cancel within a second; three leave it time to leave by itself
LOCK_WAIT_S = 10.0


class Supervisor:
    """One a worker process. `run` may be called from several threads at once."""

    def __init__(self, database: Database, queue: Queue, settings: Settings, *, worker: str, gpu_id: str | None) -> None:
        self._database, self._queue, self._settings = database, queue, settings
        self._worker, self._gpu_id = worker, gpu_id
        self._scratch = settings.state_dir / "scratch"
        self._stopping = threading.Event()

    def stop(self) -> None:
        """The worker is going: runs are asked to checkpoint and leave, and are put back uncounted."""
        self._stopping.set()

    def run(self, job_id: UUID, *, priority: int | None = None) -> Status | None:
        """Claim the job and see it through; returns the status that its end left. None: it was not to be had, or was given up.

        `priority` is that of the message that brought it, as in `jobs.claim`.
        """
        if self._stopping.is_set():
            return None  # rescue tells another worker
        with self._database.connection() as conn:
            if windows.defer(conn, job_id, self._settings, self._gpu_id):
                self._database.changed(job_id)
                return None
            job = jobs.claim(conn, job_id, worker=self._worker, gpu_id=self._gpu_id, priority=priority)
        if job is None:
            return None
        self._database.changed(job.id)
        scratch = self._scratch / f"{job.id}-{job.attempt}"
        with structlog.contextvars.bound_contextvars(**job.in_log):
            log.info("started")
            try:
                with Watch(self._database, job, self._stopping) as watch:
                    try:
                        scratch.mkdir(parents=True)
                        outcome = self._supervise(job, scratch, watch)
                    except Exception as error:
                        outcome = of_exception(error, job.failures)
                    return self._finish(job, outcome) if outcome is not None else None
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def sweep(self) -> None:
        """Remove the scratch folders of attempts that no worker runs any more: a kill -9 leaves them."""
        folders = list(self._scratch.glob("*-*"))
        try:
            with self._database.connection() as conn:
                alive = jobs.running_attempts(conn)
        except psycopg.OperationalError:
            return  # the worker may be there before its database; the next start sweeps
        for folder in folders:
            if folder.name not in alive:
                shutil.rmtree(folder, ignore_errors=True)

    def _supervise(self, job: Claimed, scratch: Path, watch: Watch) -> Outcome | None:
        if job.kind not in kinds():
            raise GoldsmithError(f"this worker does not know the kind {job.kind!r}; it is older or newer than the API")
        if kinds()[job.kind].config.isolated:
            return self._run_isolated(job, scratch, watch)
        return self._run_inline(job, scratch, watch)

    # -- in this process: I/O kinds, each with its own event loop

    def _run_inline(self, job: Claimed, scratch: Path, watch: Watch) -> Outcome | None:
        context = RunContext(
            self._database,
            self._settings,
            job_id=job.id,
            kind=job.kind,
            attempt=job.attempt,
            scratch=scratch / "work",
            queue=self._queue,
        )
        context.scratch.mkdir()
        loop = asyncio.new_event_loop()
        task = loop.create_task(load_run(job.kind)(parse_config(job.config), context))

        def stop(reason: Reason) -> None:
            context.stopping = reason == "stopping"
            context.given_up = reason != "stopping"
            with suppress(RuntimeError):  # the loop has just ended by itself
                loop.call_soon_threadsafe(task.cancel)

        watch.listen(stop)
        try:
            result = loop.run_until_complete(task)
            context.flush()
        except asyncio.CancelledError:
            return self._stopped(job, watch.reason)
        except FencedOut:
            return None
        except Exception as error:
            return self._stopped(job, "timeout") if watch.reason == "timeout" else of_exception(error, job.failures)
        finally:  # a thread of the run may still work: until it is gone the attempt lives, and its heart beats
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        return Outcome("completed", result=result.model_dump(mode="json"))

    # -- in a process group of its own: kinds that compute

    def _run_isolated(self, job: Claimed, scratch: Path, watch: Watch) -> Outcome | None:
        lock = None
        if self._gpu_id is not None:
            lock = DeviceLock(self._settings.locks, self._gpu_id)
            if not lock.acquire(LOCK_WAIT_S):
                lock.release()
                return Outcome(
                    "requeue", message=f"device {self._gpu_id} is held by a process that cannot be ended", after_s=15
                )
        (scratch / "order.json").write_text(
            json.dumps(
                {
                    "id": str(job.id),
                    "config": job.config,
                    "log": job.in_log,
                    "kind": job.kind,
                    "attempt": job.attempt,
                    "gpu_id": self._gpu_id,
                }
            )
        )
        log_path = self._settings.logs / "jobs" / f"{job.id}.{job.attempt}.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        oom_kills = _oom_kills()
        with log_path.open("ab") as log_file:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker.isolated"],
                stdin=subprocess.PIPE,  # our end of it is the run's lifeline
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
                pass_fds=(lock.fileno(),) if lock else (),
                # Devices are named by NVML, which counts by PCI bus; CUDA would count the fastest first.
                env={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
                | os.environ
                | environment(self._gpu_id)
                | {"GOLDSMITH_SCRATCH": str(scratch), "PYTHONUNBUFFERED": "1"},
            )
        if lock:
            with suppress(psutil.NoSuchProcess):  # it is already gone: then there is nothing to name
                lock.name_holder(process.pid)
            lock.release()
        asked = threading.Event()
        watch.listen(lambda _: asked.set())
        self._wait(process, watch, asked)
        _kill_group(process)
        process.stdin and process.stdin.close()
        if watch.reason == "lost":
            return None
        left = read_outcome(scratch)
        if watch.reason == "timeout" and (left is None or left.outcome != "completed"):
            return self._stopped(job, "timeout")
        if left is not None:
            return left if left.outcome != "retry" else _with_backoff(left, job.failures)
        if watch.reason is not None:
            return self._stopped(job, watch.reason)
        cause = _cause(process.returncode, _oom_kills() > oom_kills)
        detail = f"{cause}; its last words are in the log {log_path.name}"
        log.error("the run died", cause=cause)
        error = {"type": "about:blank", "title": "The run died", "detail": detail, "exit": process.returncode}
        return Outcome("retry", error=error, message=f"Error: {detail}", after_s=backoff_s(job.failures))

    def _wait(self, process: subprocess.Popen[bytes], watch: Watch, asked: threading.Event) -> None:
        """Until the run is gone. Asked to stop: time to leave by itself, SIGTERM, grace, SIGKILL to the group."""
        while process.poll() is None and not asked.wait(0.05):
            pass
        if process.poll() is not None:
            return
        if watch.reason == "cancel" and _gone(process, ASK_S, watch):
            return
        if watch.reason in ("cancel", "stopping", "timeout"):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            if _gone(process, self._settings.grace_s, watch):
                return
        _kill_group(process)
        process.wait()

    def _stopped(self, job: Claimed, reason: Reason | None) -> Outcome | None:
        match reason:
            case "cancel":
                return Outcome("cancelled", message="Cancelled")
            case "stopping":
                return Outcome("requeue", message="its worker was stopped; it goes on elsewhere")
            case "timeout":
                detail = f"it ran longer than its time limit of {job.timeout} s"
                error = {"type": "about:blank", "title": "Time limit", "detail": detail}
                return Outcome("failed", error=error, message=f"Error: {detail}")
            case "lost":
                return None
        return of_exception(RetryableError("the run cancelled itself"), job.failures)

    def _finish(self, job: Claimed, outcome: Outcome) -> Status | None:
        """Write the end, however long the database is away: the work is done and only this says so."""
        while True:
            try:
                with self._database.connection() as conn:
                    ended = jobs.finish(conn, job.id, job.attempt, outcome)
                    self._database.changed(job.id)
                    log.info("ended", status=ended.status)
                    if ended.status == "completed":
                        artifacts.drop_checkpoints(Storage(self._settings.state_dir), job.id)
                    if ended.woke:
                        with suppress(
                            redis.RedisError, psycopg.Error
                        ):  # what it does not hear now, rescue tells within seconds
                            tell_untold(conn, self._queue)
                return ended.status
            except FencedOut:
                log.warning("ended too late: the attempt had been given up")
                return None
            except (psycopg.errors.DataError, UnicodeError) as error:
                detail = f"its result cannot be stored: {storable(str(error)).partition(chr(10))[0]}"
                problem: dict[str, Any] = {"type": "about:blank", "title": "Result not storable", "detail": detail}
                outcome = Outcome("failed", error=problem, message=f"Error: {detail}")
            except psycopg.Error as error:
                log.warning("the end waits for the database", error=str(error).partition("\n")[0])
                time.sleep(1)


def _with_backoff(outcome: Outcome, failures: int) -> Outcome:
    return Outcome("retry", error=outcome.error, message=outcome.message, after_s=backoff_s(failures))


def _gone(process: subprocess.Popen[bytes], seconds: float, watch: Watch) -> bool:
    """Whether the run left within the time; a run that was given up meanwhile gets no more of it."""
    end = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > end or watch.fenced_out.wait(0.05):
            return False
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End every process of the run's group and wait until they are gone, so that their memory is back."""
    end = time.monotonic() + 10
    with suppress(ProcessLookupError, PermissionError):  # PermissionError: only zombies are left (macOS)
        while time.monotonic() < end:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()  # reaps the leader; while it is a zombie the group is still there
            time.sleep(0.02)


def _oom_kills() -> int:
    """How often the kernel killed for memory so far; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _cause(code: int, out_of_memory: bool) -> str:
    number = code - 128 if code > 128 else -code
    if code < 0 or code > 128:
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        if out_of_memory and number == signal.SIGKILL:
            return "the run was killed because the machine had no memory left (OOM)"
        return f"the run was killed by {name} (signal {number})"
    return f"the run left with exit code {code}"
