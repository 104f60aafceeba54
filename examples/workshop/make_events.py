"""Writes events.jsonl: a fictional workshop week, five mornings, for replaying into the experiment of experiment.json.

    python examples/workshop/make_events.py

Nobody sent these events. The outcomes are drawn with the rates below, whichever arm a device falls in by `assign`, so that a
report has something to find: they say nothing about any trained model. The same file comes out on every machine.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from goldsmith.ab import Arm, NewExperiment, assign

HERE = Path(__file__).parent
FIRST_DAY = datetime(2025, 3, 10, 8, 0, tzinfo=UTC)
DAYS, DEVICES = 5, 1100
FAVORITE = {"base": 15, "lora": 50}  # devices in 100 that keep a favourite
BLOCK = {"base": 2, "lora": 2}  # attempts in 100 that a safety stage stops
LATENCY_MS = {"base": 900, "lora": 1000}
CONTEXTS = [f"{number:064x}" for number in (0xA1, 0xB2, 0xC3, 0xD4)]  # stand-ins for hashes of contexts
DUPLICATES, LATE = 12, 15

Events = Iterator[dict[str, Any]]


def event(name: str, unit: str, at: datetime, run: str | None = None, **data: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"event": name, "unit": unit, "occurred_at": at.isoformat(timespec="seconds").replace("+00:00", "Z")}
    return made | ({"interception_run_id": run} if run else {}) | ({"data": data} if data else {})


def visit(device: str, arm: Arm, rng: random.Random, start: datetime) -> Events:
    """One device's morning: one or two interceptions, each with a picture or two."""
    at = start
    yield event("exposure", device, at)
    likes = rng.randrange(100) < FAVORITE[arm.name]
    for _ in range(1 + (rng.randrange(4) == 0)):
        at += timedelta(seconds=20 + rng.randrange(90))
        run = f"run_{int(at.timestamp() * 1000) + rng.randrange(1000)}_{rng.randrange(16**6):06x}"
        wiki = int(rng.randrange(12) == 0)
        model = "smollm2-135m" if arm.name == "lora" and wiki and rng.randrange(2) else arm.model
        yield event(
            "interception_completed",
            device,
            at,
            run,
            model_used=model,
            latency_ms=LATENCY_MS[arm.name] + rng.randrange(600) + rng.randrange(600),
            wiki_iterations=wiki,
            chars=300 + rng.randrange(500),
            context_sha256=rng.choice(CONTEXTS),
        )
        if rng.randrange(14) == 0:
            yield event("user_edit", device, at + timedelta(seconds=15), run, edit_distance=4 + rng.randrange(80))
        for again in range(1 + (rng.randrange(3) == 0)):
            at += timedelta(seconds=10 + rng.randrange(40))
            if again:
                yield event("regeneration", device, at, run)
            yield event("generation_started", device, at, run, safety_level="kids")
            if rng.randrange(100) < BLOCK[arm.name]:
                stage, method = rng.choice([(3, "86a_filter"), (3, "llm_safety_check"), ("vlm_safety", "vlm_check")])
                yield event("stage_block", device, at + timedelta(seconds=2), run, stage=stage, method=method)
                continue
            yield event("generation_completed", device, at + timedelta(seconds=8), run)
            if likes and not again:
                yield event("favorite_added", device, at + timedelta(seconds=30), run)
            elif rng.randrange(60) == 0:  # liked, then thought better of
                yield event("favorite_added", device, at + timedelta(seconds=30), run)
                yield event("favorite_removed", device, at + timedelta(seconds=50), run)
        if rng.randrange(10) == 0:
            yield event("export", device, at + timedelta(seconds=60), run)
    if rng.randrange(25) == 0:
        yield event("abandon", device, at + timedelta(seconds=90))


def week() -> list[dict[str, Any]]:
    plan = NewExperiment.model_validate_json((HERE / "experiment.json").read_bytes())
    assert plan.salt is not None
    rng = random.Random(20250310)  # noqa: S311  the same file every time is meant
    events: list[dict[str, Any]] = []
    for _ in range(DEVICES):
        day = rng.randrange(DAYS)
        start = FIRST_DAY + timedelta(days=day, seconds=rng.randrange(4 * 3600))
        device = f"{rng.randrange(16**8):08x}-{rng.randrange(16**4):04x}_{start:%Y-%m-%d}"
        events += visit(device, assign(plan.salt, device, plan.arms), rng, start)
    events.sort(key=lambda one: (one["occurred_at"], one["unit"]))
    events = [{"event_id": f"w{number:05}"} | one for number, one in enumerate(events)]
    for _ in range(LATE):  # sent hours later, out of order
        events.insert(len(events) - 1 - rng.randrange(50), events.pop(rng.randrange(len(events) // 2)))
    for _ in range(DUPLICATES):  # sent twice, as after a lost answer
        place = rng.randrange(len(events) - 1)
        events.insert(place + 1 + rng.randrange(min(40, len(events) - place)), events[place])
    return events


def text() -> str:
    return "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in week())


if __name__ == "__main__":
    (HERE / "events.jsonl").write_text(text(), encoding="utf-8")
