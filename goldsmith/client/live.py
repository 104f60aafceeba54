"""Which arm a request gets, told on the caller's own machine: no network call, no waiting, no exception in a child's request.

    live = LiveExperiments("http://127.0.0.1:17804", api_key="gs_…")
    given = live.assign(unit=device_id, run_id=run_id, config_id="bauhaus")
    model = given.model or "qwen3:4b"

A thread fetches a signed snapshot of the running experiments every two seconds. Whatever goes wrong is answered by base: no
snapshot yet, one older than ten seconds, a wrong signature, a model that is not there.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from goldsmith.ab.snapshot import Assignment, Facts, Rules, Snapshot, nobody
from goldsmith.client import DEFAULT_URL

REFRESH_S = 2.0
MAX_AGE_S = 10.0
"""An older snapshot may have been overtaken by a rollback."""
TIMEOUT = httpx.Timeout(2.0, connect=0.5)

log = logging.getLogger(__name__)
_now: Callable[[], float] = time.monotonic
if hasattr(time, "CLOCK_BOOTTIME"):  # the monotonic clock stands still while the machine sleeps, and a snapshot must not

    def _now() -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class _Held(NamedTuple):
    """A snapshot that was found good, made ready. Replaced as a whole, so a reader needs no lock."""

    snapshot: Snapshot
    rules: tuple[Rules, ...]
    """Those that run come first."""
    asked_at: float


class LiveExperiments:
    """Answers from the newest snapshot of a server; starts its thread at once. Usable as a context manager, and after a fork.

    `public_key`: the server's, in base64, a file with it, or the JSON of /.well-known/goldsmith-passport-key. Without one, the key
    of the first snapshot is trusted as long as the process lives. Raises `RuntimeError` where the packages for checking
    signatures are missing: `pip install 'goldsmith[live]'`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        public_key: str | None = None,
        refresh_s: float = REFRESH_S,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        try:
            from goldsmith import signing
        except ImportError as error:
            raise RuntimeError(f"a snapshot's signature cannot be checked ({error}): pip install 'goldsmith[live]'") from None
        self._opened = signing.opened
        self._public_key = None if public_key is None else signing.read_public_key(public_key)
        key = api_key or os.environ.get("GOLDSMITH_API_KEY")
        self._url = (url or os.environ.get("GOLDSMITH_URL") or DEFAULT_URL).rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._refresh_s, self._max_age_s = refresh_s, max_age_s
        self._held: _Held | None = None
        self._stopped = False
        self.trouble: str | None = None
        """Why the last refresh failed; None: it did not."""
        _after_fork.add(self)
        self._begin()

    def _begin(self) -> None:
        self._stop = threading.Event()
        self._first = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name="goldsmith-experiments", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Base from now on; the thread ends when its request, if one is on its way, has been answered or given up."""
        self._stopped, self._held = True, None
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(sum(filter(None, (TIMEOUT.connect, TIMEOUT.read))))

    def wait(self, seconds: float) -> bool:
        """Whether the first good snapshot came within this time. For a start-up; a child's request never waits."""
        return self._first.wait(seconds)

    def assign(
        self,
        *,
        unit: str | None = None,
        run_id: str | None = None,
        config_id: str | None = None,
        context_sha256: str | None = None,
        input_language: str | None = None,
        context_language: str | None = None,
        models: Collection[str] | None = None,
        experiment: str | None = None,
    ) -> Assignment:
        """The arm of a request, from what is in memory. Never raises, never waits; base in doubt.

        `unit`: the device's id; the run's where it has none. `models`: those at hand, a set for preference. `experiment`: the id or
        name of one, where the config does not say which.
        """
        try:
            held = self._held
            if held is None:
                return nobody("stopped" if self._stopped else "no_snapshot")
            fresh = _now() - held.asked_at <= self._max_age_s
            facts = Facts(config_id, context_sha256, input_language, context_language, models)
            answer = None
            for rules in held.rules:
                if rules.covers(config_id) if experiment is None else experiment in (rules.id, rules.name):
                    answer = rules.answer((unit or run_id) if rules.by_device else run_id, facts, fresh=fresh)
                    if answer.arm is not None:
                        return answer
            return answer or nobody("no_experiment")
        except Exception:
            log.exception("no assignment; base answers")
            return nobody("error")

    # -- the thread

    def _run(self, stop: threading.Event) -> None:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=TIMEOUT, trust_env=False) as http:
            while not stop.is_set():
                began = _now()
                self._refresh(http, stop)
                stop.wait(max(0.0, self._refresh_s - (_now() - began)))

    def _refresh(self, http: httpx.Client, stop: threading.Event) -> None:
        try:
            asked_at = _now()
            answer = http.get("/v1/experiments/snapshot")
            answer.raise_for_status()
            held = self._checked(answer.json(), asked_at)
        except (
            Exception
        ) as error:  # whatever it is, base answers once the last snapshot is too old, and the next try may succeed
            trouble = f"{type(error).__name__}: {error}"
            if trouble != self.trouble:
                log.warning("no snapshot of the experiments from %s: %s", self._url, trouble)
            self.trouble = trouble
            return
        if not stop.is_set():
            self._held, self.trouble = held, None
            self._first.set()

    def _checked(self, signed: Any, asked_at: float) -> _Held:
        """Made ready, when it is the server's and newer than the one before; raises what is wrong with it otherwise.

        The very same one again is no news: whatever stands in between and repeats itself must not keep it fresh.
        """
        if self._public_key is None:
            self._public_key = _trusted(signed, self._opened)
        snapshot = Snapshot.model_validate(self._opened("snapshot", signed, self._public_key))
        former = self._held and self._held.snapshot
        if former and (snapshot.sequence, snapshot.issued_at) <= (former.sequence, former.issued_at):
            raise ValueError(
                f"the snapshot {snapshot.sequence} of {snapshot.issued_at} is not newer than the one before,"
                f" {former.sequence} of {former.issued_at}"
            )
        rules = sorted(map(Rules, snapshot.experiments), key=lambda one: not one.running)
        return _Held(snapshot, tuple(rules), asked_at)


def _trusted(signed: Any, opened: Callable[[str, Any, str], dict[str, Any]]) -> str:
    """The key that a first snapshot brings, when it fits it."""
    signature = signed.get("signature") if isinstance(signed, dict) else None
    public_key = str(signature.get("public_key")) if isinstance(signature, dict) else ""
    opened("snapshot", signed, public_key)
    return public_key


_after_fork: weakref.WeakSet[LiveExperiments] = weakref.WeakSet()


def _restart() -> None:
    """A child of a fork has no threads but its own: each gets a new one, and keeps the snapshot for as long as it is fresh."""
    for live in list(_after_fork):
        if not live._stopped:
            live._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart)
