"""A caller that does not give up: each job is sent again, with its key, until it is accepted."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

QUEUES = {"chaos_io": "io", "chaos_cpu": "cpu", "chaos_gpu": "gpu"}


def jobs(seed: int, number: int, isolated: int) -> list[dict[str, Any]]:
    """`number` configs, `isolated` of them with a process of their own, some with a wish to be cancelled. The same for the same seed."""
    random_ = random.Random(f"jobs {seed}")
    drawn: list[dict[str, Any]] = []
    for _ in range(number - isolated):
        long = random_.random() < 0.02
        pause_s = random_.uniform(0.1, 1.0) if long else 0.0
        drawn.append(
            {"kind": "chaos_io", "steps": random_.randint(1, 4), "pause_s": pause_s, "artifact": random_.random() < 0.05}
        )
    for _ in range(isolated):
        body: dict[str, Any] = {"steps": random_.randint(2, 10), "pause_s": random_.uniform(0.02, 0.2)}
        if random_.random() < 0.5:
            body |= {"kind": "chaos_cpu"}
            if random_.random() < 0.06:
                body |= {"poison": True, "options": {"max_attempts": 2}}
        else:
            body |= {"kind": "chaos_gpu", "deaf": random_.random() < 0.1}
        drawn.append(body)
    random_.shuffle(drawn)
    for body in drawn:
        body["cancel"] = random_.random() < 0.02
        body["retry"] = random_.random() < 0.5
    return drawn


class Load:
    """Submits over `seconds` from several threads, cancels some, and writes down what was accepted and what was odd."""

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        self._url, self._seed = url, seed
        self._accepted = (folder / "accepted.jsonl").open("a")
        self._odd = (folder / "odd.jsonl").open("a")
        self._writing = threading.Lock()
        self._newest: deque[tuple[UUID, str, str]] = deque(maxlen=200)
        self.accepted = 0

    def newest(self, number: int) -> list[tuple[UUID, str, str]]:
        with self._writing:
            return list(self._newest)[-number:]

    def run(self, bodies: list[dict[str, Any]], seconds: float, threads: int = 4) -> None:
        begin = time.monotonic()
        step = seconds / len(bodies)
        workers = [
            threading.Thread(target=self._submit, args=(bodies, number, threads, begin, step), name=f"load-{number}")
            for number in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _submit(self, bodies: list[dict[str, Any]], first: int, stride: int, begin: float, step: float) -> None:
        with httpx.Client(base_url=self._url, timeout=10, trust_env=False) as client:
            for number in range(first, len(bodies), stride):
                time.sleep(max(0.0, begin + number * step - time.monotonic()))
                body = dict(bodies[number])
                cancel, retry = body.pop("cancel"), body.pop("retry")
                key = f"chaos-{self._seed}-{number}"
                job = self._until_answered(client, "POST", "/v1/jobs", {202}, json=body, headers={"Idempotency-Key": key})
                self._note(job, body)
                if cancel:
                    self._until_answered(client, "POST", f"/v1/jobs/{job['id']}/cancel", {200, 202, 409})
                    if retry:
                        self._until_answered(client, "POST", f"/v1/jobs/{job['id']}/retry", {200, 202, 409})

    def _until_answered(self, client: httpx.Client, method: str, path: str, good: set[int], **more: Any) -> dict[str, Any]:
        while True:
            try:
                response = client.request(method, path, **more)
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if response.status_code in good:
                found: dict[str, Any] = response.json()
                return found
            if response.status_code not in (429, 503):
                with self._writing:
                    self._odd.write(
                        json.dumps({"path": path, "status": response.status_code, "body": response.text[:500]}) + "\n"
                    )
                    self._odd.flush()
            time.sleep(0.2)

    def _note(self, job: dict[str, Any], body: dict[str, Any]) -> None:
        with self._writing:
            self._newest.append((UUID(job["id"]), body["kind"], QUEUES[body["kind"]]))
            self.accepted += 1
            self._accepted.write(
                json.dumps({"id": job["id"], "kind": body["kind"], "poison": body.get("poison", False)}) + "\n"
            )
            self._accepted.flush()
