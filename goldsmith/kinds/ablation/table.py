"""Intervals, verdicts in words, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy
from numpy.typing import NDArray

from goldsmith.kinds.ablation.schema import AblationConfig, AblationResult, Variant, VariantReport
from goldsmith.kinds.base import Interval

NAMES: dict[Variant, str] = {
    "base": "base model",
    "rules_in_prompt": "rules in the prompt, by retrieval",
    "unclustered": "one adapter, no clustering",
    "by_config": "one adapter for each config",
    "experts": "experts only",
    "reflective": "reflective only",
    "full": "full",
    "full_other_gap": "full, other gap",
}
FEWEST = 5  # sessions, below which resampling them says nothing

Verdict = Literal["better", "worse", "unclear"]


def interval(values: NDArray[numpy.float64], config: AblationConfig) -> Interval:
    """The mean with a percentile interval over sessions, drawn with replacement; the same draws for values of one length."""
    drawn = numpy.random.default_rng(config.seed).integers(len(values), size=(config.bootstrap, len(values)))
    low, high = numpy.quantile(values[drawn].mean(axis=1), [config.alpha / 2, 1 - config.alpha / 2])
    return Interval(value=float(values.mean()), low=float(low), high=float(high))


def win_points(mine: NDArray[numpy.float64], base: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """Of each session: 1 for a higher grade than the base model's, half for the same."""
    points: NDArray[numpy.float64] = (mine > base) + 0.5 * (mine == base)
    return points


def compare(
    variant: Variant,
    mine: Sequence[float],
    base: Sequence[float],
    config: AblationConfig,
    *,
    not_base: int,
    calls: float,
    too_long: int,
) -> VariantReport:
    """`mine` and `base`: the grades of the same sessions, in one order."""
    graded, other = numpy.array(mine, dtype=numpy.float64), numpy.array(base, dtype=numpy.float64)
    over = interval(graded - other, config)
    verdict = judged(over, len(mine))
    return VariantReport(
        variant=variant,
        sessions=len(mine),
        grade=interval(graded, config),
        over_base=over,
        win_rate=interval(win_points(graded, other), config),
        not_base=not_base,
        calls=calls,
        too_long=too_long,
        verdict=verdict,
        words="what the others are compared with" if variant == "base" else words(verdict, over, len(mine)),
    )


def judged(over: Interval, sessions: int) -> Verdict:
    if sessions < FEWEST:
        return "unclear"
    return "better" if over.low > 0 else "worse" if over.high < 0 else "unclear"


def words(verdict: Verdict, over: Interval, sessions: int) -> str:
    if sessions < FEWEST:
        return f"{sessions} sessions are too few to tell"
    if verdict != "unclear":
        return f"{verdict} than the base model on these {sessions} sessions"
    if over.low == over.high == 0:
        return f"graded as the base model on every one of {sessions} sessions"
    return f"cannot be told from the base model on {sessions} sessions: the interval holds 0"


def worth_it(reports: Sequence[VariantReport], not_run: dict[Variant, str]) -> str:
    full = next((one for one in reports if one.variant == "full"), None)
    if full is None:
        return f"not measured: {not_run.get('full', 'the full router was not among the variants')}"
    said = f"{full.over_base.value:+.2f} grades over the base model {_span(full.over_base)}"
    answer = {"better": "yes", "worse": "no", "unclear": "not shown"}[full.verdict]
    rivals = [
        one for one in reports if one.variant not in ("base", "full", "full_other_gap") and one.grade.value >= full.grade.value
    ]
    better = f"; {', '.join(NAMES[one.variant] for one in rivals)} did no worse" if rivals else ""
    return f"{answer}: {said}, {full.words}{better}"


def markdown(result: AblationResult, config: AblationConfig) -> str:
    """The table with what has to be said beside it."""
    label = (
        "REHEARSAL: grades, and what was learned, are those of written rules, not of a model.\n\n" if result.rehearsal else ""
    )
    rows = [
        "| variant | sessions | grade (1–10) | over the base model | win rate | not by the base alone | texts a question | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        *(_line(one, result) for one in result.variants),
        *(f"| {NAMES[name]} | – | – | – | – | – | – | not run: {why} |" for name, why in _unrun(result)),
    ]
    gaps = ""
    if result.other_gap_method is not None and result.gaps_agree is not None:
        gaps = f"\nThe gap by {result.gap_method} and by {result.other_gap_method} decide {result.gaps_agree:.0%} of the clusters alike.\n"
    return (
        f"# Was it worth it?\n\n{label}**{result.worth_it}**\n\n" + "\n".join(rows) + f"\n{gaps}\n{result.note}\n\n"
        f"Intervals: {1 - config.alpha:.0%}, percentile bootstrap over sessions ({config.bootstrap:,} draws). Judge:"
        f" {result.model}, {config.judge_samples} grades a text. Base model: {result.base_model}.\n"
    )


def _unrun(result: AblationResult) -> list[tuple[Variant, str]]:
    return [(name, result.not_run[name]) for name in NAMES if name in result.not_run]


def _line(one: VariantReport, result: AblationResult) -> str:
    name = NAMES[one.variant]
    if one.variant == "full_other_gap":
        name = f"full, gap by {result.other_gap_method}"
    elif one.variant == "full" and result.other_gap_method is not None:
        name = f"full, gap by {result.gap_method}"
    cells = [name, f"{one.sessions}", f"{one.grade.value:.2f} {_span(one.grade)}"]
    if one.variant == "base":
        return f"| {' | '.join([*cells, '–', '–', '0', f'{one.calls:.1f}', one.words])} |"
    over, rate = one.over_base, one.win_rate
    cells += [f"{over.value:+.2f} {_span(over)}", f"{rate.value:.2f} {_span(rate)}"]
    return f"| {' | '.join([*cells, str(one.not_base), f'{one.calls:.1f}', one.words])} |"


def _span(one: Interval) -> str:
    return f"[{one.low:.2f}, {one.high:.2f}]"
