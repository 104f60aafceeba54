"""How varied the answers are: words, cultures, contexts. It says what texts name, not whether they do it justice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from goldsmith import traditions
from goldsmith.datasets import Example
from goldsmith.gates import content_words
from goldsmith.kinds.gold.schema import AntiDefault
from goldsmith.traditions import recognised
from goldsmith.variety import distinct, entropy_bits

Recognise = Callable[[str], list[str]]

WESTERN = {traditions.WESTERN: traditions.western().words}
TOO_OFTEN = 0.05  # of the answers to prompts without a place; a guess
MOST = 0.5  # of those that name a tradition
ENOUGH = 20  # rows, to say anything


def with_western(text: str) -> list[str]:
    return recognised(text, WESTERN)


def contrast(rows: Sequence[Example]) -> float | None:
    """Mean over pairs of answers to one input under two contexts: 1 − Jaccard of their content words, the input's left out."""
    by_input: defaultdict[tuple[str, str], list[Example]] = defaultdict(list)
    for row in rows:
        by_input[row.input, row.language].append(row)
    differences = []
    for (asked, _), answers in by_input.items():
        given = set(content_words(asked))
        said = [(row.config_id, set(content_words(row.output or "")) - given) for row in answers]
        for (one_config, one), (other_config, other) in combinations(said, 2):
            if one_config != other_config and one | other:
                differences.append(1 - len(one & other) / len(one | other))
    return fmean(differences) if differences else None


def anti_default(rows: Sequence[Example], recognise: Recognise = with_western) -> AntiDefault:
    """The prompts that name no tradition, and which ones their answers name all the same."""
    placeless = [row for row in rows if not recognise(row.input)]
    placed = Counter(tradition for row in placeless for tradition in recognise(row.output or ""))
    passed: bool | None = None
    if len(placeless) >= ENOUGH:
        most = max(placed.values(), default=0)
        passed = not (most > TOO_OFTEN * len(placeless) and most > MOST * placed.total())
    return AntiDefault(rows=len(placeless), placed=dict(placed.most_common()), passed=passed)


def summary(rows: Sequence[Example], recognise: Recognise = with_western) -> dict[str, Any]:
    """The numbers of a set of rows that hold answers; the fields of `Diversity` without its report."""
    texts = [row.output or "" for row in rows]
    return {
        "entropy_bits": round(entropy_bits(texts), 3),
        "distinct_1": round(distinct(texts, 1), 4),
        "distinct_2": round(distinct(texts, 2), 4),
        "contrast": None if (difference := contrast(rows)) is None else round(difference, 4),
        "traditions": len({tradition for text in texts for tradition in recognise(text)} - set(WESTERN)),
        "anti_default": anti_default(rows, recognise),
    }


def report(rows: Sequence[Example], known: Mapping[str, Any], recognise: Recognise = with_western) -> dict[str, Any]:
    """All of it: for the whole, each config in each language, and each tradition of the table `known`."""
    parts: defaultdict[tuple[str, str], list[Example]] = defaultdict(list)
    inputs, outputs = Counter[str](), Counter[str]()
    for row in rows:
        parts[row.config_id, row.language].append(row)
        inputs.update(recognise(row.input))
        outputs.update(recognise(row.output or ""))
    whole = summary(rows, recognise)
    return {
        "rows": len(rows),
        **whole,
        "anti_default": whole["anti_default"].model_dump(),
        "by_config": [
            {
                "config_id": config_id,
                "language": language,
                "rows": len(part),
                **{name: value for name, value in summary(part, recognise).items() if name.startswith(("entropy", "distinct"))},
            }
            for (config_id, language), part in sorted(parts.items())
        ],
        "traditions": {name: {"inputs": inputs[name], "outputs": outputs[name]} for name in (*known, *WESTERN)},
    }
