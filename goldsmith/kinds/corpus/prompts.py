"""Prompts out of recorded runs: what may be trained on, each text once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from goldsmith.devserver.checkout import config_key
from goldsmith.kinds.corpus.words import normal, words
from goldsmith.recordings import RecordedRun

UNDETERMINED = "und"  # ISO 639-2 for a language that could not be told
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Prompt:
    """A text that was typed at least once."""

    text: str
    """As it was first typed."""
    language: str
    source: str
    """The run that recorded it first."""
    configs: tuple[str, ...]
    """The configs it was recorded with: those with most favourites first, then those with most runs."""
    runs: int
    favourites: int

    @property
    def key(self) -> str:
        return normal(self.text)


def collect(runs: Iterable[RecordedRun], min_words: int, max_words: int) -> tuple[list[Prompt], dict[str, list[str]]]:
    """One prompt for all runs whose texts agree but for case, punctuation and spacing; and the runs left out, by reason."""
    same: dict[str, list[RecordedRun]] = defaultdict(list)
    dropped: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        reason = run.exclusion or _unfit(run.input, min_words, max_words)
        if reason is not None:
            dropped[reason].append(run.run_id)
        elif run.input is not None:
            same[normal(run.input)].append(run)
    return [_merged(same[key]) for key in sorted(same)], {reason: sorted(dropped[reason]) for reason in sorted(dropped)}


def _unfit(text: str | None, min_words: int, max_words: int) -> str | None:
    if text is None:
        return "no input was recorded"
    number = len(words(text))
    if number < min_words:
        return f"fewer than {min_words} words"
    return f"more than {max_words} words" if number > max_words else None


def _merged(runs: list[RecordedRun]) -> Prompt:
    first = min(runs, key=lambda run: (run.recorded_at or _LAST, run.run_id))
    favourites: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for run in runs:
        if run.config_id is not None:
            times[config_key(run.config_id)] += 1
            favourites[config_key(run.config_id)] += _favourites(run)
    return Prompt(
        text=first.input or "",
        language=first.language or UNDETERMINED,
        source=first.run_id,
        configs=tuple(sorted(times, key=lambda config_id: (-favourites[config_id], -times[config_id], config_id))),
        runs=len(runs),
        favourites=sum(_favourites(run) for run in runs),
    )


def _favourites(run: RecordedRun) -> int:
    return sum(feedback.signal == "favorite" for feedback in run.feedback)
