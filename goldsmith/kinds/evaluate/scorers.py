"""What each scorer says of an answer: 0 to 1, more is better, or nothing where it has no say."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from goldsmith import golden
from goldsmith.errors import InvalidInput
from goldsmith.gates import RULES
from goldsmith.kinds.evaluate.answering import Answers
from goldsmith.kinds.evaluate.bleu import bleu
from goldsmith.kinds.evaluate.chrf import chrf
from goldsmith.kinds.evaluate.heldout import Row
from goldsmith.kinds.evaluate.schema import SCORERS, EvaluateConfig, Scorer

DECIDING: tuple[Scorer, ...] = ("rules", "exact", "regex", "json_schema")
"""An answer passes or fails; the others say how near it is."""
GIVEN_UP = 10  # answers of an arm that a pattern was too slow for, before it is not tried on the others: 10 s, and not hours
SLOW = f"a pattern took longer than {golden.MATCH_S:g} s on an answer"

HAS_A_SAY: Mapping[Scorer, Callable[[Row], bool]] = {
    "rules": lambda row: row.gated,
    "exact": lambda row: row.expectation is not None and row.expectation.expected is not None,
    "regex": lambda row: row.expectation is not None and row.expectation.pattern is not None,
    "json_schema": lambda row: row.expectation is not None and row.expectation.schema_ is not None,
    "judge": lambda row: bool(row.context),
    "chrf": lambda row: bool(row.references),
    "bleu": lambda row: bool(row.references),
    "perplexity": lambda row: row.gold is not None,
}
NEEDED = {
    "rules": "is gold or expects `rules`",
    "exact": "expects a text (`expected`)",
    "regex": "expects a `pattern`",
    "json_schema": "expects a `schema`",
    "judge": "was rendered from a context, by which it could be judged",
    "chrf": "has a text to be compared with",
    "bleu": "has a text to be compared with",
    "perplexity": "has a text that could be likely",
}


@dataclass(frozen=True)
class Scored:
    """One arm's answers with all scores, row by row."""

    arm: str
    answers: Answers
    failed: list[dict[str, str]]
    """Gates that the answer fails, with the reasons."""
    why: list[dict[str, str]]
    """By scorer, why an answer has no point."""
    scores: dict[Scorer, list[float | None]]
    """Of perplexity: minus the nats of the expected answer."""

    @property
    def gate_scores(self) -> list[float]:
        return [1 - len(failed) / len(RULES) for failed in self.failed]


def chosen(rows: Sequence[Row], config: EvaluateConfig) -> list[Scorer]:
    """The scorers that judge; raises `InvalidInput` for one that has nothing to judge."""
    counts = {scorer: sum(map(HAS_A_SAY[scorer], rows)) for scorer in SCORERS}
    asked = list(config.scorers or [])
    if config.judge is not None:
        asked.append("judge")
    if config.primary is not None:
        asked.append(config.primary)
    for scorer in asked:
        if not counts[scorer]:
            field = "judge" if scorer == "judge" else "primary" if scorer == config.primary else "scorers"
            message = f"{scorer} has nothing to judge: no row of {config.dataset} {NEEDED[scorer]}"
            raise InvalidInput(f"{field}: {message}", errors=[{"field": field, "value": scorer, "message": message}])
    found = config.scorers or [scorer for scorer in SCORERS if counts[scorer] and (scorer != "judge" or config.judge)]
    return sorted(found, key=SCORERS.index)


def primary(scorers: Sequence[Scorer], rows: Sequence[Row], config: EvaluateConfig) -> Scorer:
    if config.primary is not None:
        return config.primary
    counts = {scorer: sum(map(HAS_A_SAY[scorer], rows)) for scorer in scorers}
    deciding = [scorer for scorer in scorers if scorer in DECIDING]
    return max(deciding, key=counts.__getitem__) if deciding else scorers[0]


def score(arm: str, rows: Sequence[Row], answers: Answers, scorers: Sequence[Scorer]) -> Scored:
    """All but the judge."""
    failed = [row.failed(text) for row, text in zip(rows, answers.texts, strict=True)]
    why: list[dict[str, str]] = [{} for _ in rows]
    slow: Counter[str | None] = Counter()
    scores: dict[Scorer, list[float | None]] = {}
    for scorer in scorers:
        if scorer == "judge":
            continue
        points: list[float | None] = []
        for place, (row, text) in enumerate(zip(rows, answers.texts, strict=True)):
            if not HAS_A_SAY[scorer](row):
                points.append(None)
            elif scorer == "rules":
                points.append(float(not failed[place]))
            elif scorer == "perplexity":
                nll = answers.nll[place]
                points.append(None if nll is None else -nll[0])
            else:
                pattern = row.expectation.pattern if scorer == "regex" and row.expectation else None
                point, reason = (None, SLOW) if pattern and slow[pattern] >= GIVEN_UP else _one(scorer, row, text)
                slow[pattern] += reason == SLOW
                points.append(point)
                if reason is not None:
                    why[place][scorer] = reason
        scores[scorer] = points
    return Scored(arm, answers, failed, why, scores)


def _one(scorer: Scorer, row: Row, text: str) -> tuple[float | None, str | None]:
    expectation = row.expectation
    if scorer == "chrf":
        return chrf(row.references, text), None
    if scorer == "bleu":
        return bleu(row.references, text), None
    assert expectation is not None
    if scorer == "exact":
        return float(_same(text) in map(_same, expectation.expected or [])), None
    if scorer == "regex":
        found = golden.found(expectation.pattern or "", text)
        return (None, SLOW) if found is None else (float(found), None if found else "the pattern is not found")
    reason = golden.why_not(expectation.schema_ or {}, text)
    return float(reason is None), reason


def _same(text: str) -> str:
    """Spelling counts, spaces and Unicode's two ways to write an umlaut do not."""
    return " ".join(unicodedata.normalize("NFC", text).split())
