"""Prompts, whatever they come from: what may be trained on, each text once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from goldsmith import privacy
from goldsmith.datasets import ORIGINS, Origin
from goldsmith.devserver.checkout import config_key
from goldsmith.kinds.corpus.words import normal, words
from goldsmith.language import language_of
from goldsmith.recordings import RecordedRun
from goldsmith.uploads import Line, Upload

UNDETERMINED = "und"  # ISO 639-2 for a language that could not be told
_LAST = datetime.max.replace(tzinfo=UTC)

Dropped = dict[str, list[str]]
"""Sources of what was left out, by reason."""


@dataclass(frozen=True)
class Prompt:
    """A text that was typed, uploaded or made at least once."""

    text: str
    """As it was first typed."""
    language: str
    source: str
    """The run that recorded it first, `upload:<id>:<line>`, or `synthetic:<preset>/<number>`."""
    configs: tuple[str, ...] = ()
    """The configs it was recorded with: those with most favourites first, then those with most runs."""
    runs: int = 1
    favourites: int = 0
    origin: Origin = "recorded"
    preset: str = ""
    original: str = ""
    """What was typed, where `text` is a translation of it."""
    traditions: tuple[str, ...] = ()
    rehearsal: bool = False

    @property
    def key(self) -> str:
        return normal(self.text)

    @property
    def rank(self) -> tuple[int, int, int, str]:
        """Of several alike the lowest is kept: what people typed before what a model made, then what was liked."""
        return ORIGINS.index(self.origin), -self.favourites, -self.runs, self.key


def collect(runs: Iterable[RecordedRun], min_words: int, max_words: int) -> tuple[list[Prompt], Dropped]:
    """One prompt for all runs whose texts agree but for case, punctuation and spacing; and the runs left out, by reason."""
    same: dict[str, list[RecordedRun]] = defaultdict(list)
    dropped: Dropped = defaultdict(list)
    for run in runs:
        reason = run.exclusion or _unfit(run.input, run.language, min_words, max_words)
        if reason is not None:
            dropped[reason].append(run.run_id)
        elif run.input is not None:
            same[normal(run.input)].append(run)
    return [_merged(same[key]) for key in sorted(same)], sorted_by_reason(dropped)


def uploaded(upload: Upload, lines: Iterable[Line], min_words: int, max_words: int) -> tuple[list[Prompt], Dropped]:
    """A prompt for each line that may be used, and the others by reason; what a model made is searched for nobody's data."""
    prompts: list[Prompt] = []
    dropped: Dropped = defaultdict(list)
    for line in lines:
        text, source = line.prompt.input, f"{upload.ref}:{line.number}"
        language = line.prompt.language or language_of(text)
        if reason := _unfit(text, language, min_words, max_words, search=upload.origin != "synthetic"):
            dropped[reason].append(source)
        else:
            configs = (config_key(line.prompt.config_id),) if line.prompt.config_id else ()
            prompts.append(Prompt(text, language or UNDETERMINED, source, configs, origin=upload.origin))
    return prompts, sorted_by_reason(dropped)


def sorted_by_reason(dropped: Dropped) -> Dropped:
    return {reason: sorted(dropped[reason]) for reason in sorted(dropped)}


def merge(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Each text once; `runs` counts how often. What people typed stays theirs, whoever made the same."""
    same: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        same[prompt.key].append(prompt)
    merged = []
    for key in sorted(same):
        alike = sorted(same[key], key=lambda prompt: (prompt.rank, prompt.source))
        configs = dict.fromkeys(config_id for prompt in alike for config_id in prompt.configs)
        merged.append(
            replace(
                alike[0],
                configs=tuple(configs),
                runs=sum(prompt.runs for prompt in alike),
                favourites=sum(prompt.favourites for prompt in alike),
            )
        )
    return merged


def keep(prompts: Iterable[Prompt], reason: Callable[[Prompt], str | None], dropped: Dropped) -> list[Prompt]:
    """The prompts without a reason to leave them out; the sources of the others go to `dropped`."""
    kept = []
    for prompt in prompts:
        if (why := reason(prompt)) is None:
            kept.append(prompt)
        else:
            dropped.setdefault(why, []).append(prompt.source)
    return kept


def _unfit(text: str | None, language: str | None, min_words: int, max_words: int, *, search: bool = True) -> str | None:
    if text is None:
        return "no input was recorded"
    number = len(words(text))
    if number < min_words:
        return f"fewer than {min_words} words"
    if number > max_words:
        return f"more than {max_words} words"
    return privacy.personal([text], language) if search else None


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
