"""Has an arm begun to say the same thing over and over? A sequential alarm on the sketches of its outputs.

The score of an output is how much it shares with the 40 outputs before it:

    sum over buckets of  (its words there) * (their words there) / (what is usual there)

as shares of words. When outputs come from a smaller vocabulary, the same buckets come again and scores rise. Scores are compared
with those that outputs of a reference had among themselves, by rank, so nothing is assumed about texts. While the ranks are those of
the reference their mean is a half; a stake multiplies by 1 + bet (rank - half - slack), and is an e-process as in `difference`. As
nobody knows when a collapse will begin, the stake is a sum of stakes that begin at every 25th output, with weights that sum to 1
(the e-detector of Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", New England
Journal of Statistics in Data Science 2(2), 2024, made an e-process by its weights: so it bounds the chance of a false alarm over all
time, not its frequency). The slack covers that the reference's ranks are themselves a sample.

Beside it `narrowing` watches the entropy of the latest outputs. It finds at once what lowers the entropy, however short the outputs or
large the vocabulary; the scores find what hardly does, as when the frequent words go. Three watches (scores against base, scores and
entropy against the beginning) share the chance of a false alarm.

What is not covered: outputs depend on inputs. When a whole class asks for the same thing, scores rise; so an alarm counts only while
the arm's words are narrower than base's of the same time by more than chance. `docs/ab.md` says what was found with which vocabularies
and lengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from goldsmith.abstats.difference import Floats
from goldsmith.abstats.narrowing import Narrowing
from goldsmith.abstats.sketch import BUCKETS, Counts, entropy

WINDOW = 40
REFERENCE = 300
"""Outputs of the beginning that say what is usual: half of them for the buckets, the other half for the scores."""
RECENT = 100
"""The latest outputs of the arm, whose entropy is compared with that of base's since the first of them."""
MOST = 2000
"""Of base's outputs that are kept for it: where the arm has a hundredth of the requests they are a quarter of those of the same time."""
CHANGE = 0.05  # bits by which an arm may become narrower than it began: below that lies chance in the reference
BLOCK = 25
BETS = (0.4, 0.8, 1.3)  # 1 / (half + slack) and more would let a stake reach 0
HORIZON = 40  # blocks: a collapse within the first 1,000 outputs or so costs least to find
SMOOTHING = 1.0


class Watch:
    """An alarm that is fed output by output or many at once, with the same result; each costs the same however many came before."""

    def __init__(self, reference: Counts, *, usual: bool, margin: float = 0.0) -> None:
        """`usual`: weigh buckets by what is usual in the reference, which finds every change; otherwise only sameness counts.

        `margin`: bits (of collision entropy) by which outputs may be narrower than the reference's.
        """
        reference = _spoken(reference)
        half = len(reference) // 2
        if len(reference) < 3 * WINDOW:
            raise ValueError(f"a reference of {len(reference)} outputs is too small; it needs {3 * WINDOW}")
        share = reference[:half].sum(axis=0) + SMOOTHING
        self._weight = share.sum() / (BUCKETS * share) if usual else np.ones(BUCKETS)
        self._factor = 2.0**-margin
        self._window = _shares(reference[half : half + WINDOW])
        self._usual = np.sort(self._scores(_shares(reference[half + WINDOW :])))
        self._level = 0.5 + 0.67 / math.sqrt(self._usual.size)  # 0.67 = 2.33 / sqrt(12): a rank's mean is above it in 1 of 100
        self._stakes = [0.0] * len(BETS)
        self._seen = 0

    def extend(self, outputs: Counts) -> Floats:
        """The log of the evidence after each of them."""
        scores = self._scores(_shares(_spoken(outputs))) * self._factor
        places = np.searchsorted(self._usual, scores, "left") + np.searchsorted(self._usual, scores, "right")
        evidence = []
        for surplus in places / 2 / self._usual.size - self._level:
            fresh = _begins(self._seen // BLOCK) if self._seen % BLOCK == 0 else 0.0
            self._stakes = [(stake + fresh) * (1 + bet * surplus) for stake, bet in zip(self._stakes, BETS, strict=True)]
            self._seen += 1
            evidence.append(math.log(sum(self._stakes) / len(BETS)))
        return np.array(evidence)

    def _scores(self, outputs: Floats) -> Floats:
        """How much each shares with the WINDOW before it, which is moved along."""
        known = np.concatenate([self._window, outputs])
        sums = np.concatenate([np.zeros((1, BUCKETS)), known.cumsum(axis=0)])
        before = sums[WINDOW : WINDOW + len(outputs)] - sums[: len(outputs)]
        self._window = known[len(outputs) :]
        scores: Floats = (outputs * before * self._weight).sum(axis=1)
        return scores


@dataclass(frozen=True)
class Variety:
    """How varied the latest outputs of an arm are, and whether they collapsed."""

    state: Literal["unknown", "ok", "collapsed"]
    outputs: int
    base_outputs: int
    entropy: float | None
    """Bits over the buckets, of the latest outputs; None before there are RECENT."""
    base_entropy: float | None
    """Base's since the first of those, or while it has fewer than RECENT, those of the arm's own beginning."""
    chance: float | None
    """How far the two lie apart by chance at most: two and a half standard errors."""
    against_base: float | None
    """Log of the e-value that the arm is narrower than base by more than `max_drop`; None until base has a reference."""
    against_beginning: float | None
    """Log of the e-value that the arm's words became others than they began; None until it has a beginning."""
    narrowing: float | None
    """-log of the p-value that the arm became narrower than it began, all looks paid for; None until it has a beginning."""


class Collapse:
    """The alarm for one arm and one config. Feed it outputs as they come, in any portions; it answers the same."""

    def __init__(self, *, max_drop: float = 0.3, alpha: float = 0.01) -> None:
        """`max_drop`: bits of collision entropy that the arm may lie below base. `alpha`: chance of ever a false alarm."""
        if not max_drop >= 0:
            raise ValueError(f"max_drop is {max_drop}; it must not be negative")
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is {alpha}; it must lie between 0 and 1")
        self._limit = math.log(3 / alpha)  # three watches share the chance of a false alarm
        self._arm, self._base, self._beside = _Stream(), _Stream(), _Beside()
        self._against_base = _Later(self._base, usual=False, margin=max_drop)
        self._against_beginning = _Later(self._arm, usual=True, margin=CHANGE)
        self._narrowing: Narrowing | None = None

    def extend(self, arm: Counts, base: Counts, before: NDArray[np.int64] | None = None) -> None:
        """New outputs of both since the last time.

        `before`: how many of these of base came before each of the arm's; all of them when empty.
        """
        spoken = arm.any(axis=1)
        earlier = np.zeros(len(base), dtype=np.int64)  # the arm's outputs before each of base's
        if before is not None:
            earlier = np.concatenate([[0], spoken.cumsum()])[np.searchsorted(before, np.arange(len(base)), side="right")]
        self._beside.extend(base, self._arm.seen + earlier)
        arm = arm[spoken]
        own = max(0, REFERENCE - self._arm.seen)  # so many of them belong to the arm's own beginning
        self._base.extend(_spoken(base))
        self._arm.extend(arm)
        self._against_base.extend(arm)
        self._against_beginning.extend(arm[own:])
        if self._arm.begun:
            self._narrowing = self._narrowing or Narrowing(self._arm.beginning)
            self._narrowing.extend(arm[own:])

    def variety(self) -> Variety:
        own, base = self._arm.recent, self._beside.since(self._arm.seen - RECENT)
        if base is None and self._arm.begun:
            base = self._arm.beginning[-RECENT:]
        if own is None or base is None:
            bits, base_bits, chance = None, None, None
        else:
            (bits, error), (base_bits, base_error) = _entropy(own), _entropy(base)
            chance = 2.5 * math.hypot(error, base_error)
        narrowing = self._narrowing.evidence if self._narrowing else None
        evidence = (self._against_base.evidence, self._against_beginning.evidence, narrowing)
        known = [value for value in evidence if value is not None]
        state: Literal["unknown", "ok", "collapsed"] = "unknown"
        if known and bits is not None and base_bits is not None and chance is not None:
            state = "collapsed" if max(known) >= self._limit and bits < base_bits - chance else "ok"
        return Variety(state, self._arm.seen, self._base.seen, bits, base_bits, chance, *evidence)


class _Stream:
    """The beginning of an arm's outputs, and its latest."""

    def __init__(self) -> None:
        self.seen = 0
        self.beginning = self._latest = np.zeros((0, BUCKETS), dtype=np.int64)

    def extend(self, outputs: Counts) -> None:
        self.seen += len(outputs)
        self.beginning = np.concatenate([self.beginning, outputs[: REFERENCE - len(self.beginning)]])
        self._latest = np.concatenate([self._latest, outputs])[-RECENT:]

    @property
    def begun(self) -> bool:
        return len(self.beginning) == REFERENCE

    @property
    def recent(self) -> Counts | None:
        return self._latest if len(self._latest) == RECENT else None


class _Beside:
    """Base's latest outputs, and how many the arm had when each came."""

    def __init__(self) -> None:
        self._outputs = np.zeros((0, BUCKETS), dtype=np.uint8)
        self._at = np.zeros(0, dtype=np.int64)

    def extend(self, outputs: Counts, at: NDArray[np.int64]) -> None:
        spoken = outputs.any(axis=1)
        self._outputs = np.concatenate([self._outputs, outputs[spoken].astype(np.uint8)])[-MOST:]
        self._at = np.concatenate([self._at, at[spoken]])[-MOST:]

    def since(self, arm_outputs: int) -> Counts | None:
        """Those that came since the arm had so many, and at least RECENT; None while there are fewer."""
        first = min(int(np.searchsorted(self._at, arm_outputs)), len(self._at) - RECENT)
        return self._outputs[first:].astype(np.int64) if first >= 0 else None


class _Later:
    """A watch that starts once its reference is complete; outputs that come before wait for it."""

    def __init__(self, reference: _Stream, *, usual: bool, margin: float) -> None:
        self._reference, self._usual, self._margin = reference, usual, margin
        self._waiting: list[Counts] = []
        self._watch: Watch | None = None
        self.evidence: float | None = None

    def extend(self, outputs: Counts) -> None:
        self._waiting.append(outputs.astype(np.uint8))
        if self._watch is None and self._reference.begun:
            self._watch = Watch(self._reference.beginning, usual=self._usual, margin=self._margin)
        if self._watch is not None:
            path = self._watch.extend(np.concatenate(self._waiting))
            self.evidence = float(path[-1]) if path.size else self.evidence
            self._waiting = []


def _entropy(outputs: Counts) -> tuple[float, float]:
    """In bits, and its standard error with the output as the unit.

    Corrected by Miller and Madow for what a small sample hides, so that outputs of unequal length can be compared.
    """
    words = outputs.sum(axis=1)
    total = outputs.sum(axis=0)
    bits = entropy(total)
    surprise = -np.log2(np.maximum(total, 1) / total.sum())
    own = (outputs @ surprise - words * bits) / words.mean()
    hidden = (np.count_nonzero(total) - 1) / (2 * math.log(2) * total.sum())
    return float(bits + hidden), float(own.std() / math.sqrt(len(outputs)))


def _spoken(outputs: Counts) -> Counts:
    """Those with words."""
    return outputs[outputs.any(axis=1)]


def _shares(outputs: Counts) -> Floats:
    shares: Floats = outputs / outputs.sum(axis=1, keepdims=True)
    return shares


def _begins(block: int) -> float:
    """The weight of stakes that begin with this block; all of them sum to 1."""
    return HORIZON / ((block + HORIZON) * (block + HORIZON + 1))
