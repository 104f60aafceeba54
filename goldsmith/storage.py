"""Files that stay: written to a temporary name, synced, renamed; the row comes last and is the caller's."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from goldsmith.errors import InvalidInput, NotFound


@dataclass(frozen=True)
class Stored:
    uri: str
    """Relative to the storage's root."""
    sha256: str
    bytes: int


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_folder(folder: Path) -> None:
    """With its parents, each synced into the one above it: a power cut leaves no row whose file has no folder."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync_folder(each.parent)


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Storage:
    """A folder tree. What was put is there whole or not at all, also after a power cut."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def path(self, uri: str) -> Path:
        """The file behind a uri; raises `InvalidInput` when it would leave the root."""
        path = (self.root / uri).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise InvalidInput(f"{uri!r} leaves the storage")
        return path

    def existing(self, uri: str) -> Path:
        path = self.path(uri)
        if not path.exists():
            raise NotFound(f"the file {uri} is no longer in the storage")
        return path

    def free_bytes(self, relative: str) -> int:
        """Of the disk where a file of that name would lie."""
        path = self.path(relative)
        return shutil.disk_usage(next(each for each in (path, *path.parents) if each.exists())).free

    def remove(self, uri: str) -> None:
        """The file, and its folder when that is empty then. It may be gone already."""
        path = self.path(uri)
        path.unlink(missing_ok=True)
        if path.parent != self.root.resolve() and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def put(self, relative: str, source: bytes | Path) -> Stored:
        target = self.path(relative)
        _make_folder(target.parent)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".put-")
        try:
            with os.fdopen(handle, "wb") as out:
                if isinstance(source, bytes):
                    out.write(source)
                else:
                    with source.open("rb") as file:
                        shutil.copyfileobj(file, out, 1 << 20)
                out.flush()
                os.fsync(out.fileno())
            os.chmod(temporary, 0o644)
            stored = Stored(
                str(target.relative_to(self.root.resolve())), sha256_file(Path(temporary)), os.path.getsize(temporary)
            )
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
        return stored

    def put_folder(self, relative: str, folder: Path) -> dict[str, Stored]:
        """Every plain file below `folder`, by its relative name. Links are not followed."""
        return {
            str(path.relative_to(folder)): self.put(f"{relative}/{path.relative_to(folder)}", path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }
