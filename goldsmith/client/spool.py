"""A folder of files with one line for each thing that is still to be sent. Several processes may share it.

A file is locked by whoever writes or reads it, and free when that process dies, so that nothing is left behind and nothing is
read twice at once. A line is with the kernel when `append` returns: it survives `kill -9`. In a folder of `memory_of` that takes some
20 µs whatever the disk does; on a disk, while others write and fsync, it was seen to take 0.6 s.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

SEGMENT_BYTES = 1_048_576
SEGMENTS = 16  # at least, that a spool is divided into: so coarse is what goes when it is full
MEMORY = Path("/dev/shm")  # noqa: S108  files in it are in memory, and survive a process
_NAME = re.compile(r"\d{20}-\d+-[0-9a-f]{8}\.log")


class Spool:
    """Any thread may append. It never holds more than `max_bytes`, but for one file of each further process that writes to it."""

    def __init__(self, folder: Path, *, max_bytes: int, max_age_s: float, drops_oldest: bool = True) -> None:
        """`drops_oldest`: for a new line when it is full; otherwise the new one is refused with an `OSError`."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "the folder of a spool must be writable", str(folder))
        self.folder, self._max_bytes, self._max_age_s, self._drops_oldest = folder, max_bytes, max_age_s, drops_oldest
        self._segment = min(SEGMENT_BYTES, max_bytes // SEGMENTS)
        self.after_fork()

    def after_fork(self) -> None:
        """In the child the file and the lock of the parent stay the parent's."""
        parents = getattr(self, "_fd", None)
        if parents is not None:
            os.close(parents)
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._size = 0
        self._held = self._max_bytes  # bytes in the folder, as far as this process knows; at first the folder is looked at

    def append(self, lines: bytes, *, sync: bool = False) -> int:
        """Write lines, all of them or none, with `sync` to the disk itself; how many older lines went for them. Raises `OSError` when
        the disk is full or gone."""
        lost = 0
        with self._lock:
            if self._fd is None:
                room = self._max_bytes - max(self._segment, len(lines))
                if self._held > room:
                    lost = self._trim(room if self._drops_oldest else self._max_bytes)
                if self._held > room and not self._drops_oldest:
                    raise OSError(errno.ENOSPC, f"the folder holds {self._held} of {self._max_bytes} bytes", str(self.folder))
                self._fd = self._open()
            written = os.write(self._fd, lines)
            if written < len(lines):
                os.ftruncate(self._fd, self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._size += written
            self._held += written
            if sync:
                os.fdatasync(self._fd)
            if self._size >= self._segment:
                self._let_go()
        return lost

    def _open(self) -> int:
        self.folder.mkdir(mode=0o700, exist_ok=True)  # another process may have found it empty when it ended
        path = self.folder / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}.log"
        unnamed = path.with_suffix(".new")  # nobody takes it before it is locked
        fd = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(path)
        self._size = 0
        return fd

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

    def files(self) -> list[tuple[Path, int, float]]:
        """Path, bytes and time of the last line; the oldest first."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        facts = entry.stat()
                        found.append((Path(entry.path), facts.st_size, facts.st_mtime))
        return sorted(found)

    def trim(self) -> int:
        """Remove what is beyond the limits, the oldest first; how many lines were lost by it. What is being written stays."""
        return self._trim(self._max_bytes)

    def _trim(self, max_bytes: int) -> int:
        files, lost = self.files(), 0
        total = sum(size for _, size, _ in files)
        for path, size, written_at in files:
            if total <= max_bytes and time.time() - written_at <= self._max_age_s:
                break
            with taken(path) as file:
                if file is not None:
                    lost += file.read().count(b"\n")
                    total -= size
                    path.unlink(missing_ok=True)
        self._held = total
        return lost


@contextmanager
def taken(path: Path) -> Iterator[BinaryIO | None]:
    """The file, while nobody else has it; `None` when somebody has, or it is gone."""
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
        yield file if os.fstat(file.fileno()).st_nlink else None


def writer_of(path: Path) -> int:
    """The id of the process that wrote this file."""
    return int(path.name.split("-")[1])


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def memory_of(folder: Path) -> Path | None:
    """A folder in memory that belongs to this one and this user, if the machine has such a place: the same for every process, and
    still there when one was killed; gone when the machine or its container ends."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    memory = MEMORY / f"goldsmith-{os.geteuid()}-{name}"
    try:
        memory.mkdir(mode=0o700, exist_ok=True)
        facts = memory.lstat()
    except OSError:
        return None
    is_ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o077
    return memory if is_ours else None
