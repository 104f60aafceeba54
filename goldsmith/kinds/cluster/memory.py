"""Whether a clustering fits into memory, before it is begun."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import psutil

from goldsmith.errors import InvalidInput

SHARE = 0.9  # of what is free


def check(n: int, per_pair: int = 4) -> None:
    """Raise `InvalidInput` when the distances between n points, so many bytes for each pair, do not fit into the memory that is free now."""
    needed = per_pair * (n * (n - 1) // 2)
    free = free_memory()
    if needed > SHARE * free:
        most = int((1 + sqrt(1 + 8 * SHARE * free / per_pair)) / 2)
        why = (
            ""
            if per_pair == 4
            else " (some are equally near: the same partition as scikit-learn's then takes four times as much)"
        )
        raise InvalidInput(
            f"{n:,} sessions need {needed / 1e9:.1f} GB for their distances{why} and {free / 1e9:.1f} GB are free: about"
            f" {most:,} sessions would fit; cluster fewer, such as with a smaller limit, or use a machine with more memory"
        )


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take: what the machine has, or less where a container's limit (cgroup 2) is nearer."""
    free = int(psutil.virtual_memory().available)
    limit = cgroup / "memory.max"
    if limit.is_file() and (text := limit.read_text().strip()) != "max":
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        used = int((cgroup / "memory.current").read_text()) - int(stat["inactive_file"])  # cached files give way
        free = min(free, int(text) - used)
    return free
