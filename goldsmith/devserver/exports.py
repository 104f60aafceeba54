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
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from goldsmith.devserver.checkout import Checkout, config_key
from goldsmith.devserver.files import MAX_BYTES, RunFiles, Skipped, Unreadable, parse_json, read_json, relative
from goldsmith.devserver.readings import Reading
from goldsmith.devserver.steps import blocks, edits, entities, first, last, model_output, seed_of, time_of
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

MAX_DEPTH = 4  # date / device / run, and one to spare

_PLAIN = re.compile(r"[^\W_]+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


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
    files = RunFiles(folder, root)
    metadata = parse_json(files.read("metadata.json", MAX_BYTES), "metadata.json")
    run_id, recorded_at = folder.name, time_of(metadata.get("timestamp"))
    owner = "" if folder == root or folder.parent == root or _DATE.fullmatch(folder.parent.name) else folder.parent.name
    device_id = _word(metadata, "device_id") or owner  # null stands for the folder's name, which the recorder made up itself
    named = [name for key in ("interception_config", "config_name", "schema") if (name := _word(metadata, key))]
    config_id = next((name for name in named if checkout is not None and checkout.has(name)), named[0] if named else None)
    config_id = config_id and config_key(config_id)

    exclusion = _excluded_at_sight(metadata, run_id, (device_id, owner))
    if exclusion is not None:
        at_sight = {"run_id": run_id, "device_id": device_id, "recorded_at": recorded_at, "config_id": config_id}
        return _sealed(at_sight | {"exclusion": exclusion}, files)
    process = entities(metadata, "prompting_process", files)
    logged = {each.type for each in process}
    # of these the first logged version counts, or nothing but the logged ones
    final = entities(metadata, "entities", files, unread=(logged & {"input", "context_prompt"}) | {"optimized_prompt"})
    context, typed = first("context_prompt", process, final), first("input", process, final)
    prompt = last("generation_prompt", final)
    feedback = (*edits(process, final), *blocks(final))
    values: dict[str, Any] = {
        "run_id": run_id,
        "device_id": device_id,
        "recorded_at": recorded_at,
        "config_id": config_id,
        "language": language_of(typed or ""),
        "input_key": _key(" ".join(_PLAIN.findall(typed.casefold()))) if typed else None,
        "generation_key": _key(prompt) if prompt else None,
        "seed": next((seed for each in final if each.type.startswith("output_") and (seed := seed_of(each)) is not None), None),
        "imaged": any(each.type.startswith("output_") for each in final),
    }
    output, accepted = model_output(process, final), last("interception", final)
    texts = _Texts(typed, output, accepted, prompt, context, feedback)
    exclusion = _excluded(texts, values, named, checkout)
    if exclusion is not None:
        feedback = tuple(each for each in feedback if each.signal != "user_edit")
    else:
        values |= {"input": typed, "output": output, "accepted": accepted, "context": context}
        values["context_lang"] = _context_language(context, config_id, checkout)
    return _sealed(values | {"exclusion": exclusion, "feedback": feedback}, files)


class _Texts(NamedTuple):
    typed: str | None
    output: str | None
    accepted: str | None
    prompt: str | None
    context: str | None
    feedback: tuple[Feedback, ...]


def _sealed(values: dict[str, Any], files: RunFiles) -> Reading:
    """With its digest. Of a run that must not be used no text comes here: some were blocked, some name a child."""
    signals = tuple(each.signal for each in values.get("feedback", ()))
    content = json.dumps(values, ensure_ascii=False, sort_keys=True, default=_jsonable)
    return Reading(**values, signals=signals, digest=_key(content), files=tuple(files.read_so_far))


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
            favorites.setdefault(entry["run_id"], time_of(entry.get("added_at")))
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


def _context_language(context: str | None, config_id: str | None, checkout: Checkout | None) -> str | None:
    if context is None:
        return None
    if checkout is not None and config_id is not None and checkout.has(config_id):
        for lang, text in checkout.config(config_id).context.items():
            if text.strip() == context.strip():
                return lang
    return language_of(context)
