"""What an assignment costs the caller, beside a bare SHA-256 of the same bytes: `python -m bench.ab.assign [--units 100000]`.

Three experiments run (a ramp of three arms, two of a group); the snapshot is signed, checked and made ready as a server's would be.
No thread, no network: what a child's request waits for.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from goldsmith import signing
from goldsmith.ab.assignment import group_salt
from goldsmith.ab.plan import Eligibility
from goldsmith.ab.snapshot import Snapshot, SnapshotArm, SnapshotExperiment, SnapshotGroup
from goldsmith.client.live import LiveExperiments, _now
from goldsmith.storage import Storage

ROUNDS = 5


def snapshot() -> Snapshot:
    base = SnapshotArm(name="base", model="qwen3:4b")
    lora = SnapshotArm(name="lora", buckets=(0, 1000), adapter="adapter:workshop@1", model="local/lora")
    other = SnapshotArm(name="other", buckets=(5000, 6000), adapter="adapter:other@1", model="local/other")
    eligibility = Eligibility(context_sha256=[f"{n:064x}" for n in range(200)], input_languages=["en"])

    def one(name: str, configs: list[str], arms: list[SnapshotArm], group: SnapshotGroup | None = None) -> SnapshotExperiment:
        return SnapshotExperiment(
            id=name, name=name, version=1, status="running", step=0, salt=f"salt-of-{name}", unit="device_id", group=group,
            arms=arms, eligibility=eligibility, configs=configs,
        )  # fmt: skip

    halves = [SnapshotGroup(name="g", salt=group_salt("g"), buckets=ends) for ends in ((0, 5000), (5000, 10_000))]
    found = [one(f"grouped-{n}", ["mosaic"], [base, lora], half) for n, half in enumerate(halves)]
    return Snapshot(issued_at=datetime.now(UTC), sequence=1, experiments=[*found, one("ramped", ["loom"], [base, lora, other])])


def microseconds(call: Callable[[str], object], units: list[str]) -> list[float]:
    """Of each call, in order of size."""
    took = []
    for unit in units:
        began = time.perf_counter_ns()
        call(unit)
        took.append((time.perf_counter_ns() - began) / 1000)
    return sorted(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=100_000)
    units = [f"{number:08x}-browser_2026-11-21" for number in range(parser.parse_args().units)]
    installed = frozenset({"qwen3:4b", "lora:latest", "other:latest"})
    context = f"{7:064x}"
    with tempfile.TemporaryDirectory() as folder, LiveExperiments("http://127.0.0.1:1", refresh_s=3600) as live:
        signed = signing.sign(Storage(Path(folder)), "snapshot", snapshot().model_dump(mode="json"))
        live._held = live._checked(signed, _now() + 3600)

        def assign(config_id: str) -> Callable[[str], object]:
            return lambda unit: live.assign(
                unit=unit, config_id=config_id, context_sha256=context, input_language="en", models=installed
            )

        calls = {
            "bare sha256": lambda unit: hashlib.sha256(f"salt-of-ramped\n{unit}".encode()).digest(),
            "assign, three arms": assign("loom"),
            "assign, group of two": assign("mosaic"),
        }
        bare = 0.0
        for name, call in calls.items():
            rounds = [microseconds(call, units) for _ in range(ROUNDS)]
            p50, p99, p999 = (statistics.median(one[int(len(one) * share)] for one in rounds) for share in (0.5, 0.99, 0.999))
            bare = bare or p50  # the first
            print(
                f"{name:22} median {p50:6.2f} µs   p99 {p99:6.2f} µs   p99.9 {p999:7.2f} µs   {p50 / bare:5.1f} x a bare sha256"
            )


if __name__ == "__main__":
    main()
