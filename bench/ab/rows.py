"""What a simulation hands back, and how it is spread over the cores."""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SEED = 20_261
BATCH = 25

Curve = list[tuple[float, float]]


@dataclass
class Row:
    claim: str
    setting: str
    aim: str
    measured: str
    met: bool | None  # None: shown beside, no aim of ours
    runs: int

    def __post_init__(self) -> None:
        self.met = None if self.met is None else bool(self.met)  # numpy's is no JSON


@dataclass
class Found:
    rows: list[Row] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)


@dataclass
class Scale:
    """How many runs: all of them, or a tenth to see that it works."""

    quick: bool
    pool: ProcessPoolExecutor

    def runs(self, full: int) -> int:
        return max(BATCH, full // 10) if self.quick else full

    def each(self, name: str, run: Callable[..., Any], runs: int, *arguments: Any) -> Iterator[Any]:
        """`run(generator, *arguments)` so many times; the same numbers on any number of cores."""
        key = zlib.crc32(name.encode())
        sizes = [min(BATCH, runs - start) for start in range(0, runs, BATCH)]
        batches = [
            self.pool.submit(_batch, run, np.random.SeedSequence([SEED, key, number]), size, arguments)
            for number, size in enumerate(sizes)
        ]
        began = time.monotonic()
        for number, batch in enumerate(batches, 1):
            yield from batch.result()
            if sys.stderr.isatty():
                print(f"\r\033[K{name}: {number} of {len(batches)}, {time.monotonic() - began:.0f} s", end="", file=sys.stderr)
        print(f"\r{name}: {runs} runs, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _batch(run: Callable[..., Any], seed: np.random.SeedSequence, size: int, arguments: tuple[Any, ...]) -> list[Any]:
    return [run(np.random.default_rng(child), *arguments) for child in seed.spawn(size)]


def percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f} %"
