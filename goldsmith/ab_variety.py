"""How varied an arm's outputs are beside base's, config by config, from their sketches: entropy, distinct pairs of words, near-duplicates.

Nothing is read twice: what was added stays as sums, and as the last few outputs, beside which a new one may be nearly the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from goldsmith import abstats
from goldsmith.ab import BASE
from goldsmith.ab.metrics import Entropy
from goldsmith.ab_look import Number, OutputsLook, State
from goldsmith.abstats import Collapse, sketch

RECENT = 50  # outputs of an arm and config that a new one is compared with
COMPARABLE = 20  # outputs of base, and of the arm, from which on their entropies of a config are compared. A guess


@dataclass
class _Pool:
    """The outputs of one arm for one config."""

    outputs: int = 0
    near: int = 0
    """Those that were nearly the same as one of the few before."""
    counts: sketch.Counts = field(default_factory=lambda: np.zeros(sketch.BUCKETS, dtype=np.int64))
    minima: sketch.Minima = field(default_factory=lambda: np.full(sketch.BINS, sketch.EMPTY, dtype=np.int64))
    pairs: int = 0
    recent: sketch.Minima = field(default_factory=lambda: np.empty((0, sketch.BINS), dtype=np.int64))

    def add(self, counts: sketch.Counts, minima: sketch.Minima) -> None:
        for one in minima:
            self.near += bool((sketch.similarity(self.recent, one) >= sketch.NEAR_DUPLICATE).any())
            self.recent = np.concatenate([self.recent[-RECENT + 1 :], one[None]])
        self.outputs += len(counts)
        self.counts += counts.sum(axis=0)
        self.minima = np.minimum(self.minima, minima.min(axis=0))
        self.pairs += int(np.maximum(counts.sum(axis=1) - 1, 0).sum())

    @property
    def entropy(self) -> float | None:
        """Bits; None where no output has a word."""
        return sketch.entropy(self.counts) if self.counts.any() else None

    @property
    def repeated(self) -> float | None:
        """The share that was nearly the same as one of the few before; None where none has one before it."""
        return self.near / self.outputs if self.outputs > 1 else None

    @property
    def distinct(self) -> float | None:
        return min(1.0, sketch.distinct(self.minima) / self.pairs) if self.pairs else None


class Outputs:
    """Of one experiment."""

    def __init__(self, alpha: float) -> None:
        """`alpha`: chance of ever a false alarm in an arm, all its configs together."""
        self.seq = -1
        """Of the last sketch that was added."""
        self._alpha = alpha
        self._pools: dict[tuple[str, str | None], _Pool] = {}
        self._alarms: dict[tuple[str, str | None], Collapse] = {}

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Sketches in the order of their `seq`."""
        counts, minima = sketch.decode([row["sketch"] for row in rows])
        places: dict[tuple[str, str | None], list[int]] = {}
        for index, row in enumerate(rows):
            places.setdefault((row["arm"], row["config_id"]), []).append(index)
        for key, those in places.items():
            self._pools.setdefault(key, _Pool()).add(counts[those], minima[those])
            if key[0] != BASE and key not in self._alarms:
                self._alarms[key] = self._alarm(*key)
        for (arm, config), alarm in self._alarms.items():
            mine, theirs = places.get((arm, config), []), places.get((BASE, config), [])
            alarm.extend(counts[mine], counts[theirs], np.searchsorted(theirs, mine))
        self.seq = rows[-1]["seq"]

    def _alarm(self, arm: str, config: str | None) -> Collapse:
        """Configs come one by one: the k-th may give a false alarm with 6 / (pi k)^2 of the arm's alpha, which sums to all of it."""
        number = 1 + sum(other == arm for other, _ in self._alarms)
        return Collapse(alpha=self._alpha * 6 / (math.pi * number) ** 2)

    def looks(self) -> list[OutputsLook]:
        """Of each arm and config that has outputs."""
        return [
            OutputsLook(
                arm=arm,
                config=config,
                outputs=pool.outputs,
                entropy=pool.entropy,
                distinct_pairs=pool.distinct,
                near_duplicates=pool.repeated,
            )
            for (arm, config), pool in sorted(self._pools.items(), key=lambda item: (item[0][1] or "", item[0][0]))
        ]

    def varieties(self, arms: Iterable[str]) -> dict[str, Variety]:
        """Of the arms that have outputs."""
        return {arm: found for arm in arms if (found := self._variety(arm))}

    def _variety(self, arm: str) -> Variety | None:
        mine = {config: pool for (name, config), pool in self._pools.items() if name == arm}
        if not mine:
            return None
        configs = [
            _Config(config, pool, self._pools.get((BASE, config), _Pool()), self._alarms[arm, config].variety())
            for config, pool in mine.items()
        ]
        return Variety(arm, [one for one in configs if one.comparable], sum(pool.outputs for pool in mine.values()))


@dataclass(frozen=True)
class _Config:
    """One config: the arm's outputs and base's."""

    config: str | None
    arm: _Pool
    base: _Pool
    latest: abstats.Variety

    @property
    def comparable(self) -> bool:
        return min(self.arm.outputs, self.base.outputs) >= COMPARABLE

    @property
    def drop(self) -> float:
        """By which share of base's the arm's entropy is smaller: of the latest outputs, or of all while they are few."""
        now, base = self.latest.entropy, self.latest.base_entropy
        if now is None or base is None:
            now, base = self.arm.entropy, self.base.entropy
        return 1 - now / base if now is not None and base else 0.0

    @property
    def collapsed(self) -> bool:
        return self.latest.state == "collapsed"


@dataclass(frozen=True)
class Variety:
    """What the sketches of an arm say beside base's, over the configs where both have enough."""

    arm: str
    configs: Sequence[_Config]
    outputs: int
    """Of the arm, whether or not base has any for the same config."""

    def _mean(self, of: Callable[[_Config], float | None]) -> float | None:
        """Over configs, weighted by the arm's outputs."""
        values = [(config.arm.outputs, value) for config in self.configs if (value := of(config)) is not None]
        return sum(n * value for n, value in values) / sum(n for n, _ in values) if values else None

    @property
    def entropy(self) -> float | None:
        return self._mean(lambda config: config.arm.entropy)

    @property
    def base_entropy(self) -> float | None:
        return self._mean(lambda config: config.base.entropy)

    @property
    def base_outputs(self) -> int:
        return sum(config.base.outputs for config in self.configs)

    @property
    def worst(self) -> _Config | None:
        return max(self.configs, key=lambda config: config.drop, default=None)

    def numbers(self) -> dict[str, Number]:
        return {
            "base": self.base_entropy,
            "arm": self.entropy,
            "outputs": self.outputs,
            "base_outputs": self.base_outputs,
            "distinct_pairs": self._mean(lambda config: config.arm.distinct),
            "base_distinct_pairs": self._mean(lambda config: config.base.distinct),
            "near_duplicates": self._mean(lambda config: config.arm.repeated),
            "base_near_duplicates": self._mean(lambda config: config.base.repeated),
            "worst_config": self.worst.config if self.worst else None,
            "worst_drop": self.worst.drop if self.worst else None,
        }

    @property
    def note(self) -> str | None:
        if self.configs:
            return f"Over {len(self.configs)} configs; 8 bits is the most that a sketch can show."
        return f"Not known yet: no config has {COMPARABLE} outputs with a sketch in both {self.arm} and base."

    def judged(self, guardrail: Entropy) -> tuple[State, str]:
        worst, least = self.worst, guardrail.min_outputs
        if worst is None:
            return "unknown", f"Not known: no config has {COMPARABLE} outputs with a sketch in both {self.arm} and base yet."
        if self.outputs < least:
            return "unknown", f"Not known: {self.arm} has {self.outputs:,} of the {least:,} outputs with a sketch needed."
        for config in self.configs:
            if config.collapsed and config.drop > guardrail.max_drop:
                sure = "That the arm repeats itself more than base, or than it did at first, is certain"
                return "breach", f"{self._told(config, guardrail)}. {sure} at {100 - 100 * guardrail.alpha:.6g}%."
        for config in self.configs:
            if config.collapsed:
                return (
                    "watch",
                    f"{self._told(config, guardrail)}. It is certain that the arm repeats itself, but within what is allowed.",
                )
        if worst.drop > guardrail.max_drop:
            return "watch", f"{self._told(worst, guardrail)}. That may still be chance."
        return "ok", f"{self._told(worst, guardrail)}."

    def _told(self, config: _Config, guardrail: Entropy) -> str:
        where = f" for {config.config}" if config.config else ""
        return (
            f"The latest outputs of {self.arm}{where} have {config.drop:.1%} less entropy than base's, where {guardrail.max_drop:.0%} are"
            f" allowed; {config.arm.near / config.arm.outputs:.1%} of all were nearly the same as one before"
            f" ({_share(config.base)} of base's)"
        )


def _share(pool: _Pool) -> str:
    return f"{pool.near / pool.outputs:.1%}" if pool.outputs else "none"
