"""A teacher that is measured against: the rehearsal teacher with a fixed latency, a rate limit, faults, and the true bill.

    python -m bench.metering --rate 50 --latency 0.2 --fault 529=0.01 --fault drop=0.005

Its rate limit is a token bucket, said in the provider's own headers; a request that finds it empty gets 429 at once. Faults
are shares of all requests, drawn with a fixed seed. `GET /bill` says what was really used: dollars, tokens, statuses.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from goldsmith.teacher.prices import prices
from goldsmith.teacher.rehearsal import BATCHES, MISBEHAVIOURS, RehearsalServer
from goldsmith.teacher.rehearsal_batches import BatchBook
from goldsmith.teacher.rehearsal_messages import Dropped, Refused

FAULTS = (*MISBEHAVIOURS, "never")
NEVER_S = 3600.0


class MeteringServer(RehearsalServer):
    """`with MeteringServer(rate=50, latency_s=0.2) as server: …`; also at its `url` for any Anthropic client.

    `faults` maps a fault to its share of the requests; `slow` adds `slow_s`, `never` says nothing. It answers for every model
    that the price list has. Attributes of `batches` make batches fail: see `Book`.
    """

    logs = False

    def __init__(
        self,
        port: int = 0,
        *,
        rate: float | None = None,
        burst: float | None = None,
        latency_s: float = 0.0,
        batch_s: float = 1.0,
        faults: Mapping[str, float] | None = None,
        slow_s: float = 5.0,
        headers: bool = True,
        seed: int = 1,
    ) -> None:
        self.models = tuple(prices())
        super().__init__(port, batch_s=batch_s)
        self.batches: Book = Book(self.meter, batch_s, self.url, self.models)
        self.rate, self.burst = rate, burst if burst is not None else rate or 0.0
        self.latency_s, self.slow_s, self.faults, self.headers = latency_s, slow_s, dict(faults or {}), headers
        if unknown := set(self.faults) - set(FAULTS):
            raise ValueError(f"faults {sorted(unknown)}: any of {', '.join(FAULTS)}")
        self.statuses: Counter[str] = Counter()
        """How requests to `/v1/messages` ended: `200`, `429` (the bucket was empty), or the fault that met them."""
        self.answered_at: list[float] = []
        self._random = random.Random(seed)
        self._bucket, self._filled_at = self.burst, time.monotonic()
        self._guard = threading.Lock()

    def misbehaviour(self, header: str | None) -> str | None:
        told = super().misbehaviour(header)
        if told is not None:
            return told
        with self._guard:
            chance = self._random.random()
            for fault, share in self.faults.items():
                if chance < share:
                    self.statuses[fault] += 1
                    if fault == "never":
                        break
                    return fault
                chance -= share
            else:
                return None
        self._let_go.wait(NEVER_S)
        raise Dropped

    def wait(self) -> None:
        self.waiting = True
        self._let_go.wait(self.slow_s)

    def admit(self, path: str) -> dict[str, str]:
        if path != "/v1/messages":
            self.batches.seen(path)
            return {}
        with self._guard:
            headers, wait_s = self._take()
            self.statuses["429" if wait_s else "200"] += 1
        if wait_s:
            raise Refused(429, "This request would exceed your rate limit", retry_after=str(math.ceil(wait_s)), **headers)
        time.sleep(self.latency_s)
        self.answered_at.append(time.monotonic())
        return {name.replace("_", "-"): value for name, value in headers.items()}

    def _take(self) -> tuple[dict[str, str], float]:
        """Headers, and the seconds until there is a token again when there is none."""
        if self.rate is None:
            return {}, 0.0
        now = time.monotonic()
        self._bucket = min(self.burst, self._bucket + (now - self._filled_at) * self.rate)
        self._filled_at = now
        wait_s = 0.0 if self._bucket >= 1 else (1 - self._bucket) / self.rate
        self._bucket -= not wait_s
        if not self.headers:
            return {}, wait_s
        reset = datetime.now(UTC) + timedelta(seconds=(self.burst - self._bucket) / self.rate)
        said = {"limit": f"{self.rate * 60:.0f}", "remaining": f"{max(0, math.floor(self._bucket))}"}
        said["reset"] = reset.isoformat(timespec="seconds").replace("+00:00", "Z")
        return {f"anthropic_ratelimit_requests_{name}": value for name, value in said.items()}, wait_s

    def report(self) -> dict[str, Any]:
        return {**super().report(), "statuses": dict(self.statuses)}


class Book(BatchBook):
    """Batches that can be made to go wrong: `errored`, `expired` and `foreign` as in the rehearsal, and these."""

    fresh_404 = 0
    """The first so many looks at each batch answer 404, as a real one does for some seconds."""
    lost_creates = 0
    """The next so many batches are made, but the answer is lost on the way."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.looks: Counter[str] = Counter()
        self.created = 0

    def create(self, body: Mapping[str, Any], version: str) -> dict[str, Any]:
        made = super().create(body, version)
        self.created += 1
        if self.lost_creates:
            self.lost_creates -= 1
            raise Dropped
        return made

    def seen(self, path: str) -> None:
        batch_id = path.removeprefix(BATCHES).strip("/").partition("/")[0]
        if batch_id:
            self.looks[batch_id] += 1
            if self.looks[batch_id] <= self.fresh_404:
                raise Refused(404, f"no batch {batch_id}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.metering", description=__doc__, allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--rate", type=float, help="requests a second; empty: no limit")
    parser.add_argument("--burst", type=float, help="requests at once after a pause (default: a second's worth)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that an answer takes")
    parser.add_argument("--batch-s", type=float, default=1.0, help="seconds that a batch takes at least")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=SHARE", help=f"one of {', '.join(FAULTS)}")
    parser.add_argument("--no-headers", action="store_true", help="say nothing of the limit before it is reached")
    told = parser.parse_args()
    faults = {name: float(share) for name, _, share in (fault.partition("=") for fault in told.fault)}
    server = MeteringServer(
        told.port,
        rate=told.rate,
        burst=told.burst,
        latency_s=told.latency,
        batch_s=told.batch_s,
        faults=faults,
        headers=not told.no_headers,
    )
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


if __name__ == "__main__":
    main()
