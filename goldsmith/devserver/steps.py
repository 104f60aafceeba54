"""The recorded steps of a run: what was typed, made, edited and blocked, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from goldsmith.devserver.edits import edit_distance
from goldsmith.devserver.files import RunFiles, Unreadable, parse_json
from goldsmith.recordings import Feedback

MAX_TEXT_BYTES = 100_000  # a guess with room: prompts have hundreds of characters
MAX_ENTITIES = 1_000  # likewise: a run has about ten
_EDITABLE = ("input", "context_prompt", "interception", "optimized_prompt")
_TEXTS = (*_EDITABLE, "generation_prompt")
_STAGES = {"safety": 1, "safety_pre_output": 3}


@dataclass(frozen=True)
class Entity:
    """One recorded step, its text read when it is one that matters."""

    type: str
    text: str
    metadata: dict[str, Any]
    timestamp: object

    @property
    def recorded_at(self) -> datetime | None:
        return time_of(self.timestamp)


def time_of(value: object) -> datetime | None:
    """A time without a zone is local: the devserver writes it so, and the import is meant to run beside it."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None


def entities(metadata: dict[str, Any], key: str, files: RunFiles, unread: Collection[str] = ()) -> list[Entity]:
    """The steps under `key` in recorded order, those with a text that matters read, but those of the types `unread` empty; raises
    `Unreadable` on any other shape."""
    entries = metadata.get(key, [])
    if not isinstance(entries, list):
        raise Unreadable(f"{key} is a {type(entries).__name__}, not a list")
    if len(entries) > MAX_ENTITIES:
        raise Unreadable(f"{key} has {len(entries):,} entries; at most {MAX_ENTITIES:,} are read")
    below = "prompting_process" if key == "prompting_process" else "final"
    found = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise Unreadable(f"{key}[{index}] is a {type(entry).__name__}, not an object")
        kind, more = entry.get("type"), entry.get("metadata") or {}
        if not isinstance(kind, str) or not isinstance(more, dict):
            raise Unreadable(f"{key}[{index}] has no type, or metadata that is no object")
        text = ""
        if kind in _TEXTS:
            name = _path(entry.get("filename"), f"{key}[{index}]", below)
            text = "" if kind in unread else files.read(name, MAX_TEXT_BYTES)
        elif kind == "error" or kind in _STAGES:
            name = _path(entry.get("filename"), f"{key}[{index}]", below)
            more = {**more, **parse_json(files.read(name, MAX_TEXT_BYTES), name.rpartition("/")[2])}
        found.append(Entity(kind, text, more, entry.get("timestamp")))
    return found


def _path(filename: object, where: str, below: str) -> str:
    """The path of an entity's file in its run: `final` does not stand in it, `prompting_process` may."""
    if not isinstance(filename, str) or not filename:
        raise Unreadable(f"{where} has no filename")
    if filename.startswith("/") or ".." in filename.split("/"):
        raise Unreadable(f"{where} names the file {filename[:100]!r}, which is outside of the run")
    return filename if filename.startswith(f"{below}/") else f"{below}/{filename}"


def model_output(process: Sequence[Entity], final: Sequence[Entity]) -> str | None:
    """What the model wrote: the first logged interception, later ones being edits. The old synchronous path logged none, but
    named the model in its final one."""
    by_model = [each for each in final if each.metadata.get("model_used")]
    return first("interception", process, by_model)


def first(kind: str, *lists: Sequence[Entity]) -> str | None:
    return next((each.text for entities in lists for each in entities if each.type == kind), None)


def last(kind: str, entities: Sequence[Entity]) -> str | None:
    return next((each.text for each in reversed(entities) if each.type == kind), None)


def seed_of(entity: Entity) -> int | None:
    seed = entity.metadata.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def edits(process: Sequence[Entity], final: Sequence[Entity]) -> Iterator[Feedback]:
    """Each change of a text after its first version; of the interception also one that only the final text shows."""
    for kind in _EDITABLE:
        versions = [each for each in process if each.type == kind]
        if kind == "interception" and versions:
            known = {each.text for each in versions}
            versions += [each for each in final if each.type == kind and each.text not in known][-1:]
        for before, after in pairwise(versions):
            if after.text != before.text:
                data: dict[str, Any] = {"entity": kind, "before": before.text, "after": after.text}
                data["edit_distance"] = edit_distance(before.text, after.text)
                if kind == "interception":
                    first = before is versions[0]
                    data["edit_distance_from_output"] = (
                        data["edit_distance"] if first else edit_distance(versions[0].text, after.text)
                    )
                yield Feedback("user_edit", data, after.recorded_at)


def blocks(final: Sequence[Entity]) -> Iterator[Feedback]:
    """One for each stage that blocked; the stage's verdict and the error after it say the same."""
    stages: set[object] = set()
    for each in final:
        said = each.metadata
        if each.type == "error" and "safety" in str(said.get("error_type")):
            stage = said.get("stage") if isinstance(said.get("stage"), int) else None
        elif each.type in _STAGES and (said.get("blocked") is True or said.get("safe") is False):
            stage = _STAGES[each.type]
        else:
            continue
        if stage not in stages:
            stages.add(stage)
            yield Feedback("stage_block", {"stage": stage}, each.recorded_at)
