"""Counts afterwards, in a process of its own: `python -m tests.chaos.check FOLDER DATABASE_URL`. Exit code 1 when a promise is broken."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from goldsmith.db import connect
from goldsmith.job import FINAL
from tests.chaos import effects

SHOWN = 5
RECOVERY_S = 15.0
"""A killed worker's job is put back within the lease and this."""


@dataclass
class Report:
    counts: dict[str, Any]
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def show(self) -> str:
        lines = [f"{name:<52}{value}" for name, value in self.counts.items()]
        for promise, cases in self.broken.items():
            lines += [f"BROKEN: {promise}: {len(cases)}", *(f"    {case}" for case in cases[:SHOWN])]
        return "\n".join([*lines, "all promises held" if not self.broken else "PROMISES BROKEN"])


def check(folder: Path, database_url: str, lease_s: float) -> Report:
    accepted = effects.read(folder / "accepted.jsonl")
    faults = effects.read(folder / "faults.jsonl")
    seen = effects.read(folder / "effects.jsonl")
    with connect(database_url) as conn:
        rows = {str(row["id"]): row for row in conn.execute("SELECT * FROM jobs")}
        events: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in conn.execute("SELECT * FROM job_events ORDER BY job_id, seq"):
            events[str(event["job_id"])].append(event)
        artifacts = [(str(row["job_id"]), row["attempt"]) for row in conn.execute("SELECT job_id, attempt FROM artifacts")]

    report = Report({"jobs accepted": len(accepted), "rows": len(rows), "faults": len(faults)})
    report.counts |= {f"  {name}": number for name, number in sorted(Counter(fault["name"] for fault in faults).items())}
    report.counts |= {f"ended {status}": sum(row["status"] == status for row in rows.values()) for status in FINAL}
    report.counts["attempts"] = sum(row["attempt"] for row in rows.values())
    report.counts["effects"] = len(seen)
    broken = report.broken

    for line in accepted:
        if line["id"] not in rows:
            broken["an accepted job is lost"].append(str(line))
    if len(rows) != len(accepted):
        broken["as many rows as accepted jobs"].append(f"{len(rows)} rows, {len(accepted)} accepted")
    for job, row in rows.items():
        if row["status"] not in FINAL:
            broken["every job ends"].append(
                f"{job} {row['kind']} is {row['status']} ({row['message']}; blocked by {row['blocked_by']})"
            )
        _check_events(job, row, events[job], broken)

    per_effect = Counter((line["job"], line["attempt"], line["effect"]) for line in seen)
    report.counts["effects doubled"] = sum(number > 1 for number in per_effect.values())
    for what, number in per_effect.items():
        if number > 1:
            broken["no effect twice for one attempt"].append(f"{what}: {number} times")
    pids: dict[tuple[str, int], set[int]] = defaultdict(set)
    for line in seen:
        pids[line["job"], line["attempt"]].add(line["pid"])
        claimed = rows.get(line["job"])
        if claimed is None or line["attempt"] > claimed["attempt"]:
            broken["no effect without a claim"].append(str(line))
    for attempt_of, where in pids.items():
        if len(where) > 1:
            broken["one process an attempt"].append(f"{attempt_of}: {sorted(where)}")
    for job, attempt in artifacts:
        if rows[job]["status"] == "completed" and attempt != rows[job]["attempt"]:
            broken["artifacts are the last attempt's"].append(f"{job}: artifact of {attempt}, row at {rows[job]['attempt']}")
    for poisoned in (line["id"] for line in accepted if line["poison"]):
        row = rows[poisoned]
        if row["status"] == "completed" or (
            row["status"] == "failed" and "signal" not in str(row["error"]) and "sign of life" not in str(row["error"])
        ):
            broken["a poison job fails with its cause"].append(f"{poisoned} {row['status']} {row['error']}")

    overlaps = effects.read(folder / "watched.jsonl")
    report.counts["looks at the device from outside"] = int((folder / "looks").read_text())
    report.counts["two processes seen on the device"] = len(overlaps)
    for overlap in overlaps:
        broken["one process on a device"].append(str(overlap))
    for odd in effects.read(folder / "odd.jsonl"):
        broken["no odd answer to a caller"].append(str(odd))
    _check_recovery(faults, events, lease_s, report)
    return report


def _check_events(job: str, row: dict[str, Any], events: list[dict[str, Any]], broken: dict[str, list[str]]) -> None:
    seqs = [event["seq"] for event in events]
    if seqs != sorted(set(seqs)) or seqs[0] != 1 or row["seq"] < seqs[-1]:  # a change that only readers must hear has no event
        broken["events are numbered in their order"].append(f"{job}: {seqs}, row at {row['seq']}")
    attempts = [event["attempt"] for event in events]
    if attempts != sorted(attempts):
        broken["no event of an attempt that was given up"].append(
            f"{job}: {[(e['seq'], e['attempt'], e['event']) for e in events]}"
        )
    ends = sum(event["event"] in FINAL for event in events)
    lives = 1 + sum(event["event"] == "retried" for event in events)
    if row["status"] in FINAL and ends != lives:
        broken["exactly one end for each submission or retry"].append(f"{job}: {ends} ends, {lives} lives")
    if row["status"] == "completed" and row["result"]["attempt"] != row["attempt"]:
        broken["the result is the last attempt's"].append(f"{job}: {row['result']} at attempt {row['attempt']}")


def _check_recovery(
    faults: list[dict[str, Any]], events: dict[str, list[dict[str, Any]]], lease_s: float, report: Report
) -> None:
    """From the kill of a worker to the moment its jobs were put back or ended; a time without a database does not count."""
    outages = [(fault["began"], fault["ended"]) for fault in faults if "Postgres" in fault["name"]]
    kills = {f"{fault['pid']}": fault["began"] for fault in faults if fault["name"] == "kill a worker"}
    longest, number = 0.0, 0
    for job, of_job in events.items():
        for started, after in pairwise(of_job):
            worker = str(started["data"].get("worker", "")) if started["event"] == "started" else ""
            killed = kills.get(worker.rpartition(":")[2])
            rest = [event for event in of_job if event["seq"] >= after["seq"] and event["event"] != "progress"]
            if killed is None or not rest or rest[0]["created_at"].timestamp() < killed:
                continue
            back = rest[0]["created_at"].timestamp()
            # The server counts a job's silence from its own start when that is later than the last heartbeat.
            without = max((min(back, end) for begin, end in outages if begin < back and end > killed), default=killed)
            took = back - max(killed, without)
            longest, number = max(longest, took), number + 1
            if took > lease_s + RECOVERY_S:
                report.broken["recovery within lease + 15 s"].append(f"{job}: {took:.1f} s after the kill of {worker}")
    report.counts["jobs recovered from a killed worker"] = number
    report.counts["longest recovery"] = f"{longest:.1f} s (lease {lease_s:.0f} s)"


if __name__ == "__main__":
    found = check(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
    print(found.show())
    sys.exit(1 if found.broken else 0)
