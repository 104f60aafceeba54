"""Files that another program wrote, maybe while we read: bounded, decoded strictly, and never outside of their folder."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

MAX_BYTES = 4_000_000  # a guess with room: a metadata.json has tens of kB


Stat = tuple[int, int, int]
"""Modification time in nanoseconds, size, inode: a file with the same three is taken for unchanged."""


class Skipped(BaseModel):
    """A file, folder or config that was left out, and why, in words for the person who keeps the recordings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    reason: str


class Unreadable(Exception):
    """The message is the reason that the reader's caller reports, in characters that JSON and Postgres can hold."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason.encode("utf-8", "backslashreplace").decode())


class IsLink(Unreadable):
    """What was to be a file is a link."""


def relative(path: Path, root: Path) -> str:
    """For reports: relative to the root, in characters that JSON and Postgres can hold."""
    text = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    return text.encode("utf-8", "backslashreplace").decode()


def checked(path: Path, root: Path) -> Path:
    """`path` itself when it is inside of `root` after every link is resolved; raises `Unreadable` otherwise."""
    try:
        resolved = path.resolve(strict=True)
    except FileNotFoundError:
        raise Unreadable(f"{path.name} is missing") from None
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a name with a NUL
        raise Unreadable(f"{path.name} cannot be reached: {_words(error)}") from None
    if not resolved.is_relative_to(root.resolve()):
        raise Unreadable(f"{path.name} is a link that leaves the folder; links are not followed out of it")
    return path


def read_text(path: Path, root: Path, limit: int = MAX_BYTES) -> str:
    """The text of a plain UTF-8 file inside of `root`; raises `Unreadable` with the reason."""
    checked(path, root)
    return _read(str(path), limit, 0)[0]


def read_plain(path: str, limit: int = MAX_BYTES) -> tuple[str, Stat]:
    """The same for a file whose folder was checked before, and its stat as it was before reading. A link is refused: `IsLink`."""
    return _read(path, limit, os.O_NOFOLLOW)


class RunFiles:
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


def _read(path: str, limit: int, flags: int) -> tuple[str, Stat]:
    name = path.rpartition("/")[2]
    try:
        # without O_NONBLOCK a pipe would be waited for
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable(f"{name} is not a plain file")
            if status.st_size > limit:
                raise Unreadable(f"{name} has {status.st_size:,} bytes; at most {limit:,} are read")
            raw = os.read(file, status.st_size + 1)  # asked for the limit, it would get the memory for that each time
            if len(raw) > status.st_size:  # it grew
                raw += os.read(file, limit + 1 - len(raw))
        finally:
            os.close(file)
    except FileNotFoundError:
        raise Unreadable(f"{name} is missing") from None
    except OSError as error:
        if flags and error.errno == errno.ELOOP:
            raise IsLink(f"{name} is a link") from None
        raise Unreadable(f"{name} cannot be reached: {_words(error)}") from None
    except ValueError as error:  # a name with a NUL
        raise Unreadable(f"{name} cannot be reached: {_words(error)}") from None
    if len(raw) > limit:
        raise Unreadable(f"{name} has more than {limit:,} bytes")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable(f"{name} is UTF-16, not UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{name} is not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start}") from None
    if "\x00" in text:
        raise Unreadable(f"{name} has a NUL character at position {text.index(chr(0))}")
    return text, (status.st_mtime_ns, status.st_size, status.st_ino)


def read_json(path: Path, root: Path, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object in a file inside of `root`, its strings free of NUL and lone surrogates; raises `Unreadable`."""
    return parse_json(read_text(path, root, limit), path.name)


def parse_json(text: str, name: str) -> dict[str, Any]:
    """The JSON object in the text of the file `name`; raises `Unreadable` as `read_json` does."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        what = "is truncated" if not text.rstrip().endswith("}") else "is not JSON"
        raise Unreadable(f"{name} {what}: {error.msg.removesuffix(' at')} at character {error.pos}") from None
    except (RecursionError, ValueError) as error:  # nested too deeply; NaN; a number of more than 4300 digits
        raise Unreadable(f"{name} is not usable JSON: {_words(error)}") from None
    if not isinstance(value, dict):
        raise Unreadable(f"{name} holds a {type(value).__name__}, not an object")
    bad = _unstorable(value) if "\\u" in text else None  # only an escape can bring one
    if bad is not None:
        raise Unreadable(f"{name} has {bad} in a string")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed in JSON")


def _unstorable(value: object) -> str | None:
    """What in a parsed document Postgres would refuse: its jsonb has neither NUL nor lone surrogates."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str):
            if "\x00" in item:
                return "a NUL character"
            if any("\ud800" <= char <= "\udfff" for char in item):
                return "a lone surrogate"
    return None


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
