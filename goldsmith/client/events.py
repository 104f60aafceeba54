"""Events of a live experiment, sent without making anybody wait: written to a spool on disk, delivered by a thread.

`EventSender.send` makes one `write` to a file in memory (`/dev/shm`; to the disk where there is none) and returns: no network, no
disk, and no lock that is held over either. What it said yes to survives `kill -9` of the process and is delivered by the next one with
the same spool. The thread delivers it, or brings it to the disk, fsync included, while it cannot. Standard library only.

The thread is sparing: as long as it computes, whoever sends an event waits for the interpreter's lock after his `write`. Hence no httpx,
which computes for 2 ms a request (`http.client`: 0.3), and a file is read batch by batch.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import random
import re
import secrets
import threading
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from goldsmith.ab.snapshot import Assignment
from goldsmith.client.post import Poster
from goldsmith.client.sketch import key_of, sketch
from goldsmith.client.spool import Spool, is_running, memory_of, taken, writer_of

BATCH = 500
BATCH_BYTES = 1_000_000
MAX_LINE = 16_384  # an event with a sketch has 900 bytes
MEMORY_BYTES = (
    16 * 1024 * 1024
)  # of events that wait to be delivered or brought to the disk: half a second's, at 20,000 a second
ASIDE_BYTES = 16_777_216
EVERY_S = 0.5
"""From an event to its delivery, when Goldsmith answers."""
LONGEST_PAUSE_S = 30.0
END_S = 1.0
"""For the thread of a process that ends: a connection is given up after half of it."""
BLAMED = {400, 413, 422}
"""Answers to a whole batch for which one event may be to blame."""
PASSING = {401, 403, 408, 425, 429}
"""What time or a person mends. So do redirects, 5xx, and whatever does not come from Goldsmith."""

log = logging.getLogger("goldsmith.events")
_LINE = re.compile(rb"[0-9a-f-]{36} \{.*\}")


@dataclass(frozen=True)
class Stats:
    """Of this process, since it was started."""

    spooled: int = 0
    delivered: int = 0
    set_aside: int = 0
    """Refused by Goldsmith for good; they lie in `aside.jsonl` with the reason."""
    dropped: int = 0
    """Lost: the disk was full, the spool too large, they were too old, or they were no JSON."""
    waiting_bytes: int = 0
    """In the spool, of all processes."""
    last_error: str | None = None


class _Later(Exception):
    """Nothing can be delivered now; try again after a pause, of at least so many seconds."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class _Stuck(_Later):
    """Only these events cannot be delivered now, as far as one can tell."""


class EventSender:
    """One for the process; any thread may `send`. After a fork the child goes on with a file and a thread of its own.
    What former processes left in the spool is delivered from the first `send` on.

    `url` and `api_key` are found like those of `Client`: arguments, then `GOLDSMITH_URL` and `GOLDSMITH_API_KEY`. The spool keeps
    at most `max_bytes` (0.9 KB an interception with its sketch, 0.3 KB any other event) and nothing older than `max_age_s`. Raises
    `OSError` when it cannot be written, `ValueError` for what is no URL: when a server starts, not when it serves.
    """

    def __init__(
        self,
        spool: Path | str,
        url: str | None = None,
        *,
        api_key: str | None = None,
        max_bytes: int = 256 * 1024 * 1024,
        max_age_s: float = 7 * 86_400,
    ) -> None:
        self._url = url or os.environ.get("GOLDSMITH_URL") or "http://127.0.0.1:17804"
        self._api_key = api_key or os.environ.get("GOLDSMITH_API_KEY")
        self._begin()
        folder = Path(spool)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sketch_key = key_of(folder / "sketch.key")
        memory, in_memory = memory_of(folder), min(MEMORY_BYTES, max_bytes // 4)
        if memory is None:
            in_memory = 0
        self._spool = Spool(folder, max_bytes=max_bytes - in_memory, max_age_s=max_age_s)
        self._front = (
            self._spool if memory is None else Spool(memory, max_bytes=in_memory, max_age_s=max_age_s, drops_oldest=False)
        )
        _senders.add(self)

    def _begin(self) -> None:
        self._poster = Poster(self._url, self._api_key)
        self._stats, self._counting = Stats(), threading.Lock()
        self._wanted, self._stopping, self._is_empty = threading.Event(), threading.Event(), threading.Event()
        self._done: dict[Path, int] = {}  # bytes of a file that were delivered before a failure
        self._told, self._tell_after = 0, 0.0
        self._failures, self._not_before = 0, 0.0
        self._thread: threading.Thread | None = None

    def _ensure_thread(self) -> None:
        """Not before it is needed: a server that forks its workers after it was set up should fork without threads."""
        with self._counting:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="goldsmith-events", daemon=True)
                self._thread.start()

    def _after_fork(self) -> None:
        self._front.after_fork()
        self._spool.after_fork()
        self._begin()

    # -- the caller's side

    def send(
        self,
        experiment_id: str,
        event: str,
        unit: str,
        *,
        interception_run_id: str | None = None,
        data: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
    ) -> bool:
        """Whether the event is in the spool. Never raises, never waits for Goldsmith."""
        try:
            body: dict[str, Any] = {
                "event_id": event_id or _new_id(),
                "event": event,
                "unit": unit,
                "occurred_at": (occurred_at or datetime.now(UTC)).isoformat(),
            }
            if interception_run_id is not None:
                body["interception_run_id"] = interception_run_id
            if data:
                body["data"] = dict(data)
            line = f"{uuid.UUID(str(experiment_id))} {json.dumps(body, separators=(',', ':'), allow_nan=False)}\n".encode()
            if len(line) > MAX_LINE:
                raise ValueError(f"an event has at most {MAX_LINE} bytes, not {len(line)}")
            lost = self._append(line)
            self._count(spooled=1, dropped=lost, error="the spool was full: the oldest events went" if lost else None)
        except Exception as error:  # a request is being served: whatever is wrong with an event, it goes on
            self._count(dropped=1, error=f"{type(error).__name__}: {error}")
            return False
        finally:
            if self._thread is None:
                self._ensure_thread()
        return True

    def _append(self, line: bytes) -> int:
        try:
            return self._front.append(line)
        except OSError:
            if self._front is self._spool:
                raise
            return self._spool.append(line)  # there is no room in memory; the disk may have some

    def expose(self, given: Assignment, unit: str, *, interception_run_id: str | None = None) -> bool:
        """The exposure of what `LiveExperiments.assign` gave; none, and `False`, for a request that is in no experiment."""
        if given.experiment_id is None or given.assigned is None:
            return False
        said = {"assigned": given.assigned, "step": given.step, "gated": given.gated}
        data = {name: value for name, value in said.items() if value is not None}
        return self.send(given.experiment_id, "exposure", unit, interception_run_id=interception_run_id, data=data)

    def sketch(self, text: str) -> str:
        """For `data.sketch` of `interception_completed`. The key lies in the spool, in `sketch.key`: machines whose outputs are to
        be compared need the same file."""
        return sketch(text, self._sketch_key)

    @property
    def stats(self) -> Stats:
        return replace(self._stats, waiting_bytes=sum(size for _, size, _ in self._files()))

    def _files(self) -> list[tuple[Path, int, float]]:
        """On the disk, then in memory, where the newer ones are."""
        return self._spool.files() + (self._front.files() if self._front is not self._spool else [])

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was sent so far is delivered or set aside; `False` when it takes longer."""
        self._ensure_thread()
        self._is_empty.clear()
        self._not_before = 0.0
        self._wanted.set()
        return self._is_empty.wait(timeout_s)

    def close(self, timeout_s: float = 2.0) -> None:
        """Deliver what can be delivered in this time and end the thread. The rest stays in the spool for the next process."""
        if not self._stopping.is_set():
            self.flush(timeout_s)
        self._stop()
        if self._thread is not None:
            self._thread.join(timeout_s)
        else:
            self._leave()

    def _stop(self) -> None:
        self._stopping.set()
        self._wanted.set()

    def _end(self) -> None:
        if self._thread is not None:
            self._thread.join(END_S)
        self._leave()

    def _leave(self) -> None:
        self._try_to_settle()
        self._tell_of_losses()
        if self._front is not self._spool:
            with suppress(OSError):  # not empty: another process writes there
                self._front.folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _count(self, *, error: str | None = None, **more: int) -> None:
        with self._counting:
            now: dict[str, Any] = {name: getattr(self._stats, name) + by for name, by in more.items()}
            self._stats = replace(self._stats, **now | ({"last_error": error} if error else {}))

    # -- the thread's side

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wanted.wait(EVERY_S)
            self._wanted.clear()
            try:
                if lost := self._spool.trim() + self._front.trim():
                    self._count(dropped=lost, error="the spool was full, or its oldest events too old")
                if time.monotonic() >= self._tell_after:
                    self._tell_of_losses()
                if time.monotonic() >= self._not_before:
                    with self._poster as poster:
                        self._deliver_all(poster)
                    self._failures = 0
                else:
                    self._try_to_settle()
            except _Later as error:
                self._pause(str(error), error.after_s)
            except Exception as error:  # a full disk, a folder that is gone: the thread outlives it
                log.exception("events could not be delivered; they are tried again")
                self._pause(f"{type(error).__name__}: {error}")
        self._leave()

    def _try_to_settle(self) -> None:
        try:
            self._settle()
        except OSError as error:  # the disk is full: they wait where they are, and are delivered from there
            reason = f"events stay in memory, in {self._front.folder}: {error}"
            if reason != self._stats.last_error:
                log.warning("%s", reason)
            self._count(error=reason)

    def _settle(self) -> None:
        """Bring to the disk what this process has sent until now, and what ended ones left."""
        self._front.turn()
        if self._front is self._spool:
            return
        settled = [
            path for path, _, _ in self._front.files() if writer_of(path) == os.getpid() or not is_running(writer_of(path))
        ]
        for path in settled:
            with taken(path) as file:
                if file is not None:
                    self._bring(path, file)
                elif self._stopping.is_set() and writer_of(path) == os.getpid():
                    # Our thread holds it, waits for an answer and will not live to see it. Sent twice, an event counts once.
                    with suppress(FileNotFoundError), path.open("rb") as file:
                        self._bring(path, file)

    def _bring(self, path: Path, file: BinaryIO) -> None:
        file.seek(self._done.pop(path, 0))
        lines = file.read()
        if whole := lines[: lines.rfind(b"\n") + 1]:
            lost = self._spool.append(whole, sync=True)
            self._count(dropped=lost, error="the spool was full: the oldest events went" if lost else None)
        path.unlink(missing_ok=True)

    def _tell_of_losses(self) -> None:
        if self._stats.dropped > self._told:
            now, folder = self._stats, self._spool.folder
            log.warning("%d events lost, the spool is %s; last error: %s", now.dropped - self._told, folder, now.last_error)
            self._told, self._tell_after = now.dropped, time.monotonic() + LONGEST_PAUSE_S

    def _pause(self, reason: str, at_least_s: float = 0.0) -> None:
        usual = min(LONGEST_PAUSE_S, 2.0 ** min(self._failures, 10)) * random.uniform(0.8, 1.0)  # noqa: S311  so that many callers do not come at one moment
        self._failures += 1
        self._not_before = time.monotonic() + max(at_least_s, usual)
        self._count(error=reason)

    def _deliver_all(self, poster: Poster) -> None:
        """What lies in the spool, the oldest first, and only then what is being written: while Goldsmith is away, a file grows."""
        stuck = self._deliver_files(poster)
        if self._spool.turn() | self._front.turn():
            stuck = self._deliver_files(poster)
        if stuck is not None:
            raise stuck
        if not any(writer_of(path) == os.getpid() for path, _, _ in self._files()):  # one may be in another process' hands
            self._is_empty.set()

    def _deliver_files(self, poster: Poster) -> _Stuck | None:
        stuck = None
        for path, _, _ in self._files():
            try:
                self._deliver(poster, path)
            except _Stuck as error:  # a batch on which Goldsmith breaks must not hold up the others
                stuck = error
        return stuck

    def _deliver(self, poster: Poster, path: Path) -> None:
        with taken(path) as file:
            if file is None:
                return
            file.seek(self._done.get(path, 0))
            while lines := _batch(file):
                by_experiment: dict[str, list[bytes]] = {}
                for line in filter(_LINE.fullmatch, lines):
                    by_experiment.setdefault(line[:36].decode(), []).append(line[37:])
                for experiment_id, events in by_experiment.items():
                    self._post(poster, experiment_id, events)
                if damaged := len(lines) - sum(map(len, by_experiment.values())):
                    self._count(dropped=damaged, error=f"{damaged} damaged lines in {path.name}")
                self._done[path] = file.tell()
            path.unlink(missing_ok=True)
            self._done.pop(path, None)

    def _post(self, poster: Poster, experiment_id: str, events: Sequence[bytes]) -> None:
        """Deliver these or set them aside; raises `_Later` when neither is right."""
        try:
            answer = poster.post(f"/v1/experiments/{experiment_id}/events", b'{"events":[' + b",".join(events) + b"]}")
        except (OSError, HTTPException) as error:
            raise _Later(f"{type(error).__name__}: {error}") from error
        status, ours = answer.status, answer.is_json
        if 200 <= status < 300 and ours:
            rejected = answer.json()["rejected"]
            for entry in rejected:
                self._set_aside(experiment_id, events[entry["index"]], json.dumps(entry["errors"]))
            self._count(delivered=len(events) - len(rejected))
        elif status in BLAMED and len(events) > 1:
            middle = len(events) // 2
            self._post(poster, experiment_id, events[:middle])
            self._post(poster, experiment_id, events[middle:])
        elif status in BLAMED or (400 <= status < 500 and status not in PASSING and ours):
            reason = f"{status} {answer.json().get('detail', '')}" if ours else f"{status} {answer.reason}"
            for event in events:
                self._set_aside(experiment_id, event, reason)
        elif status == 500:
            raise _Stuck("Goldsmith answers 500")
        else:
            raise _Later(f"Goldsmith answers {status}", _seconds(answer.retry_after))

    def _set_aside(self, experiment_id: str, event: bytes, reason: str) -> None:
        """Keep what Goldsmith will never take, for a person to see: in `aside.jsonl`, and when that is full in `aside.1.jsonl`."""
        file = self._spool.folder / "aside.jsonl"
        entry = {"at": datetime.now(UTC).isoformat(), "experiment": experiment_id, "reason": reason[:1000]}
        fd = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.dumps(entry)[:-1].encode() + b', "event": ' + event + b"}\n")
            is_full = os.fstat(fd).st_size >= ASIDE_BYTES
        finally:
            os.close(fd)
        if is_full:
            with suppress(FileNotFoundError):  # another process was first
                file.replace(self._spool.folder / "aside.1.jsonl")
        self._count(set_aside=1, error=f"set aside: {reason[:300]}")
        log.warning("an event of experiment %s was set aside in %s: %s", experiment_id, file, reason[:300])


def _batch(file: BinaryIO) -> list[bytes]:
    """The next lines, without their ends: up to `BATCH` and about `BATCH_BYTES`. What a crash left of a last line is left out."""
    lines: list[bytes] = []
    size = 0
    while len(lines) < BATCH and size < BATCH_BYTES and (line := file.readline()).endswith(b"\n"):
        lines.append(line[:-1])
        size += len(line)
    return lines


def _new_id() -> str:
    """Time first, so that what is sent together lies together in Goldsmith's index."""
    return f"{time.time_ns() // 1000:014x}{secrets.token_hex(8)}"


def _seconds(retry_after: str | None) -> float:
    return min(float(retry_after), 300.0) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0


_senders: weakref.WeakSet[EventSender] = weakref.WeakSet()


def _in_child() -> None:
    for sender in list(_senders):
        sender._after_fork()


def _at_exit() -> None:
    """Who forgot `close`, or gave it no time, loses nothing either, also where memory ends with the process, as in a container."""
    senders = list(_senders)
    for sender in senders:
        sender._stop()
    for sender in senders:
        sender._end()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_in_child)
