"""Read the source, screen what was read, save it."""

from __future__ import annotations

import asyncio
from collections import Counter

from goldsmith import uploads
from goldsmith.context import JobContext
from goldsmith.errors import InvalidInput
from goldsmith.kinds.sessions.schema import SessionsConfig, SessionsResult
from goldsmith.sessions import Session
from goldsmith.uno import logs, runs
from goldsmith.uno.logs import Read
from goldsmith.uno.screening import quarantined, screened, unknown_languages

SAID = "Sessions whose user said nothing about the answer teach no rules of their own; a score without words says how much, not what."
NOBODY = " Nobody said anything about any answer: there is nothing to distil rules from, and clusters, pairs and adapters will not come of it."
SCREENED_AT_ONCE = 200


async def run(config: SessionsConfig, ctx: JobContext) -> SessionsResult:
    read = await asyncio.to_thread(_read, config, ctx)
    if not read.sessions:
        source = config.runs or config.upload
        raise InvalidInput(
            f"{source} has no session to learn from ({dict(read.dropped) or 'nothing at all'})",
            errors=[
                {
                    "field": "runs" if config.runs else "upload",
                    "value": source,
                    "allowed": "a source with at least one query and its answer",
                }
            ],
        )
    sessions = await _screen(read.sessions, ctx)
    ctx.save_sessions(sessions)
    with_feedback = sum(one.feedback is not None for one in sessions)
    note = runs.NOTE if config.runs else SAID
    if read.without_query:
        note += (
            f" In {read.without_query} rows no query is named: their text stands for it, and the task is to better that text."
        )
    return SessionsResult(
        sessions=len(sessions),
        with_feedback=with_feedback,
        signals=dict(Counter(one.signal for one in sessions).most_common()),
        languages=dict(Counter(one.language or "und" for one in sessions).most_common()),
        formats=dict(read.formats),
        quarantined=quarantined(sessions),
        dropped=dict(read.dropped.most_common()),
        score_scale=list(read.scores) if read.scores else None,
        note=note + ("" if with_feedback else NOBODY) + unknown_languages(sessions),
    )


def _read(config: SessionsConfig, ctx: JobContext) -> Read:
    if config.runs is not None:
        found, dropped = runs.sessions_of_runs(ctx.runs(config.runs), limit=config.limit, max_characters=config.max_characters)
        return Read(sessions=found, dropped=dropped)
    assert config.upload is not None
    upload, path = ctx.upload(config.upload)
    return logs.sessions_of_lines(
        uploads.read_sessions(path),
        form=config.format,
        limit=config.limit,
        max_characters=config.max_characters,
        private=upload.origin != "synthetic",
    )


async def _screen(sessions: list[Session], ctx: JobContext) -> list[Session]:
    done: list[Session] = []
    for start in range(0, len(sessions), SCREENED_AT_ONCE):
        part = sessions[start : start + SCREENED_AT_ONCE]
        done += await asyncio.to_thread(lambda some=part: [screened(one) for one in some])  # type: ignore[misc]
        ctx.progress(95 * len(done) / len(sessions), f"{len(done)} of {len(sessions)} sessions screened")
    return done
