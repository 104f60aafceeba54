"""What runs say about each other: favourites, and new images of an old text. And the rows that come of it."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from itertools import pairwise

from goldsmith.devserver.exports import Reading
from goldsmith.devserver.files import Skipped
from goldsmith.language import language_of
from goldsmith.recordings import Feedback, RecordedRun

_LAST = datetime.max.replace(tzinfo=UTC)


def relate(readings: Iterable[Reading], favorites: Mapping[str, datetime | None]) -> tuple[list[RecordedRun], list[Skipped]]:
    """Runs with all their feedback, oldest first; and the favourites of runs that were not read.

    A second image of a text is a run of its own without an interception; it becomes a `regeneration` of the run that the text
    came from (same device, same generation prompt, other seed), and that run also gets its favourite. The seed does not
    act on the text, so a regeneration is no verdict on it.
    """
    ordered = sorted(readings, key=lambda each: (each.recorded_at or _LAST, each.run_id))
    feedback = {each.run_id: list(each.feedback) for each in ordered}
    origins = {}
    for images in _images_of_one_text(ordered):
        origin = next((each for each in images if each.exclusion is None), None)
        for before, after in pairwise(images):
            if origin is not None and after is not origin and after.seed != before.seed:
                data = {"run_id": after.run_id, "seed": after.seed, "previous_seed": before.seed}
                feedback[origin.run_id].append(Feedback("regeneration", data, after.recorded_at))
                if after.exclusion == "no_interception":
                    origins[after.run_id] = origin.run_id
    unmatched = []
    for run_id, added_at in favorites.items():
        target = origins.get(run_id, run_id)
        if target in feedback:
            feedback[target].append(Feedback("favorite", {"run_id": run_id}, added_at))
        else:
            reason = f"a favourite of {run_id[:100]}, which is not among the runs that were read"
            unmatched.append(Skipped(path="favorites.json", reason=reason))
    return [_row(each, feedback[each.run_id]) for each in ordered], unmatched


def _images_of_one_text(ordered: Iterable[Reading]) -> list[list[Reading]]:
    groups: dict[tuple[str, str], list[Reading]] = defaultdict(list)
    for each in ordered:
        if each.generation_prompt and each.seed is not None:
            groups[each.device_id, each.generation_prompt].append(each)
    return list(groups.values())


def _row(reading: Reading, feedback: Sequence[Feedback]) -> RecordedRun:
    """Of a run that must not be used no text is kept: some were blocked, some name a child."""
    language = language_of(reading.input or "")
    if reading.exclusion is not None:
        reading = replace(reading, context=None, input=None, output=None, accepted=None)
        feedback = [each for each in feedback if each.signal != "user_edit"]
    shared = {each.name for each in fields(Reading)} & {each.name for each in fields(RecordedRun)}
    values = {name: getattr(reading, name) for name in sorted(shared)} | {"feedback": list(feedback)}
    said = {**values, "feedback": [asdict(each) for each in feedback]}
    content = json.dumps(said, sort_keys=True, ensure_ascii=False, default=datetime.isoformat)
    return RecordedRun(content_sha256=hashlib.sha256(content.encode()).hexdigest(), language=language, **values)
