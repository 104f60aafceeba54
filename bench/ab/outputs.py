"""Collapse: from output 1,000 on, words come from a fifth of the vocabulary. Any fifth, or the most frequent one."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from bench.ab.rows import Found, Row, Scale, percent
from goldsmith.abstats import Collapse
from goldsmith.abstats.sketch import BUCKETS

BEFORE, AFTER, EVERY = 1000, 150, 5
NONE = np.zeros((0, BUCKETS), dtype=np.int64)


class Vocabulary:
    def __init__(self, rng: Generator, words: int, zipf: bool, themes: int, frequent: bool = False) -> None:
        """`frequent`: the fifth that is left is the most frequent one, not any.

        Every output is about one of `themes`; each theme makes a tenth of the words five times as frequent.
        """
        self.rng = rng
        self.bucket = rng.integers(0, BUCKETS, words)
        frequency = 1 / (np.arange(words) + 2.7) if zipf else np.ones(words)
        kept = (np.arange(words) if frequent else rng.permutation(words)) < words / 5
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


def experiment(
    rng: Generator, words: int, zipf: bool, length: int, base_outputs: int, themes: int, frequent: bool
) -> tuple[bool, float]:
    """A false alarm in the outputs before; outputs after the collapse until the alarm."""
    world = Vocabulary(rng, words, zipf, themes, frequent)
    collapse = Collapse()
    collapse.extend(NONE, world.outputs(base_outputs, length))
    false = False
    for arm in np.split(world.outputs(BEFORE, length), BEFORE // 20):
        collapse.extend(arm, NONE)
        false = false or collapse.variety().state == "collapsed"
    after = world.outputs(AFTER, length, narrow=True)
    for number in range(0, AFTER, EVERY):
        collapse.extend(after[number : number + EVERY], NONE)
        if collapse.variety().state == "collapsed":
            return false, number + EVERY
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


def lessons(rng: Generator, zipf: bool, part: float) -> tuple[bool, bool]:
    """Equal arms at 10/90; half of the lessons, 300 requests each, are about a part of the vocabulary. Ever an alarm; ever one with a
    twentieth less entropy, which rolls back."""
    bucket, collapse, alarm, back = rng.integers(0, BUCKETS, 3000), Collapse(), False, False
    frequency = 1 / (np.arange(3000) + 2.7) if zipf else np.ones(3000)
    for _ in range(26):
        said = (frequency * (rng.random(3000) < (part if rng.random() < 0.5 else 1.0))).cumsum()
        for _ in range(6):
            drawn = bucket[said.searchsorted(rng.random(50 * 40) * said[-1], "right")]
            flat = np.bincount(np.repeat(np.arange(50), 40) * BUCKETS + drawn, minlength=50 * BUCKETS).reshape(50, BUCKETS)
            treated = rng.random(50) < 0.1
            collapse.extend(flat[treated], flat[~treated], np.cumsum(~treated)[treated])
            found = collapse.variety()
            if found.state == "collapsed" and found.entropy is not None and found.base_entropy is not None:
                alarm, back = True, back or found.entropy < 0.95 * found.base_entropy
    return alarm, back


def run(scale: Scale) -> Found:
    found = Found()
    worlds = [  # words, by Zipf's law, words of an output, base's outputs, themes, the most frequent fifth is left
        *(
            (words, zipf, length, 1000, 1, False)
            for zipf in (True, False)
            for words in (200, 1000, 5000)
            for length in (10, 30, 100)
        ),
        *((20_000, zipf, length, 1000, 1, False) for zipf in (True, False) for length in (30, 100)),
        *((words, True, length, 1000, 1, True) for words in (200, 2000, 20_000) for length in (20, 100)),
        (2000, True, 5, 1000, 1, False),
        (20_000, True, 30, 50, 1, False),
        (2000, True, 60, 1000, 20, False),
        (100, False, 1, 1000, 1, False),
        (1000, False, 5, 1000, 1, False),
        (10_000, False, 20, 1000, 1, False),
        (20_000, False, 10, 1000, 1, False),
        (1000, False, 1, 1000, 1, False),
    ]
    drawn = {(2000, 5), (1000, 30), (1000, 5), (10_000, 20), (20_000, 10)}
    for words, zipf, length, base, themes, frequent in worlds:
        runs = scale.runs(100)
        name = f"{words:,} words {'by Zipf' if zipf else 'equally frequent'}, {length} an output, {base:,} outputs of base"
        name += f", {themes} themes" if themes > 1 else ""
        name += ", the most frequent left" if frequent else ""
        results = list(scale.each(f"c {name}", experiment, runs, words, zipf, length, base, themes, frequent))
        wrong = np.mean([false for false, _ in results])
        delays = np.array([delay for _, delay in results])
        told = np.isfinite(delays).mean()
        median = np.quantile(delays, 0.5, method="inverted_cdf")
        measured = percent(told) + (f"; median {median:.0f} outputs" if math.isfinite(median) else "")
        found.rows += [
            Row("Collapse: alarm within 150 outputs", name, "≥ 95 %", measured, bool(told >= 0.95), runs),
            Row("Collapse: alarm before it, in 1,000 outputs", name, "≤ 5 %", percent(wrong), bool(wrong <= 0.05), runs),
        ]
        if (words, length) in drawn and themes == 1 and not frequent:
            found.curves[f"collapse {words:,}{' Zipf' if zipf else ''} × {length}"] = [
                (float(n), float((delays <= n).mean())) for n in range(0, AFTER + 1, EVERY)
            ]
    for words, zipf, length, themes in ((2000, True, 30, 1), (1000, False, 5, 1), (2000, True, 60, 20)):
        runs = scale.runs(200)
        wrong = np.mean(list(scale.each(f"q{words}{length}", quiet, runs, words, zipf, length, themes)))
        name = f"{words:,} words {'by Zipf' if zipf else 'equally frequent'}, {length} an output{f', {themes} themes' if themes > 1 else ''}"
        found.rows.append(
            Row("Collapse: false alarms in 4,000 outputs", name, "≤ 5 %", percent(wrong), bool(wrong <= 0.05), runs)
        )
    for zipf, part in ((True, 0.3), (False, 0.3), (True, 0.05)):
        runs = scale.runs(100)
        alarm, back = np.mean(list(scale.each(f"l{zipf}{part}", lessons, runs, zipf, part)), axis=0)
        name = f"10/90, equal arms, 3,000 words {'by Zipf' if zipf else 'equally frequent'}, lessons of 300, half of them about {percent(part, 0)} of the words"
        found.rows += [
            Row("Collapse: false rollbacks in 7,800 outputs", name, "≤ 5 %", percent(back), bool(back <= 0.05), runs),
            Row("Collapse: false alarms that only hold the ramp", name, "", percent(alarm), None, runs),
        ]
    return found
