"""The devserver's recordings on disk, read so that nothing in them can stop or mislead an import.

What the recordings do not show, and no reader can: a text that the input gate of the Lab blocked looks like a broken connection
(it is left out, as `no_interception`); a run that stage 3 blocked looks like one without an image, and one whose image was
blocked afterwards looks like a success. Those two come in as usable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from goldsmith.devserver.checkout import Checkout, config_key
from goldsmith.devserver.files import Skipped, Unreadable, checked, read_json, read_text, relative
from goldsmith.language import language_of
from goldsmith.privacy import find
from goldsmith.recordings import Feedback

EXCLUSIONS = {
    "canvas": "made on the canvas: no single interception",
    "latent_lab": "made in the Latent Lab: no interception",
    "ghost": "config_name is `unknown`: the recorder made it for a request that named no run",
    "dev_device": "the device id starts with dev_, api_ or test-: no child",
    "unknown_device": "no device id was recorded, or one of an old migration (legacy_…): nobody knows who it was",
    "blocked": "a safety stage blocked it, as the recording itself says",
    "no_interception": "no answer of the model was recorded: a new image of an old text, a failure, or a block without a trace",
    "no_input": "no input was recorded",
    "unknown_config": "its config is none of the checkout's",
    "personal_data": "one of its texts has personal data in it, as goldsmith.privacy finds it",
}
"""Why a run must stay out of training; the first that holds, in this order."""

MAX_TEXT_BYTES = 100_000  # a guess with room: prompts have hundreds of characters
MAX_ENTITIES = 1_000  # likewise: a run has about ten
MAX_DEPTH = 4  # date / device / run, and one to spare

_EDITABLE = ("input", "context_prompt", "interception", "optimized_prompt")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Entity:
    """One recorded step, its text read when it is one that matters."""

    type: str
    text: str
    metadata: dict[str, Any]
    recorded_at: datetime | None


@dataclass(frozen=True)
class Reading:
    """One run folder as it was read, before runs are put in relation to each other."""

    run_id: str
    device_id: str
    recorded_at: datetime | None
    config_id: str | None
    exclusion: str | None
    context: str | None = None
    context_lang: str | None = None
    input: str | None = None
    output: str | None = None
    accepted: str | None = None
    generation_prompt: str | None = None
    seed: int | None = None
    feedback: tuple[Feedback, ...] = ()


def export_root(folder: Path) -> Path:
    """Where the dates lie: `folder`/exports/json when it is there, else `folder` itself."""
    nested = folder / "exports" / "json"
    return nested if nested.is_dir() else folder


def find_runs(root: Path) -> tuple[list[Path], list[Skipped]]:
    """Every folder below `root` (or `root` itself) that holds a run, sorted; and what cannot be entered or is a run without
    metadata. Links to folders are not followed."""
    runs: list[Path] = []
    skipped: list[Skipped] = []
    for folder, problem in _walk(root, 0):
        if problem is None:
            runs.append(folder)
        else:
            skipped.append(Skipped(path=relative(folder, root), reason=problem))
    return sorted(runs), sorted(skipped, key=lambda each: each.path)


def _walk(folder: Path, depth: int) -> Iterator[tuple[Path, str | None]]:
    try:
        entries = list(folder.iterdir())
        names = {entry.name for entry in entries}
        if "metadata.json" in names:
            yield folder, None
            return
        if folder.name.startswith("run_") or names & {"final", "prompting_process"}:
            yield folder, "metadata.json is missing"
            return
        for entry in entries:
            if entry.is_symlink() and (entry.is_dir() or not entry.exists()):
                yield entry, "is a link; links to folders are not followed"
            elif entry.is_dir() and depth < MAX_DEPTH:
                yield from _walk(entry, depth + 1)
    except OSError as error:
        yield folder, f"cannot be entered: {error.strerror}"


def read_run(folder: Path, root: Path, checkout: Checkout | None = None) -> Reading:
    """One run folder; raises `Unreadable` with the reason when it is broken.

    With a checkout, `config_id` is the recorded interception config that it knows; a regenerated image carries the id of its
    output config in `config_name`, so `interception_config` counts first. Of a run that is excluded by what `metadata.json`
    says no text is read.
    """
    checked(folder, root)
    if relative(folder, root) != str(folder.relative_to(root)):
        raise Unreadable("the folder's name is not UTF-8")
    metadata = read_json(folder / "metadata.json", folder)
    run_id, recorded_at = folder.name, _time(metadata.get("timestamp"))
    owner = "" if folder == root or folder.parent == root or _DATE.fullmatch(folder.parent.name) else folder.parent.name
    device_id = _word(metadata, "device_id") or owner  # null stands for the folder's name, which the recorder made up itself
    named = [name for key in ("interception_config", "config_name", "schema") if (name := _word(metadata, key))]
    config_id = next((name for name in named if checkout is not None and checkout.has(name)), named[0] if named else None)
    config_id = config_id and config_key(config_id)

    exclusion = _excluded_at_sight(metadata, run_id, (device_id, owner))
    if exclusion is not None:
        return Reading(run_id, device_id, recorded_at, config_id, exclusion)
    process = _entities(metadata, "prompting_process", folder)
    final = _entities(metadata, "entities", folder)
    output = _model_output(process, final)
    context = _first("context_prompt", process, final)
    reading = Reading(
        run_id=run_id,
        device_id=device_id,
        recorded_at=recorded_at,
        config_id=config_id,
        exclusion=None,
        context=context,
        context_lang=_context_language(context, config_id, checkout),
        input=_first("input", process, final),
        output=output,
        accepted=_last("interception", final),
        generation_prompt=_last("generation_prompt", final),
        seed=next((seed for each in final if each.type.startswith("output_") and (seed := _seed(each)) is not None), None),
        feedback=(*_edits(process, final), *_blocks(final)),
    )
    return replace(reading, exclusion=_excluded(reading, named, checkout))


def read_favorites(root: Path) -> tuple[dict[str, datetime | None], list[Skipped]]:
    """Run id to the time it was added, from `favorites.json`; none when there is no such file."""
    path = root / "favorites.json"
    if not path.exists() and not path.is_symlink():
        return {}, []
    try:
        entries = read_json(path, root).get("favorites", [])
        if not isinstance(entries, list):
            raise Unreadable(f"favorites is a {type(entries).__name__}, not a list")
    except Unreadable as error:
        return {}, [Skipped(path=path.name, reason=str(error))]
    favorites: dict[str, datetime | None] = {}
    skipped: list[Skipped] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and isinstance(entry.get("run_id"), str):
            favorites.setdefault(entry["run_id"], _time(entry.get("added_at")))
        else:
            skipped.append(Skipped(path=f"{path.name}#{index}", reason="the favourite has no run_id"))
    return favorites, skipped


# -- metadata.json


def _excluded_at_sight(metadata: dict[str, Any], run_id: str, devices: Sequence[str]) -> str | None:
    kind = metadata.get("type")
    if kind == "canvas_workflow" or "_canvas" in run_id or any(device.startswith("canvas_") for device in devices):
        return "canvas"
    if kind == "latent_lab" or any(device.startswith("lab_") for device in devices):
        return "latent_lab"
    if metadata.get("config_name") == "unknown":
        return "ghost"
    if any(device.startswith(("dev_", "api_", "test-")) for device in devices):
        return "dev_device"
    if not devices[0] or any(device.startswith("legacy_") for device in devices):
        return "unknown_device"
    return None


def _excluded(reading: Reading, named: Sequence[str], checkout: Checkout | None) -> str | None:
    if any(each.signal == "stage_block" for each in reading.feedback):
        return "blocked"
    if not (reading.output or "").strip():
        return "no_interception"
    if not (reading.input or "").strip():
        return "no_input"
    if not named or (checkout is not None and not checkout.has(reading.config_id or "")):
        return "unknown_config"
    texts = (reading.input, reading.output, reading.accepted, reading.context, reading.generation_prompt)
    edits = (text for each in reading.feedback for text in each.data.values() if isinstance(text, str))
    if any(find(text) for text in (*texts, *edits) if text):
        return "personal_data"
    return None


def _word(metadata: dict[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    if value is not None and not isinstance(value, str):
        raise Unreadable(f"{key} is a {type(value).__name__}, not a text")
    return value or None


def _time(value: object) -> datetime | None:
    """A time without a zone is local: the devserver writes it so, and the import is meant to run beside it."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None


# -- the recorded steps

_TEXTS = (*_EDITABLE, "generation_prompt")
_STAGES = {"safety": 1, "safety_pre_output": 3}


def _entities(metadata: dict[str, Any], key: str, folder: Path) -> list[Entity]:
    """The steps under `key` in recorded order, those with a text that matters read; raises `Unreadable` on any other shape."""
    entries = metadata.get(key, [])
    if not isinstance(entries, list):
        raise Unreadable(f"{key} is a {type(entries).__name__}, not a list")
    if len(entries) > MAX_ENTITIES:
        raise Unreadable(f"{key} has {len(entries):,} entries; at most {MAX_ENTITIES:,} are read")
    below = "prompting_process" if key == "prompting_process" else "final"
    found = []
    for index, entry in enumerate(entries):
        where = f"{key}[{index}]"
        if not isinstance(entry, dict):
            raise Unreadable(f"{where} is a {type(entry).__name__}, not an object")
        kind, more = entry.get("type"), entry.get("metadata") or {}
        if not isinstance(kind, str) or not isinstance(more, dict):
            raise Unreadable(f"{where} has no type, or metadata that is no object")
        text = ""
        if kind in _TEXTS:
            text = read_text(_path(entry.get("filename"), where, below, folder), folder, MAX_TEXT_BYTES)
        elif kind == "error" or kind in _STAGES:
            more = {**more, **read_json(_path(entry.get("filename"), where, below, folder), folder, MAX_TEXT_BYTES)}
        found.append(Entity(kind, text, more, _time(entry.get("timestamp"))))
    return found


def _path(filename: object, where: str, below: str, folder: Path) -> Path:
    if not isinstance(filename, str) or not filename:
        raise Unreadable(f"{where} has no filename")
    pure = PurePosixPath(filename)
    if pure.is_absolute() or ".." in pure.parts:
        raise Unreadable(f"{where} names the file {filename[:100]!r}, which is outside of the run")
    return folder / pure if pure.parts[:1] == (below,) else folder / below / pure


def _model_output(process: Sequence[Entity], final: Sequence[Entity]) -> str | None:
    """What the model wrote: the first logged interception, later ones being edits. The old synchronous path logged none, but
    named the model in its final one."""
    by_model = [each for each in final if each.metadata.get("model_used")]
    return _first("interception", process, by_model)


def _first(kind: str, *lists: Sequence[Entity]) -> str | None:
    return next((each.text for entities in lists for each in entities if each.type == kind), None)


def _last(kind: str, entities: Sequence[Entity]) -> str | None:
    return next((each.text for each in reversed(entities) if each.type == kind), None)


def _seed(entity: Entity) -> int | None:
    seed = entity.metadata.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def _edits(process: Sequence[Entity], final: Sequence[Entity]) -> Iterator[Feedback]:
    """Each change of a text after its first version; of the interception also one that only the final text shows."""
    for kind in _EDITABLE:
        versions = [each for each in process if each.type == kind]
        if kind == "interception" and versions:
            known = {each.text for each in versions}
            versions += [each for each in final if each.type == kind and each.text not in known][-1:]
        for before, after in pairwise(versions):
            if after.text != before.text:
                yield Feedback("user_edit", {"entity": kind, "before": before.text, "after": after.text}, after.recorded_at)


def _blocks(final: Sequence[Entity]) -> Iterator[Feedback]:
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


def _context_language(context: str | None, config_id: str | None, checkout: Checkout | None) -> str | None:
    if context is None:
        return None
    if checkout is not None and config_id is not None and checkout.has(config_id):
        for lang, text in checkout.config(config_id).context.items():
            if text.strip() == context.strip():
                return lang
    return language_of(context)
