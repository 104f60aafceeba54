"""Collapse: from output 1,000 on, words come from a fifth of the vocabulary."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from bench.ab.rows import Found, Row, Scale, percent
from goldsmith.abstats import Collapse
from goldsmith.abstats.sketch import BUCKETS

BEFORE, AFTER = 1000, 150
NONE = np.zeros((0, BUCKETS), dtype=np.int64)


class Vocabulary:
    def __init__(self, rng: Generator, words: int, zipf: bool, themes: int) -> None:
        """Every output is about one of `themes`; each theme makes a tenth of the words five times as frequent."""
        self.rng = rng
        self.bucket = rng.integers(0, BUCKETS, words)
        frequency = 1 / (np.arange(words) + 2.7) if zipf else np.ones(words)
        kept = rng.permutation(words) < words / 5
        liked = [np.where(rng.random(words) < 0.1, 5.0, 1.0) for _ in range(themes)] if themes > 1 else [np.ones(words)]
        self.wide = [(frequency * theme).cumsum() for theme in liked]
        self.narrow = [(frequency * theme * kept).cumsum() for theme in liked]

    def outputs(self, n: int, words: int, *, narrow: bool = False):
        """Counts of n outputs, whose lengths vary by half around `words`."""
        themes = self.narrow if narrow else self.wide
        lengths = np.maximum(1, np.round(words * self.rng.uniform(0.5, 1.5, n)).astype(int))
        output = np.repeat(np.arange(n), lengths)
        theme = self.rng.integers(0, len(themes), n)[output]
        drawn = np.empty(output.size, dtype=np.int64)
        for number, cumulated in enumerate(themes):
            of_it = theme == number
            drawn[of_it] = cumulated.searchsorted(self.rng.random(of_it.sum()) * cumulated[-1], "right")
        flat = np.bincount(output * BUCKETS + self.bucket[drawn], minlength=n * BUCKETS)
        return flat.reshape(n, BUCKETS)


def experiment(rng: Generator, words: int, zipf: bool, length: int, base_outputs: int, themes: int) -> tuple[bool, float]:
    """A false alarm in the outputs before; outputs after the collapse until the alarm."""
    world = Vocabulary(rng, words, zipf, themes)
    collapse = Collapse()
    collapse.extend(NONE, world.outputs(base_outputs, length))
    false = False
    for arm in np.split(world.outputs(BEFORE, length), BEFORE // 20):
        collapse.extend(arm, NONE)
        false = false or collapse.variety().state == "collapsed"
    after = world.outputs(AFTER, length, narrow=True)
    for number in range(AFTER):
        collapse.extend(after[number : number + 1], NONE)
        if collapse.variety().state == "collapsed":
            return false, number + 1
    return false, math.inf


def quiet(rng: Generator, words: int, zipf: bool, length: int, themes: int) -> bool:
    """A false alarm within 4,000 outputs, looked at after every tenth."""
    world = Vocabulary(rng, words, zipf, themes)
    collapse = Collapse()
    for arm, base in zip(*(np.split(world.outputs(4000, length), 400) for _ in range(2)), strict=True):
        collapse.extend(arm, base)
        if collapse.variety().state == "collapsed":
            return True
    return False


def run(scale: Scale) -> Found:
    found = Found()
    worlds = (
        # words, by Zipf's law, words of an output, base's outputs, themes, whether it is drawn
        (2000, True, 30, 1000, 1, True),
        (2000, True, 5, 1000, 1, True),
        (20_000, True, 80, 1000, 1, True),
        (20_000, True, 30, 50, 1, True),
        (2000, True, 60, 1000, 20, True),
        (100, False, 1, 1000, 1, True),
        (1000, False, 5, 1000, 1, True),
        (1000, False, 30, 1000, 1, True),
        (10_000, False, 80, 1000, 1, True),
        (10_000, False, 20, 1000, 1, False),
        (1000, False, 1, 1000, 1, False),
    )
    for words, zipf, length, base, themes, drawn in worlds:
        runs = scale.runs(200)
        name = f"{words:,} words {'by Zipf' if zipf else 'equally frequent'}, {length} an output, {base:,} outputs of base"
        name += f", {themes} themes" if themes > 1 else ""
        results = list(scale.each(f"c{words}{length}{base}", experiment, runs, words, zipf, length, base, themes))
        wrong = np.mean([false for false, _ in results])
        delays = np.array([delay for _, delay in results])
        told = np.isfinite(delays).mean()
        median = np.quantile(delays, 0.5, method="inverted_cdf")
        measured = percent(told) + (f"; median {median:.0f} outputs" if math.isfinite(median) else "")
        found.rows += [
            Row(
                "Collapse: alarm within 150 outputs",
                name,
                "≥ 95 %",
                measured,
                bool(told >= 0.95),
                runs,
            ),
            Row("Collapse: alarm before it, in 1,000 outputs", name, "≤ 5 %", percent(wrong), bool(wrong <= 0.05), runs),
        ]
        if drawn and themes == 1:
            found.curves[f"collapse {words:,}{' Zipf' if zipf else ''} × {length}"] = [
                (float(n), float((delays <= n).mean())) for n in range(0, AFTER + 1, 3)
            ]
    for words, zipf, length, themes in ((2000, True, 30, 1), (1000, False, 5, 1), (2000, True, 60, 20)):
        runs = scale.runs(200)
        wrong = np.mean(list(scale.each(f"q{words}{length}", quiet, runs, words, zipf, length, themes)))
        name = f"{words:,} words {'by Zipf' if zipf else 'equally frequent'}, {length} an output{f', {themes} themes' if themes > 1 else ''}"
        found.rows.append(
            Row("Collapse: false alarms in 4,000 outputs", name, "≤ 5 %", percent(wrong), bool(wrong <= 0.05), runs)
        )
    return found
