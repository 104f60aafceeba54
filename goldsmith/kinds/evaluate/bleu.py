"""BLEU of one answer: how many words and runs of up to four words it shares with what was expected.

Papineni et al. 2002 on the tokens of mteval-v13a; of an order that shares nothing, half a match, then a quarter and so on (Chen and
Cherry 2014, method 3), and only the orders that the answer is long enough for. The numbers are those of sacrebleu 2.6.0's
`sentence_bleu` with its defaults, divided by 100. Only scripts without spaces are cut otherwise: into characters.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from goldsmith.uno.bleu import pieces

ORDER = 4

_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_SIGNS = re.compile(r"([!-&(-+/:-@\[-`{-~])")  # of ASCII all but - ' . , which may belong to a word or a number
_POINT_BEHIND_A_WORD = re.compile(r"([^0-9])([.,])")
_POINT_BEFORE_A_WORD = re.compile(r"([.,])([^0-9])")
_DASH_BEHIND_A_NUMBER = re.compile(r"([0-9])(-)")


def bleu(references: Sequence[str], candidate: str) -> float:
    """0 to 1, against all references together: each run of words counts as often as the reference that has most of it."""
    given = tokens(candidate)
    wanted = [tokens(reference) for reference in references]
    logs, halving = [], 1
    for n in range(1, ORDER + 1):
        here = _runs(given, n)
        if not here:
            break
        there: Counter[tuple[str, ...]] = Counter()
        for reference in wanted:
            there |= _runs(reference, n)
        shared = (here & there).total()
        if n == 1 and not shared:
            return 0.0
        if not shared:
            halving *= 2
        logs.append(math.log((shared or 1 / halving) / here.total()))
    if not logs:
        return 0.0
    nearest = min((abs(len(reference) - len(given)), len(reference)) for reference in wanted)[1]
    return math.exp(min(0.0, 1 - nearest / len(given)) + math.fsum(logs) / len(logs))


def tokens(text: str) -> list[str]:
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, sign in _ENTITIES:
        text = text.replace(entity, sign)
    text = _SIGNS.sub(r" \1 ", f" {text} ")
    text = _POINT_BEHIND_A_WORD.sub(r"\1 \2 ", text)
    text = _POINT_BEFORE_A_WORD.sub(r" \1 \2", text)
    text = _DASH_BEHIND_A_NUMBER.sub(r"\1 \2 ", text)
    return [piece for word in text.split() for piece in pieces(word)]


def _runs(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))
