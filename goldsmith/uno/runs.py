"""Sessions out of imported runs. Their signals carry no words: an edit, raw to accepted, is the nearest thing to a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from goldsmith.recordings import RecordedRun
from goldsmith.sessions import Session, Signal
from goldsmith.uno.prompts import language_of_prompts

NOTE = (
    "Signals of imported runs carry no words. An edit, raw to accepted, is the nearest thing to verbal feedback; a favourite or an"
    " export says that an answer was kept, not why; the same prompt with a new seed says next to nothing. Where nobody said anything"
    " in words, the cognitive gap compares the teacher with itself."
)
EDITED = {
    "de": "Ich habe die Antwort vor dem Verwenden so geändert:",
    "en": "Before using it I changed the answer to this:",
}
# What a signal is worth, in edits; guesses. A session that has several is worth their sum.
WEIGHTS: dict[str, float] = {"user_edit": 1.0, "favorite": 0.5, "export": 0.5, "regeneration": 0.25}


def sessions_of_runs(
    runs: Iterable[RecordedRun], *, limit: int | None, max_characters: int
) -> tuple[list[Session], Counter[str]]:
    """The sessions that may be learned from, oldest first; and the runs that are none, by reason."""
    sessions: list[Session] = []
    dropped: Counter[str] = Counter()
    for run in runs:
        query, answer = (run.input or "").strip(), (run.output or "").strip()
        if run.exclusion is not None:
            dropped[run.exclusion] += 1
        elif not query or not answer:
            dropped["no input or no answer was recorded"] += 1
        elif len(query) + len(answer) + len(run.accepted or "") > max_characters:
            dropped[too_long(max_characters)] += 1
        elif limit is not None and len(sessions) == limit:
            dropped["beyond the limit"] += 1
        else:
            sessions.append(_session(run, len(sessions), query, answer))
    return sessions, dropped


def too_long(max_characters: int) -> str:
    return f"longer than {max_characters} characters"


def _session(run: RecordedRun, ordinal: int, query: str, answer: str) -> Session:
    edited = run.accepted is not None and bool(run.accepted.strip()) and run.accepted.split() != answer.split()
    seen = {each.signal for each in run.feedback} - {"user_edit"} | ({"user_edit"} if edited else set())
    signal: Signal = next((one for one in _STRONGEST if one in seen), "none")
    feedback = f"Feedback 1: {EDITED[language_of_prompts(run.language)]} {(run.accepted or '').strip()}" if edited else None
    return Session(
        ordinal=ordinal,
        session_id=run.run_id,
        source="run",
        query=query,
        answer=answer,
        feedback=feedback,
        signal=signal,
        run_id=run.run_id,
        device_id=run.device_id,
        config_id=run.config_id,
        language=run.language,
        weight=sum(WEIGHTS.get(one, 0.0) for one in seen),
    )


_STRONGEST: tuple[Signal, ...] = ("user_edit", "favorite", "export", "regeneration")
