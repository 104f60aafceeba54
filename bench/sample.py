"""One number of one round, and how two of them compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from bench.load import Answer


@dataclass(frozen=True)
class Sample:
    """One round of one app."""

    p50_ms: float
    p99_ms: float
    rate: float = 0.0
    """Requests or jobs a second; 0: not measured."""
    app_cpu_ms: float | None = None
    """CPU of the application's process, for each request or job."""
    postgres_cpu_ms: float | None = None
    added_mb: float = 0.0
    """Memory that the readers added to the API."""


@dataclass(frozen=True)
class Compared:
    """Goldsmith beside an app, by the median of the rounds' own ratios."""

    of: Callable[[Sample, Sample], float]
    """Of Goldsmith's sample and the app's."""
    aim: str = ""
    shown: str = "{:.2f}"

    def over(self, goldsmith: Sequence[Sample], app: Sequence[Sample]) -> str:
        return self.shown.format(median(self.of(*pair) for pair in zip(goldsmith, app, strict=True)))


def rate(aim: str = "") -> Compared:
    return Compared(lambda goldsmith, app: goldsmith.rate / app.rate, aim)


def of_answer(answer: Answer, app_cpu_s: float, postgres_cpu_s: float, *, jobs: int = 1) -> Sample:
    """`jobs`: so many for each request."""
    requests = len(answer.latencies_ms)
    count = requests * jobs
    p50, p99 = percentiles(answer.latencies_ms)
    return Sample(p50, p99, count / answer.seconds, app_cpu_s * 1000 / count, postgres_cpu_s * 1000 / count)


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]
