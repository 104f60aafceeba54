"""One run as it was read, and what the next import needs of it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from goldsmith import privacy
from goldsmith.devserver.checkout import Checkout
from goldsmith.recordings import Feedback


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


def reader_version(checkout: Checkout | None) -> str:
    """What a reading depends on besides the run: the code that reads, the search for personal data, and the checkout."""
    code = sorted(Path(__file__).parent.glob("*.py"))
    version = hashlib.sha256(b"".join(path.read_bytes() for path in code) + privacy.version().encode())
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
