"""Where texts and ids of somebody stand in what jobs left: in files whatever their form, and in JSON."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SHORTEST = 12
"""Characters from which on something is looked for anywhere: "a red fox" may be anybody's. A shorter id is looked for as a
string of its own; a row with a shorter text is known by the id of its run."""

ERASED = "[erased]"
WEIGHTS = (
    ".safetensors",
    ".gguf",
    ".tar",
)  # an export packs models into .tar; gigabytes that would be read while no job can start


class Traces:
    """Ids, and texts that are learned on the way."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._words = {one for one in ids if one}
        self._bytes: list[bytes] | None = None

    def learn(self, texts: Iterable[str | None]) -> None:
        self._words |= {text.strip() for text in texts if text and len(text.strip()) >= SHORTEST}
        self._bytes = None

    def in_file(self, path: Path) -> bool:
        """Also in the members of a ZIP, as numpy's archives are. A file that is gone holds nothing; weights hold no texts."""
        if not path.is_file() or path.suffix in WEIGHTS:
            return False
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(self._in(archive.read(name)) for name in archive.namelist())
        return self._in(path.read_bytes())

    def _in(self, content: bytes) -> bool:
        if self._bytes is None:
            self._bytes = sorted({form for word in self._words for form in _forms(word)})
        return any(form in content for form in self._bytes)

    def taken_from(self, value: Any) -> Any:
        """The JSON without them: of a row in a list that holds one every text goes, for they belong together."""
        match value:
            case str():
                return ERASED if self._said(value) else value
            case list():
                return [_blank(one) if isinstance(one, dict) and self._within(one) else self.taken_from(one) for one in value]
            case dict():
                return {self.taken_from(name): self.taken_from(one) for name, one in value.items()}
        return value

    def _said(self, text: str) -> bool:
        return any(word in text if len(word) >= SHORTEST else word == text for word in self._words)

    def _within(self, value: Any) -> bool:
        if isinstance(value, dict):
            return any(self._within(one) for one in (*value, *value.values()))
        return (
            any(self._within(one) for one in value) if isinstance(value, list) else isinstance(value, str) and self._said(value)
        )


def _blank(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _blank(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_blank(one) for one in value]
    return ERASED if isinstance(value, str) else value


def _forms(word: str) -> list[bytes]:
    """As plain text, in JSON in both its spellings, and in numpy's arrays of text."""
    if len(word) < SHORTEST:
        return [json.dumps(word, ensure_ascii=False).encode(errors="replace"), json.dumps(word).encode()]
    plain, ascii_ = json.dumps(word, ensure_ascii=False)[1:-1], json.dumps(word)[1:-1]
    return [word.encode(errors="replace"), plain.encode(errors="replace"), ascii_.encode(), word.encode("utf-32-le", "replace")]
