"""From verdicts to an examination, a win rate over devices, and words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from goldsmith import bootstrap
from goldsmith.judge.pairs import Judged, Votes
from goldsmith.kinds.base import Interval
from goldsmith.kinds.fidelity.runs import Run
from goldsmith.kinds.fidelity.schema import Exam, FidelityConfig, OfConfig

FEW_DEVICES = 10  # bootstrap intervals over fewer are clearly too narrow


def exam(asked: Judged, config: FidelityConfig) -> Exam:
    right = sum(votes.prefers == "one" for votes in asked.votes)
    agreement = right / len(asked.votes)
    return Exam(
        pairs=len(asked.votes),
        right=right,
        agreement=agreement,
        needed=config.min_agreement,
        passed=agreement >= config.min_agreement and not asked.out_of_budget,
    )


def over_devices(values: Sequence[float], devices: Sequence[str], config: FidelityConfig) -> Interval | None:
    """Whole devices are drawn: what one of them recorded hangs together. Of one device nothing can be said."""
    if len(set(devices)) < 2:
        return None
    drawn = bootstrap.means(values, devices, resamples=config.bootstrap, seed=config.seed)
    found = bootstrap.interval(drawn, config.alpha)
    return Interval(value=found.value, low=found.low, high=found.high)


def verdict(rate: Interval | None) -> Literal["better", "worse", "no difference shown"]:
    if rate is None or rate.low <= 0.5 <= rate.high:
        return "no difference shown"
    return "better" if rate.low > 0.5 else "worse"


def by_config(counted: Sequence[tuple[Run, Votes]]) -> list[OfConfig]:
    found: dict[str, list[float]] = {}
    for one, votes in counted:
        found.setdefault(one.config_id, []).append(votes.points or 0.0)
    return [OfConfig(config_id=name, runs=len(points), win_rate=fmean(points)) for name, points in sorted(found.items())]


def why(
    config: FidelityConfig,
    exam: Exam,
    points: Sequence[float],
    rate: Interval | None,
    verdict: str,
    devices: int,
    *,
    out_of_budget: bool,
) -> str:
    told = f"the judge got {exam.right} of {exam.pairs} planted pairs right in both orders ({exam.agreement:.0%})"
    if not exam.passed:
        why = "the budget ended" if out_of_budget else f"{exam.needed:.0%} are asked for"
        return f"not judged: {told}, and {why}"
    if not points:
        ended = "the budget ended before one run was judged"
        return f"{told}, but {ended if out_of_budget else 'no verdict could be read on any answer that may be sent'}"
    value = fmean(points)
    said = (
        f"{told}; against {config.against} the adapter follows the context more in {value:.0%} of {len(points)} runs, ties half"
    )
    if rate is None:
        return f"{said}; all of one device, so that chance cannot be told from more"
    few = f", and {devices} devices are few: take it for narrower than it is" if devices < FEW_DEVICES else ""
    return f"{said} ({rate.low:.0%} to {rate.high:.0%} over {devices} devices{few}): {verdict}"
