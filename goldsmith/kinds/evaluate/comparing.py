"""Two arms on the same prompts, scorer by scorer, and whether the adapter passes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from goldsmith.kinds.evaluate import paired
from goldsmith.kinds.evaluate.heldout import Row, groups
from goldsmith.kinds.evaluate.schema import Comparison, EvaluateConfig, Interval, ScoreComparison, Scorer, Verdict
from goldsmith.kinds.evaluate.scorers import Scored

FEWEST = 6
"""Groups. With five that all agree a coin still does as well in one case of sixteen."""


def compare(
    one: Scored, other: Scored, rows: Sequence[Row], scorers: Sequence[Scorer], primary: Scorer, config: EvaluateConfig
) -> Comparison:
    """`one` minus `other`."""
    scores = [each for scorer in scorers if (each := _by(scorer, one, other, rows, config)) is not None]
    gated = [place for place, row in enumerate(rows) if row.gated]
    expected = [place for place, row in enumerate(rows) if row.gold is not None]
    passed = [(not one.failed[place], not other.failed[place]) for place in gated]
    only_one, only_other = passed.count((True, False)), passed.count((False, True))
    p_value = paired.mcnemar(only_one, only_other) if gated else None
    pass_rate = _interval([float(a) - float(b) for a, b in passed], gated, rows, config)
    nll = [(one.answers.nll[place], other.answers.nll[place]) for place in expected]
    losses = [a[0] - b[0] for a, b in nll if a is not None and b is not None]
    tokens = [float(b[1]) for _, b in nll if b is not None]
    found = {each.scorer: each for each in scores}
    if primary == "rules" and pass_rate is not None and p_value is not None:
        verdict: Verdict = paired.verdict(pass_rate, p_value, config.alpha)
    else:
        words: dict[str, Verdict] = {"better": "wins", "worse": "loses", "unclear": "unclear"}
        verdict = words[found[primary].verdict] if primary in found else "unclear"
    return Comparison(
        arm=one.arm,
        against=other.arm,
        pass_rate=pass_rate,
        gate_score=_interval([one.gate_scores[place] - other.gate_scores[place] for place in gated], gated, rows, config),
        heldout_loss=_interval(losses, expected, rows, config, tokens),
        only_arm_passed=only_one if gated else None,
        only_base_passed=only_other if gated else None,
        p_value=p_value,
        verdict=verdict,
        scores=scores,
    )


def _interval(
    differences: Sequence[float],
    places: Sequence[int],
    rows: Sequence[Row],
    config: EvaluateConfig,
    weights: Sequence[float] | None = None,
) -> Interval | None:
    if not places:
        return None
    return paired.interval(
        differences, weights or [1.0] * len(places), groups(rows[place] for place in places),
        resamples=config.bootstrap, alpha=config.alpha, seed=config.seed,
    )  # fmt: skip


def weights_of(scorer: Scorer, scored: Scored, places: Sequence[int]) -> list[float]:
    """Of perplexity each token counts the same, of the others each row."""
    if scorer != "perplexity":
        return [1.0] * len(places)
    return [float(pair[1]) for place in places if (pair := scored.answers.nll[place]) is not None]


def mean(scorer: Scorer, scored: Scored, places: Sequence[int]) -> float:
    points = [point for place in places if (point := scored.scores[scorer][place]) is not None]
    found = math.fsum(points) / math.fsum(weights_of(scorer, scored, places))
    return math.exp(min(-found, 700)) if scorer == "perplexity" else found


def _by(scorer: Scorer, one: Scored, other: Scored, rows: Sequence[Row], config: EvaluateConfig) -> ScoreComparison | None:
    points = list(zip(one.scores[scorer], other.scores[scorer], strict=True))
    places = [place for place, (a, b) in enumerate(points) if a is not None and b is not None]
    if not places:
        return None
    differences = [a - b for a, b in points if a is not None and b is not None]
    of = groups(rows[place] for place in places)
    difference = _interval(differences, places, rows, config, weights_of(scorer, one, places))
    signs = [(each > 0) - (each < 0) for each in differences]
    rate = _interval([each / 2 for each in signs], places, rows, config)
    assert difference is not None
    assert rate is not None
    p_value = paired.sign_flips(differences, of, resamples=config.bootstrap, seed=config.seed)
    sure = p_value <= config.alpha
    return ScoreComparison(
        scorer=scorer,
        rows=len(places),
        groups=len(set(of)),
        arm=mean(scorer, one, places),
        against=mean(scorer, other, places),
        difference=difference,
        wins=signs.count(1),
        ties=signs.count(0),
        losses=signs.count(-1),
        win_rate=0.5 + rate.difference,
        win_low=0.5 + rate.low,
        win_high=0.5 + rate.high,
        p_value=p_value,
        verdict="better" if sure and difference.low > 0 else "worse" if sure and difference.high < 0 else "unclear",
    )


def against_passing(
    lora: Comparison, primary: Scorer, not_computed: Mapping[Scorer, str], config: EvaluateConfig, *, control_wins: bool
) -> list[str]:
    """Why the adapter does not pass; nothing when it does."""
    reasons = [
        f"worse than base by {each.scorer}: {_number(each)} ({each.losses} of {each.rows} prompts lost, {each.wins} won)"
        for each in lora.scores
        if each.verdict == "worse"
    ]
    found = next((each for each in lora.scores if each.scorer == primary), None)
    if found is None:
        reasons.append(f"the primary scorer {primary} has no prompt that both answers could be judged on")
    elif found.groups < FEWEST:
        reasons.append(
            f"{found.groups} independent groups of prompts are too few to say anything; {FEWEST} at least are needed"
        )
    elif primary != "perplexity" and not found.arm and not found.against:
        reasons.append(
            f"by {primary} no answer of either model has a point: where base has nothing to lose, no loss can be seen"
        )
    elif found.difference.low < -config.margin and found.verdict != "worse":
        reasons.append(
            f"by {primary} it may be worse than base by more than the margin of {config.margin:g}: {_number(found)}; more prompts"
            " would narrow that"
        )
    if control_wins:
        reasons.append("the control wins, too")
    reasons += [f"{scorer} could not be computed: {why}" for scorer, why in not_computed.items()]
    return reasons


def _number(one: ScoreComparison) -> str:
    unit = " nats per token" if one.scorer == "perplexity" else ""
    return f"{one.difference.difference:+.3g} ({one.difference.low:+.3g} to {one.difference.high:+.3g}){unit}"
