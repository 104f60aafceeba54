"""The rehearsal teacher's Message Batches: in memory, worked on by a thread each, answered out of order."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from goldsmith.teacher.provider import CUSTOM_ID
from goldsmith.teacher.rehearsal_messages import MODELS, Meter, Refused, check, compose

MOST_REQUESTS = 100_000
WAVE = 50
"""Requests of a batch that are worked on at once: none of them reads what another one of its wave writes into the cache."""


class BatchBook:
    """All batches of a server. `takes_s`: seconds from making a batch to its end, at least. Thread-safe."""

    def __init__(self, meter: Meter, takes_s: float, url: str, models: Collection[str] = MODELS) -> None:
        self.takes_s = takes_s
        self.url = url
        self.models = models
        self._meter = meter
        self._batches: dict[str, _Batch] = {}
        self._lock = threading.Lock()
        self.expires_s = 24 * 3600.0
        self.errored = self.expired = 0.0
        """Shares of the requests of the next batches that end so; which ones, their custom_id decides."""
        self.foreign = 0
        """So many lines of every batch's results carry an id that nobody sent."""

    def create(self, body: Mapping[str, Any], version: str) -> dict[str, Any]:
        requests = body.get("requests")
        if not isinstance(requests, list) or not 1 <= len(requests) <= MOST_REQUESTS:
            raise Refused(400, f"requests: a list of 1 to {MOST_REQUESTS}")
        ids = Counter(str(request.get("custom_id")) if isinstance(request, dict) else "None" for request in requests)
        for custom_id, times in ids.items():
            if times > 1 or not re.fullmatch(CUSTOM_ID, custom_id):
                raise Refused(400, f"requests: custom_id {custom_id!r} is not unique, or not 1 to 64 letters, digits, _ or -")
        batch = _Batch(self, requests, version)
        with self._lock:
            self._batches[batch.id] = batch
        threading.Thread(target=batch.work, args=(self._meter,), name="rehearsal-batch", daemon=True).start()
        return batch.as_json()

    def get(self, batch_id: str) -> dict[str, Any]:
        return self._find(batch_id).as_json()

    def list(self, limit: int, after_id: str | None) -> dict[str, Any]:
        with self._lock:
            newest = sorted(self._batches.values(), key=lambda batch: batch.number, reverse=True)
        start = next((n + 1 for n, batch in enumerate(newest) if batch.id == after_id), 0)
        page = [batch.as_json() for batch in newest[start : start + limit]]
        return {
            "data": page,
            "has_more": len(newest) > start + limit,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        }

    def cancel(self, batch_id: str) -> dict[str, Any]:
        batch = self._find(batch_id)
        batch.cancel()
        return batch.as_json()

    def results(self, batch_id: str) -> Iterator[bytes]:
        batch = self._find(batch_id)
        if batch.ended_at is None:
            raise Refused(404, f"the batch {batch_id} has not ended")
        return iter(batch.lines)

    def _find(self, batch_id: str) -> _Batch:
        with self._lock:
            if batch_id not in self._batches:
                raise Refused(404, f"no batch {batch_id}")
            return self._batches[batch_id]


_numbers = iter(range(1, 1_000_000_000))


class _Batch:
    def __init__(self, book: BatchBook, requests: Sequence[Mapping[str, Any]], version: str) -> None:
        self.id = f"msgbatch_{uuid4().hex}"
        self.number = next(_numbers)
        self.created_at = datetime.now(UTC)
        self.expires_at = self.created_at + timedelta(seconds=book.expires_s)
        self.ended_at: datetime | None = None
        self.lines: list[bytes] = []
        self._ends = time.monotonic() + book.takes_s
        self._expires = time.monotonic() + book.expires_s
        self._requests = requests
        self._version, self._models = version, book.models
        self._errored, self._expired, self._foreign = book.errored, book.expired, book.foreign
        self._results_url = f"{book.url}/v1/messages/batches/{self.id}/results"
        self._cancelled_at: datetime | None = None
        self._cancelled = threading.Event()
        self._counts = Counter(processing=len(requests))

    def cancel(self) -> None:
        if self.ended_at is None and self._cancelled_at is None:
            self._cancelled_at = datetime.now(UTC)
            self._cancelled.set()

    def work(self, meter: Meter) -> None:
        """Answer wave by wave, evenly over the time that it takes; then the results may be read."""
        began, waves = time.monotonic(), range(0, len(self._requests), WAVE)
        counts: Counter[str] = Counter()
        lines: list[bytes] = []
        for number, start in enumerate(waves):
            due = began + (self._ends - began) * number / len(waves)
            self._cancelled.wait(max(0.0, min(due, self._expires) - time.monotonic()))
            written = []
            for item in self._requests[start : start + WAVE]:
                result, name = self._answer(item, meter)
                written.append(name)
                counts[result["type"]] += 1
                lines.append(
                    json.dumps({"custom_id": item["custom_id"], "result": result}, ensure_ascii=False).encode() + b"\n"
                )
            for name in written:
                meter.remember(name)
        self._cancelled.wait(max(0.0, min(self._ends, self._expires) - time.monotonic()))
        for _ in range(self._foreign):
            lines.append(json.dumps({"custom_id": uuid4().hex, "result": {"type": "expired"}}).encode() + b"\n")
        random.Random(self.id).shuffle(lines)  # noqa: S311
        self.lines, self._counts = lines, counts
        self.ended_at = datetime.now(UTC)

    def _answer(self, item: Mapping[str, Any], meter: Meter) -> tuple[dict[str, Any], str | None]:
        chance = random.Random(item["custom_id"]).random()  # noqa: S311
        if self._cancelled.is_set():
            return {"type": "canceled"}, None
        if time.monotonic() >= self._expires or chance < self._expired:
            return {"type": "expired"}, None
        params = item.get("params") or {}
        try:
            check(params, self._version, self._models)
        except Refused as refused:
            return _errored("invalid_request_error" if refused.status == 400 else "not_found_error", refused.message), None
        if chance > 1 - self._errored:
            return _errored("api_error", "asked for by the test"), None
        usage, name = meter.input(params)
        message = compose(params, usage)
        message["usage"]["service_tier"] = "batch"
        meter.charge(params["model"], message["usage"], batch=True)
        return {"type": "succeeded", "message": message}, name

    def as_json(self) -> dict[str, Any]:
        ended = self.ended_at is not None
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": "ended" if ended else "canceling" if self._cancelled_at else "in_progress",
            "request_counts": {
                name: self._counts[name] for name in ("processing", "succeeded", "errored", "canceled", "expired")
            },
            "created_at": self.created_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "cancel_initiated_at": self._cancelled_at.isoformat() if self._cancelled_at else None,
            "archived_at": None,
            "results_url": self._results_url if ended else None,
        }


def _errored(kind: str, message: str) -> dict[str, Any]:
    return {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": message}}}
