"""docs/events.md says what the schema says, and its examples are events."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

from goldsmith.ab.events import EVENTS, Event, parse_event

PAGE = (Path(__file__).parents[1] / "docs" / "events.md").read_text(encoding="utf-8")


def test_the_examples_are_events():
    bodies = re.findall(
        r"-d '\n(.*?)'\n```", PAGE.replace("'$(date -u +%Y-%m-%dT%H:%M:%SZ)'", "2026-03-10T09:00:00Z"), re.DOTALL
    )
    blocks = [json.loads(block) for block in [*bodies, *re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]]
    events = [event for block in blocks for event in block.get("events", [block])]
    assert [parse_event(json.loads(json.dumps(event))).event for event in events] == [
        "exposure", "interception_completed", "stage_block",
    ]  # fmt: skip


def test_every_event_and_every_key_of_its_data_is_told():
    rows = dict(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.*?) \| .* \|$", PAGE, re.MULTILINE))
    told = {name: data for names, data in rows.items() for name in re.findall(r"`(\w+)`", names)}
    assert set(told) == set(EVENTS)
    for model in get_args(get_args(Event)[0]):
        keys = set(model.model_fields["data"].annotation.model_fields)
        for name in get_args(model.model_fields["event"].annotation):
            assert keys <= set(re.findall(r"`(\w+)`", told[name])), f"{name}: {sorted(keys)}"
