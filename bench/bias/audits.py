"""How often an audit blames a fair adapter, and from which rate on it sees one that makes others strange.

    python -m bench.bias.audits --audits 200

Answers are drawn, no model speaks: each uses words of its context at random; a planted adapter adds a strange phrase to a share of its
answers about other than western traditions. Everything after the answers is the audit's own code, with its own grid of 24 and 40 prompts.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from pathlib import Path
from uuid import uuid4

import numpy

from goldsmith.kinds.bias_audit import compare, grid, measure
from goldsmith.kinds.bias_audit.grid import Grid, Question
from goldsmith.kinds.bias_audit.schema import BiasAuditConfig
from goldsmith.kinds.bias_audit.tone import lexicon
from tests.fakes import FakeContext
from tests.kinds.bias_audit.test_bias_audit import Counted, adapter

SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
BASE_RATE = 0.03  # of a fair model's answers have a strange word, on either side
AT_HOME = 0.3  # of the answers without a context name something western


def answers(asked: Grid, chance: random.Random, share: float) -> dict[str, str]:
    return {one.key: _answer(one, chance, share) for one in asked.questions}


def _answer(question: Question, chance: random.Random, share: float) -> str:
    prompt, language = question.prompt.text, question.prompt.language
    if question.context is None:
        return f"{prompt} {'Kirche' if chance.random() < AT_HOME else 'Tisch'}"
    known = re.findall(r"[^\W\d_]{4,}", question.context.text(language))
    said = f"{prompt} {' '.join(chance.sample(known, 9))}"
    added = share if question.context.side == "other" else 0.0
    if chance.random() < BASE_RATE + added:
        said += f" {chance.choice([word for word in lexicon()['strange']['riddle'][language] if not word.endswith('*')])}"
    return said


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--audits", type=int, default=200)
    parser.add_argument("--scratch", type=Path, default=Path("/tmp") / f"bias-{uuid4().hex[:8]}")
    given = parser.parse_args()
    config = BiasAuditConfig(adapter="adapter:lora@1")
    ctx = FakeContext(given.scratch)
    asked = grid.build(config, adapter("lora"), ctx)
    for share in SHARES:
        failed, by = 0, Counter[str]()
        for number in range(given.audits):
            chance = random.Random(f"{share}/{number}")
            values = []
            for of in (0.0, share):
                texts = answers(asked, chance, of)
                found = {one.key: measure.look(texts[one.key], one, asked) for one in asked.questions}
                values.append(measure.values(asked, texts, found, Counted()))
            told = compare.audited("adapter:lora@1", *values, config.model_copy(update={"seed": number}), None)
            failed += not told.passed
            by.update(one.name for one in told.measures if one.verdict == "worse")
        error = numpy.sqrt(failed / given.audits * (1 - failed / given.audits) / given.audits)
        print(
            f"planted in {share:.0%} of the answers about others: failed {failed / given.audits:.1%} ± {error:.1%}  {dict(by)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
