"""The devserver's recordings on disk, read so that nothing in them can stop or mislead an import.

What the recordings do not show, and no reader can: a text that the input gate of the Lab blocked looks like a broken connection
(it is left out, as `no_interception`); a run that stage 3 blocked looks like one without an image, and one whose image was
blocked afterwards looks like a success. Those two are known only where a live experiment was told of the block.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from goldsmith import privacy
from goldsmith.devserver.checkout import Checkout, config_key
from goldsmith.devserver.edits import edit_distance
from goldsmith.devserver.files import (
    MAX_BYTES,
    IsLink,
    Skipped,
    Unreadable,
    checked,
    parse_json,
    read_json,
    read_plain,
    read_text,
    relative,
)
from goldsmith.language import language_of
from goldsmith.privacy import find
from goldsmith.recordings import Feedback

EXCLUSIONS = {
    "canvas": "made on the canvas: no single interception",
    "latent_lab": "made in the Latent Lab: no interception",
    "ghost": "config_name is `unknown`: the recorder made it for a request that named no run",
    "dev_device": "the device id starts with dev_, api_ or test-: no child",
    "unknown_device": "no device id was recorded, or one of an old migration (legacy_…): nobody knows who it was",
    "blocked": "a safety stage blocked it, as the recording itself or an event of a live experiment says",
    "blocked_text": "its input is that of a blocked run",
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
_PLAIN = re.compile(r"[^\W_]+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Entity:
    """One recorded step, its text read when it is one that matters."""

    type: str
    text: str
    metadata: dict[str, Any]
    timestamp: object

    @property
    def recorded_at(self) -> datetime | None:
        return _time(self.timestamp)


@dataclass(frozen=True)
class Reading:
    """One run folder as it was read, before runs are put in relation to each other."""

    run_id: str
    device_id: str
    recorded_at: datetime | None
    config_id: str | None
    exclusion: str | None
    language: str | None = None
    context: str | None = None
    context_lang: str | None = None
    input: str | None = None
    output: str | None = None
    accepted: str | None = None
    feedback: tuple[Feedback, ...] = ()
    input_key: str | None = None
    """Hash of the input without case, spacing and punctuation: by it other runs of a blocked text are known."""
    generation_key: str | None = None
    """Hash of the prompt that the image was made of."""
    seed: int | None = None
    imaged: bool = False
    """Whether an image, or another medium, was asked for and came."""
    signals: tuple[str, ...] = ()
    """Those of `feedback`, which an entry of the index does not keep."""
    digest: str = ""
    """Of all of the above."""
    files: tuple[tuple[str, int, int, int], ...] = ()
    """What was read: path in the folder, and its `Stat`."""
    remembered: bool = False
    """Whether it comes from the index: then texts and feedback are missing."""


def export_root(folder: Path) -> Path:
    """Where the dates lie: `folder`/exports/json when it is there, else `folder` itself."""
    nested = folder / "exports" / "json"
    return nested if nested.is_dir() else folder


def find_runs(root: Path) -> tuple[list[Path], list[Skipped]]:
    """Every folder below `root` (or `root` itself) that holds a run, sorted; and what cannot be entered or is a run without
    metadata. Links to folders are not followed."""
    runs: list[str] = []
    skipped: list[Skipped] = []
    for folder, problem in _walk(str(root), 0):
        if problem is None:
            runs.append(folder)
        else:
            skipped.append(Skipped(path=relative(Path(folder), root), reason=problem))
    return [Path(folder) for folder in sorted(runs)], sorted(skipped, key=lambda each: each.path)


def _walk(folder: str, depth: int) -> Iterator[tuple[str, str | None]]:
    try:
        with os.scandir(folder) as listing:
            entries = list(listing)
        names = {entry.name for entry in entries}
        if "metadata.json" in names:
            yield folder, None
            return
        if folder.rpartition("/")[2].startswith("run_") or names & {"final", "prompting_process"}:
            yield folder, "metadata.json is missing"
            return
        for entry in entries:
            if entry.is_symlink():
                if os.path.isdir(entry.path) or not os.path.exists(entry.path):
                    yield entry.path, "is a link; links to folders are not followed"
            elif entry.is_dir() and depth < MAX_DEPTH:
                yield from _walk(entry.path, depth + 1)
    except OSError as error:
        yield folder, f"cannot be entered: {error.strerror}"


def read_run(folder: Path, root: Path, checkout: Checkout | None = None) -> Reading:
    """One run folder; raises `Unreadable` with the reason when it is broken.

    With a checkout, `config_id` is the recorded interception config that it knows; a regenerated image carries the id of its
    output config in `config_name`, so `interception_config` counts first. Of a run that is excluded by what `metadata.json`
    says no text is read.
    """
    if not _storable_name(str(folder.relative_to(root))):
        raise Unreadable("the folder's name is not UTF-8")
    files = _Files(folder, root)
    metadata = parse_json(files.read("metadata.json", MAX_BYTES), "metadata.json")
    run_id, recorded_at = folder.name, _time(metadata.get("timestamp"))
    owner = "" if folder == root or folder.parent == root or _DATE.fullmatch(folder.parent.name) else folder.parent.name
    device_id = _word(metadata, "device_id") or owner  # null stands for the folder's name, which the recorder made up itself
    named = [name for key in ("interception_config", "config_name", "schema") if (name := _word(metadata, key))]
    config_id = next((name for name in named if checkout is not None and checkout.has(name)), named[0] if named else None)
    config_id = config_id and config_key(config_id)

    exclusion = _excluded_at_sight(metadata, run_id, (device_id, owner))
    if exclusion is not None:
        at_sight = {"run_id": run_id, "device_id": device_id, "recorded_at": recorded_at, "config_id": config_id}
        return _sealed(at_sight | {"exclusion": exclusion}, files)
    process = _entities(metadata, "prompting_process", files)
    final = _entities(metadata, "entities", files)
    context, typed = _first("context_prompt", process, final), _first("input", process, final)
    prompt = _last("generation_prompt", final)
    feedback = (*_edits(process, final), *_blocks(final))
    values: dict[str, Any] = {
        "run_id": run_id,
        "device_id": device_id,
        "recorded_at": recorded_at,
        "config_id": config_id,
        "language": language_of(typed or ""),
        "input_key": _key(" ".join(_PLAIN.findall(typed.casefold()))) if typed else None,
        "generation_key": _key(prompt) if prompt else None,
        "seed": next((seed for each in final if each.type.startswith("output_") and (seed := _seed(each)) is not None), None),
        "imaged": any(each.type.startswith("output_") for each in final),
    }
    output, accepted = _model_output(process, final), _last("interception", final)
    texts = _Texts(typed, output, accepted, prompt, context, feedback)
    exclusion = _excluded(texts, values, named, checkout)
    if exclusion is not None:
        feedback = tuple(each for each in feedback if each.signal != "user_edit")
    else:
        values |= {"input": typed, "output": output, "accepted": accepted, "context": context}
        values["context_lang"] = _context_language(context, config_id, checkout)
    return _sealed(values | {"exclusion": exclusion, "feedback": feedback}, files)


class _Files:
    """The files of one run: read when they are plain files of its own folders, or links that stay inside of it."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._base = str(folder)
        self.read_so_far: list[tuple[str, int, int, int]] = []
        below = (self._base, f"{self._base}/final", f"{self._base}/prompting_process")
        if any(os.path.islink(each) for each in below):
            checked(folder, root)
            self._linked = True
        else:
            self._linked = False

    def read(self, name: str, limit: int) -> str:
        if not self._linked and name.count("/") <= 1:
            try:
                text, status = read_plain(f"{self._base}/{name}", limit)
                self.read_so_far.append((name, *status))
                return text
            except IsLink:
                pass
        self.read_so_far.append((name, -1, -1, -1))  # never the same again: a run with links is read anew each time
        return read_text(self._folder / name, self._folder, limit)


class _Texts(NamedTuple):
    typed: str | None
    output: str | None
    accepted: str | None
    prompt: str | None
    context: str | None
    feedback: tuple[Feedback, ...]


def _sealed(values: dict[str, Any], files: _Files) -> Reading:
    """With its digest. Of a run that must not be used no text comes here: some were blocked, some name a child."""
    signals = tuple(each.signal for each in values.get("feedback", ()))
    content = json.dumps(values, ensure_ascii=False, sort_keys=True, default=_jsonable)
    return Reading(**values, signals=signals, digest=_key(content), files=tuple(files.read_so_far))


# -- the index of what was read before


def reader_version(checkout: Checkout | None) -> str:
    """What a reading depends on besides the run: the code that reads, the search for personal data, and the checkout."""
    version = hashlib.sha256(Path(__file__).read_bytes() + privacy.version().encode())
    if checkout is not None:
        version.update(repr([(each.config_id, sorted(each.context.items())) for each in checkout.configs]).encode())
    return version.hexdigest()


_KEPT = (
    "run_id",
    "device_id",
    "config_id",
    "exclusion",
    "language",
    "input_key",
    "generation_key",
    "seed",
    "imaged",
    "signals",
    "digest",
    "files",
)


def index_entry(reading: Reading, version: str) -> dict[str, Any]:
    """What the next import needs of a run that did not change, as JSON: no text, but hashes of two."""
    kept = {name: getattr(reading, name) for name in _KEPT}
    return kept | {"version": version, "recorded_at": reading.recorded_at.isoformat() if reading.recorded_at else None}


def remembered(entry: dict[str, Any], folder: Path, version: str) -> Reading | None:
    """The reading of an entry, without texts; None when a file of the run or the reader has changed."""
    if entry["version"] != version:
        return None
    base = str(folder)
    try:
        for name, mtime_ns, size, inode in entry["files"]:
            now = os.lstat(f"{base}/{name}")
            if now.st_mtime_ns != mtime_ns or now.st_size != size or now.st_ino != inode:
                return None
    except OSError:
        return None
    kept = {name: entry[name] for name in _KEPT} | {
        "signals": tuple(entry["signals"]),
        "files": tuple(map(tuple, entry["files"])),
    }
    return Reading(**kept, recorded_at=entry["recorded_at"] and datetime.fromisoformat(entry["recorded_at"]), remembered=True)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _jsonable(value: object) -> object:
    return (
        value.isoformat()
        if isinstance(value, datetime)
        else [value.signal, value.data, value.recorded_at]
        if isinstance(value, Feedback)
        else str(value)
    )


def _storable_name(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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


def _excluded(texts: _Texts, values: dict[str, Any], named: Sequence[str], checkout: Checkout | None) -> str | None:
    if any(each.signal == "stage_block" for each in texts.feedback):
        return "blocked"
    if not (texts.output or "").strip():
        return "no_interception"
    if not (texts.typed or "").strip():
        return "no_input"
    config_id = values["config_id"]
    if not named or (checkout is not None and not checkout.has(config_id or "")):
        return "unknown_config"
    searched = {*texts[:4], *(each.data.get(side) for each in texts.feedback for side in ("before", "after"))}
    if checkout is None or texts.context not in checkout.config(config_id).context.values():
        searched.add(texts.context)  # a config's own context is nobody's text
    if any(find(text, values["language"]) for text in searched if text):
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


def _entities(metadata: dict[str, Any], key: str, files: _Files) -> list[Entity]:
    """The steps under `key` in recorded order, those with a text that matters read; raises `Unreadable` on any other shape."""
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
            text = files.read(_path(entry.get("filename"), f"{key}[{index}]", below), MAX_TEXT_BYTES)
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
                data: dict[str, Any] = {"entity": kind, "before": before.text, "after": after.text}
                data["edit_distance"] = edit_distance(before.text, after.text)
                if kind == "interception":
                    first = before is versions[0]
                    data["edit_distance_from_output"] = (
                        data["edit_distance"] if first else edit_distance(versions[0].text, after.text)
                    )
                yield Feedback("user_edit", data, after.recorded_at)


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
