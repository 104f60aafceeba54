"""Whether it got better: the held-out loss with an interval, and answers of before and after side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy

from goldsmith.datasets import Example
from goldsmith.kinds.train.fit import Nll, mean
from goldsmith.kinds.train.rows import named, turns
from goldsmith.kinds.train.schema import Sample
from goldsmith.student import Told
from goldsmith.student.local import answer

RESAMPLES = 10_000
FEWEST = 5  # resampled rows of fewer say nothing about other rows
SHORT = 200


def perplexity(loss: float) -> float:
    """The largest that JSON can say (about 1e304) stands for all that is larger."""
    return math.exp(min(loss, 700.0))


@dataclass(frozen=True)
class Change:
    """Of the held-out loss, after minus before."""

    difference: float
    low: float
    high: float
    improved: bool | Literal["unclear"]

    @property
    def interval(self) -> tuple[float, float, float]:
        return self.difference, self.low, self.high

    @property
    def perplexity_ratio(self) -> tuple[float, float, float]:
        return perplexity(self.difference), perplexity(self.low), perplexity(self.high)


def change(before: Nll, after: Nll, seed: int) -> Change:
    """With its 95 % percentile interval; whole rows are drawn again, each with both of its measurements."""
    tokens = numpy.array([number for _, number in before], dtype=float)
    gains = numpy.array([new - old for (new, _), (old, _) in zip(after, before, strict=True)])
    generator = numpy.random.default_rng(seed)
    drawn = generator.multinomial(len(tokens), [1 / len(tokens)] * len(tokens), size=RESAMPLES)
    low, high = (float(each) for each in numpy.quantile((drawn @ gains) / (drawn @ tokens), [0.025, 0.975]))
    improved: bool | Literal["unclear"] = "unclear"
    if len(tokens) >= FEWEST and (high < 0 or low > 0):
        improved = high < 0
    return Change(mean(after) - mean(before), low, high, improved)


def reward_accuracy(before: tuple[Nll, Nll], after: tuple[Nll, Nll]) -> float:
    """Share of pairs of which training raised the chosen answer more than the rejected one; (chosen, rejected) each."""
    gained = [
        (old_chosen - chosen) - (old_rejected - rejected)
        for (old_chosen, _), (old_rejected, _), (chosen, _), (rejected, _) in zip(*before, *after, strict=True)
    ]
    return sum(gain > 0 for gain in gained) / len(gained)


def greedy(model: Any, tokenizer: Any, examples: Sequence[Example], max_new_tokens: int, told: Told) -> list[str]:
    """What the model answers to these prompts."""
    model.eval()
    return answer(model, tokenizer, [turns(example)[:-1] for example in examples], max_new_tokens, told=told)


def side_by_side(examples: Sequence[Example], before: Sequence[str], after: Sequence[str]) -> tuple[list[Sample], bytes]:
    """The samples, short, and all of them as lines of JSON with the gold."""
    rows = list(zip(examples, before, after, strict=True))
    lines = [
        json.dumps(
            {"source": named(example), "messages": turns(example)[:-1], "gold": example.output, "before": old, "after": new},
            ensure_ascii=False,
        )
        for example, old, new in rows
    ]
    short = [Sample(source=named(example), before=old[:SHORT], after=new[:SHORT]) for example, old, new in rows]
    return short, "".join(f"{line}\n" for line in lines).encode()
