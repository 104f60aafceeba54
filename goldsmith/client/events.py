"""Events of a live experiment, sent without making anybody wait: written to a spool on disk, delivered by a thread.

`EventSender.send` makes one `write` to a local file and returns: no network, and no lock that is held over one. What it said yes
to survives `kill -9` of the process and is delivered by the next one with the same spool; only a power cut may cost the last half
minute. Standard library and httpx only.
"""

from __future__ import annotations

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from goldsmith.ab.snapshot import Assignment
from goldsmith.client.sketch import key_of, sketch
from goldsmith.client.spool import Spool, taken

BATCH = 500
BATCH_BYTES = 1_000_000
MAX_LINE = 16_384  # an event with a sketch has 900 bytes
ASIDE_BYTES = 16_777_216
EVERY_S = 0.5
"""From an event to its delivery, when Goldsmith answers."""
LONGEST_PAUSE_S = 30.0
TIMEOUT = httpx.Timeout(10.0, connect=0.5)
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
    at most `max_bytes` (0.9 KB an interception with its sketch, 0.3 KB any other event) and nothing older than `max_age_s`.
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
        key = api_key or os.environ.get("GOLDSMITH_API_KEY")
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._spool = Spool(Path(spool), max_bytes=max_bytes, max_age_s=max_age_s)
        self._sketch_key = key_of(self._spool.folder / "sketch.key")
        self._begin()
        _senders.add(self)

    def _begin(self) -> None:
        is_tls = self._url.startswith("https:")  # without it no certificates are read, which takes 20 ms
        # Made here and not in the thread: it imports, and a fork in the midst of an import leaves half a module to the child.
        self._client = httpx.Client(base_url=self._url, timeout=TIMEOUT, headers=self._headers, verify=is_tls)
        self._stats, self._counting = Stats(), threading.Lock()
        self._wanted, self._stopping, self._is_empty = threading.Event(), threading.Event(), threading.Event()
        self._done: dict[Path, int] = {}  # lines of a file that were delivered before a failure
        self._failures, self._not_before = 0, 0.0
        self._thread: threading.Thread | None = None

    def _ensure_thread(self) -> None:
        """Not before it is needed: a server that forks its workers after it was set up should fork without threads."""
        with self._counting:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="goldsmith-events", daemon=True)
                self._thread.start()

    def _after_fork(self) -> None:
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
            self._spool.append(line)
            self._count(spooled=1)
            if self._thread is None:
                self._ensure_thread()
        except Exception as error:  # a request is being served: whatever is wrong with an event, it goes on
            self._count(dropped=1, error=f"{type(error).__name__}: {error}")
            return False
        return True

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
        return replace(self._stats, waiting_bytes=sum(size for _, size, _ in self._spool.files()))

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
        self._stopping.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        self._spool.turn()

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
        with self._client as client:
            while not self._stopping.is_set():
                self._wanted.wait(EVERY_S)
                self._wanted.clear()
                try:
                    if lost := self._spool.trim():
                        self._count(dropped=lost, error=f"{lost} events dropped: the spool was too large or they were too old")
                        log.warning("%d events dropped from the spool %s, the oldest first", lost, self._spool.folder)
                    if time.monotonic() >= self._not_before:
                        self._deliver_all(client)
                        self._failures = 0
                except _Later as error:
                    self._pause(str(error), error.after_s)
                except Exception as error:  # a full disk, a folder that is gone: the thread outlives it
                    log.exception("events could not be delivered; they are tried again")
                    self._pause(f"{type(error).__name__}: {error}")

    def _pause(self, reason: str, at_least_s: float = 0.0) -> None:
        usual = min(LONGEST_PAUSE_S, 2.0 ** min(self._failures, 10)) * random.uniform(0.8, 1.0)  # noqa: S311  so that many callers do not come at one moment
        self._failures += 1
        self._not_before = time.monotonic() + max(at_least_s, usual)
        self._count(error=reason)

    def _deliver_all(self, client: httpx.Client) -> None:
        """What lies in the spool, the oldest first, and only then what is being written: while Goldsmith is away, a file grows."""
        stuck = self._deliver_files(client)
        if self._spool.turn():
            stuck = self._deliver_files(client)
        if stuck is not None:
            raise stuck
        if not self._spool.is_writing:
            self._is_empty.set()

    def _deliver_files(self, client: httpx.Client) -> _Stuck | None:
        stuck = None
        for path, _, _ in self._spool.files():
            try:
                self._deliver(client, path)
            except _Stuck as error:  # a batch on which Goldsmith breaks must not hold up the others
                stuck = error
        return stuck

    def _deliver(self, client: httpx.Client, path: Path) -> None:
        with taken(path) as lines:
            if lines is None:
                return
            for batch in _batches(lines[self._done.get(path, 0) :]):
                whole = [line for line in batch if _LINE.fullmatch(line)]
                for experiment_id in dict.fromkeys(line[:36] for line in whole):
                    events = [line[37:] for line in whole if line.startswith(experiment_id)]
                    self._post(client, experiment_id.decode(), events)
                if damaged := len(batch) - len(whole):
                    self._count(dropped=damaged, error=f"{damaged} damaged lines in {path.name}")
                self._done[path] = self._done.get(path, 0) + len(batch)
            path.unlink(missing_ok=True)
            self._done.pop(path, None)

    def _post(self, client: httpx.Client, experiment_id: str, events: Sequence[bytes]) -> None:
        """Deliver these or set them aside; raises `_Later` when neither is right."""
        try:
            url = f"/v1/experiments/{experiment_id}/events"
            answer = client.post(url, content=b'{"events":[' + b",".join(events) + b"]}")
        except httpx.HTTPError as error:
            raise _Later(f"{type(error).__name__}: {error}") from error
        status, ours = answer.status_code, "json" in answer.headers.get("Content-Type", "")
        if answer.is_success and ours:
            rejected = answer.json()["rejected"]
            for entry in rejected:
                self._set_aside(experiment_id, events[entry["index"]], json.dumps(entry["errors"]))
            self._count(delivered=len(events) - len(rejected))
        elif status in BLAMED and len(events) > 1:
            middle = len(events) // 2
            self._post(client, experiment_id, events[:middle])
            self._post(client, experiment_id, events[middle:])
        elif status in BLAMED or (400 <= status < 500 and status not in PASSING and ours):
            reason = f"{status} {answer.json().get('detail', '')}" if ours else f"{status} {answer.reason_phrase}"
            for event in events:
                self._set_aside(experiment_id, event, reason)
        elif status == 500:
            raise _Stuck("Goldsmith answers 500")
        else:
            raise _Later(f"Goldsmith answers {status}", _seconds(answer.headers.get("Retry-After")))

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


def _batches(lines: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Up to `BATCH` lines and `BATCH_BYTES` each."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == BATCH or size + len(line) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield batch


def _new_id() -> str:
    """Time first, so that what is sent together lies together in Goldsmith's index."""
    return f"{time.time_ns() // 1000:014x}{secrets.token_hex(8)}"


def _seconds(retry_after: str | None) -> float:
    return min(float(retry_after), 300.0) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0


_senders: weakref.WeakSet[EventSender] = weakref.WeakSet()


def _in_child() -> None:
    for sender in list(_senders):
        sender._after_fork()


os.register_at_fork(after_in_child=_in_child)
