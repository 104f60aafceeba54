"""What the events of an experiment come to, worked out slowly and apart from the SQL: one plain loop, as docs/events.md says it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

MODELS = {"base": "small", "lora": "small-lora"}
SLOW_MS = 10_000
OF_A_DAY = ("attempts", "blocks", "interceptions", "errors", "slow")
UNGUARDED = ("research", "disabled")


def newest(events: Sequence[Mapping[str, Any]], *names: str) -> Mapping[str, Any] | None:
    found = [event for event in events if event["event"] in names]
    return max(found, key=lambda event: (event["occurred_at"], event["event_id"])) if found else None


def step_of(events: Sequence[Mapping[str, Any]], step_at: Callable[[str], int]) -> int:
    """Of one interception."""
    ordered = sorted(events, key=lambda event: (event["occurred_at"], event["event_id"]))
    for name in ("exposure", "interception_completed"):
        own = [event["data"]["step"] for event in ordered if event["event"] == name and "step" in event.get("data", {})]
        if own:
            return min(own)
    joining = [event for event in ordered if event["event"] in ("exposure", "interception_completed")]
    return step_at((joining or ordered)[0]["occurred_at"])


def count(
    log: Sequence[Mapping[str, Any]], arm_at: Callable[[str, int], str], step_at: Callable[[str], int]
) -> dict[tuple[str, int], dict[str, Any]]:
    """By unit and step."""
    once = {event["event_id"]: event for event in reversed(log)}.values()
    lone: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in once:
        if event["event"] == "exposure" and "interception_run_id" not in event:
            lone[event["unit"]].append(event)
    runs: dict[tuple[str, Any], list[Mapping[str, Any]]] = defaultdict(list)
    for event in once:
        run = event.get("interception_run_id")
        if run is None:
            own = event.get("data", {}).get("step")
            runs[event["unit"], ("alone", step_at(event["occurred_at"]) if own is None else own)].append(event)
        else:
            runs[event["unit"], run].append(event)
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    days: dict[tuple[str, int], dict[int, dict[str, Any]]] = defaultdict(dict)
    for (unit, run), events in runs.items():
        step = run[1] if isinstance(run, tuple) else step_of(events, step_at)
        arm = arm_at(unit, step)
        row = rows.setdefault((unit, step), defaultdict(int, arm=arm, exposed=False))
        exposures = [event for event in events if event["event"] == "exposure"]
        if not exposures:
            began = min(event["occurred_at"] for event in events)
            before = newest([event for event in lone[unit] if event["occurred_at"] <= began], "exposure")
            exposures = [before] if before else []
        is_gated = any("gated" in event.get("data", {}) for event in exposures)
        _add(row, events, arm, is_gated=is_gated)
        if isinstance(run, str):
            _add(days[unit, step].setdefault(_day(events), defaultdict(int)), events, arm, is_gated=is_gated)
    for key, of_it in days.items():
        rows[key] |= {"first_day": min(of_it), "last_day": max(of_it)}
        rows[key] |= {f"last_{name}": of_it[max(of_it)][name] for name in OF_A_DAY}
    for (unit, step), row in rows.items():
        row["former_step"] = max((s for u, s in rows if u == unit and s < step and rows[u, s]["exposed"]), default=None)
    return rows


def _day(events: Sequence[Mapping[str, Any]]) -> int:
    """On which an interception began, in days since 1970."""
    shown = [event for event in events if event["event"] == "exposure"]
    began = min(datetime.fromisoformat(event["occurred_at"]) for event in shown or events)
    return int(began.timestamp() // 86_400)


def _add(row: dict[str, Any], events: Sequence[Mapping[str, Any]], arm: str, *, is_gated: bool) -> None:
    def named(name: str) -> list[Mapping[str, Any]]:
        return [event for event in events if event["event"] == name]

    done = newest(events, "interception_completed")
    is_other = done is not None and done["data"]["model_used"].removeprefix("local/").removesuffix(":latest") != MODELS[arm]
    row["exposed"] |= bool(named("exposure"))
    if done is not None:
        row["interceptions"] += 1
        row["gated"] += is_gated
        row["foreign_"] += is_other and not is_gated
        row["latency_ms"] += done["data"]["latency_ms"]
        row["slow"] += done["data"]["latency_ms"] > SLOW_MS
    row["wiki"] += any(event["data"].get("wiki_iterations", 0) > 0 for event in named("interception_completed"))
    edits = named("user_edit")
    edited = any(event["data"]["edit_distance"] > 0 for event in edits)
    row["edits"] += edited
    last_edit = newest(events, "user_edit")
    if done is not None and last_edit is not None:
        row["edit_share"] += min(1, last_edit["data"]["edit_distance"] / max(done["data"]["chars"], 1))
    attempts, blocks = attempts_and_blocks(named("generation_started"), named("stage_block"))
    if edited:
        row["edited_attempts"] += attempts
        row["edited_blocks"] += blocks
    elif is_other or is_gated:
        row["foreign_attempts"] += attempts
    else:
        row["attempts"] += attempts
        row["blocks"] += blocks
        failed = [stop for stop in named("stage_block") if stop["data"]["method"] == "llm_check_failed"]
        row["unchecked"] += min(attempts, sum(stop["data"]["stage"] in (3, "vlm_safety") for stop in failed))
    favourite = newest(events, "favorite_added", "favorite_removed")
    row["favorites"] += favourite is not None and favourite["event"] == "favorite_added"
    for column, name in (
        ("regenerations", "regeneration"),
        ("exports", "export"),
        ("abandons", "abandon"),
        ("errors", "error"),
    ):
        row[column] += len(named(name))
    row["dwell_ms"] += sum(event["data"]["dwell_ms"] for event in named("dwell_ms"))


def attempts_and_blocks(starts: Sequence[Mapping[str, Any]], stops: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Of one interception: where nothing is blocked nothing counts; blocks before the arm's model and failed checks are no blocks,
    but a failed check after it shows that there was an attempt, as does a block."""
    guarded = sum(start["data"]["safety_level"] not in UNGUARDED for start in starts)
    after = [stop["data"]["method"] for stop in stops if stop["data"]["stage"] in (3, "vlm_safety")]
    attempts = max(guarded, len(after) if guarded == len(starts) else 0)
    return attempts, min(attempts, sum(method != "llm_check_failed" for method in after))
