"""A folder of files with one line for each thing that is still to be sent. Several processes may share it.

A file is locked by whoever writes or reads it, and free when that process dies, so that nothing is left behind and nothing is
read twice at once. A line is with the kernel when `append` returns: it survives `kill -9`. It is on the disk when the kernel has
written it, within half a minute; there is no fsync, as one makes whoever appends meanwhile wait (up to 250 ms, measured).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SEGMENT_BYTES = 1_048_576
_NAME = re.compile(r"\d{20}-\d+-[0-9a-f]{8}\.log")


class Spool:
    """Any thread may append. What is beyond `max_bytes` in all, or older than `max_age_s`, goes with `trim`, the oldest first."""

    def __init__(self, folder: Path, *, max_bytes: int, max_age_s: float) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder, self._max_bytes, self._max_age_s = folder, max_bytes, max_age_s
        self.after_fork()

    def after_fork(self) -> None:
        """In the child the file and the lock of the parent stay the parent's."""
        parents = getattr(self, "_fd", None)
        if parents is not None:
            os.close(parents)
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._size = 0

    def append(self, line: bytes) -> None:
        """Write one line, whole or not at all; raises `OSError` when the disk is full or gone."""
        with self._lock:
            if self._fd is None:
                path = self.folder / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}.log"
                self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._size = 0
            written = os.write(self._fd, line)
            if written < len(line):
                os.ftruncate(self._fd, self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._size += written
            if self._size >= SEGMENT_BYTES:
                self._let_go()

    def turn(self) -> bool:
        """Begin a new file with the next line; whether there was one to be freed for reading."""
        with self._lock:
            if self._fd is None:
                return False
            self._let_go()
            return True

    def _let_go(self) -> None:
        assert self._fd is not None
        os.close(self._fd)
        self._fd = None

    @property
    def is_writing(self) -> bool:
        return self._fd is not None

    def files(self) -> list[tuple[Path, int, float]]:
        """Path, bytes and time of the last line; the oldest first."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        facts = entry.stat()
                        found.append((Path(entry.path), facts.st_size, facts.st_mtime))
        return sorted(found)

    def trim(self) -> int:
        """Remove what is beyond the limits; how many lines were lost by it. What is being written stays."""
        files, lost = self.files(), 0
        total = sum(size for _, size, _ in files)
        for path, size, written_at in files:
            if total <= self._max_bytes and time.time() - written_at <= self._max_age_s:
                break
            with taken(path) as lines:
                if lines is not None:
                    lost += len(lines)
                    total -= size
                    path.unlink(missing_ok=True)
        return lost


@contextmanager
def taken(path: Path) -> Iterator[list[bytes] | None]:
    """The lines of a file, without their ends, while nobody else has it; `None` when somebody has, or it is gone.

    A last line without its end is what a crash of the machine left of one, and is left out.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        is_gone = not os.fstat(file.fileno()).st_nlink
        yield None if is_gone else [line[:-1] for line in file if line.endswith(b"\n")]
