"""What runs say about each other: favourites, new images of an old text, texts that were blocked. And the rows that come of it."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from itertools import pairwise

from goldsmith.devserver.files import Skipped
from goldsmith.devserver.readings import Reading
from goldsmith.recordings import Feedback, RecordedRun

_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Related:
    """A reading, and what only the other runs and the live experiments say of it."""

    reading: Reading
    exclusion: str | None
    feedback: tuple[Feedback, ...]
    """Besides the reading's own."""

    @property
    def content_sha256(self) -> str:
        said = [self.reading.digest, self.exclusion, [asdict(each) for each in self.feedback]]
        content = json.dumps(said, sort_keys=True, ensure_ascii=False, default=datetime.isoformat)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def signals(self) -> tuple[str, ...]:
        return (*self.reading.signals, *(each.signal for each in self.feedback))


def relate(
    readings: Iterable[Reading],
    favorites: Mapping[str, datetime | None],
    reported: Mapping[str, list[Feedback]] | None = None,
) -> tuple[list[Related], list[Skipped]]:
    """Every run with what is said of it elsewhere, oldest first; and the favourites of runs that were not read.

    A second image of a text is a run of its own without an interception; it becomes a `regeneration` of the run that the text
    came from (same device, same generation prompt, other seed), and that run also gets its favourite. The seed does not
    act on the text, so a regeneration is no verdict on it. An `abandon` is an answer of which no image was made before the
    device went on to another run: it may as well have been liked enough. `reported` is what live experiments were told.
    """
    reported = reported or {}
    ordered = sorted(readings, key=lambda each: (each.recorded_at or _LAST, each.run_id))
    exclusions = _exclusions(ordered, reported)
    feedback: dict[str, list[Feedback]] = {each.run_id: list(reported.get(each.run_id, ())) for each in ordered}
    origins = {}
    for images in _grouped(ordered):
        origin = next((each for each in images if exclusions[each.run_id] is None), None)
        for before, after in pairwise(images):
            if origin is not None and after is not origin and after.seed != before.seed:
                data = {"run_id": after.run_id, "seed": after.seed, "previous_seed": before.seed}
                feedback[origin.run_id].append(Feedback("regeneration", data, after.recorded_at))
                if after.exclusion == "no_interception":
                    origins[after.run_id] = origin.run_id
    for run_id, following in _left(ordered, exclusions):
        if all(each.signal != "abandon" for each in feedback[run_id]):
            feedback[run_id].append(Feedback("abandon", {"next_run_id": following.run_id}, following.recorded_at))
    unmatched = []
    for run_id, added_at in favorites.items():
        target = origins.get(run_id, run_id)
        if target in feedback:
            feedback[target].append(Feedback("favorite", {"run_id": run_id}, added_at))
        else:
            reason = f"a favourite of {run_id[:100]}, which is not among the runs that were read"
            unmatched.append(Skipped(path="favorites.json", reason=reason))
    return [Related(each, exclusions[each.run_id], tuple(feedback[each.run_id])) for each in ordered], unmatched


def row(related: Related) -> RecordedRun:
    """Of a run that must not be used no text is kept."""
    reading = related.reading
    own = reading.feedback
    if related.exclusion is not None:
        reading = replace(reading, context=None, context_lang=None, input=None, output=None, accepted=None)
        own = tuple(each for each in own if each.signal != "user_edit")
    shared = {each.name for each in fields(Reading)} & {each.name for each in fields(RecordedRun)}
    values = {name: getattr(reading, name) for name in sorted(shared)}
    values |= {"exclusion": related.exclusion, "feedback": [*own, *related.feedback]}
    return RecordedRun(content_sha256=related.content_sha256, **values)


def _exclusions(ordered: Iterable[Reading], reported: Mapping[str, list[Feedback]]) -> dict[str, str | None]:
    """A block makes every run of the same text unusable: what one stage let pass another time is still that text."""
    stopped = {run_id for run_id, said in reported.items() if any(each.signal == "stage_block" for each in said)}
    blocked = {each.input_key for each in ordered if each.exclusion == "blocked" or each.run_id in stopped} - {None}
    return {
        each.run_id: each.exclusion
        or ("blocked" if each.run_id in stopped else "blocked_text" if each.input_key in blocked else None)
        for each in ordered
    }


def _grouped(ordered: Iterable[Reading]) -> list[list[Reading]]:
    groups: dict[tuple[str, str], list[Reading]] = defaultdict(list)
    for each in ordered:
        if each.generation_key and each.seed is not None:
            groups[each.device_id, each.generation_key].append(each)
    return list(groups.values())


def _left(ordered: Iterable[Reading], exclusions: Mapping[str, str | None]) -> Iterable[tuple[str, Reading]]:
    by_device: dict[str, list[Reading]] = defaultdict(list)
    for each in ordered:
        if each.recorded_at is not None:
            by_device[each.device_id].append(each)
    for runs in by_device.values():
        for run, following in pairwise(runs):
            if exclusions[run.run_id] is None and not run.imaged:
                yield run.run_id, following
