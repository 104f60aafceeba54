"""Recorded runs: what children typed, what the model made of it, what they thought of it. Types and SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from goldsmith import jobs

if TYPE_CHECKING:
    import psycopg

Signal = Literal["favorite", "user_edit", "export", "regeneration", "abandon", "stage_block"]


@dataclass(frozen=True)
class Feedback:
    """One thing that somebody, or a safety stage, did to a run."""

    signal: Signal
    data: dict[str, Any] = field(default_factory=dict)
    recorded_at: datetime | None = None


@dataclass(frozen=True)
class RecordedRun:
    """One run of the devserver. Texts are as recorded; every string can be stored in Postgres (no NUL, no lone surrogate)."""

    run_id: str
    device_id: str
    """The browser, not the child: it changes every day, and one child may have used several."""
    content_sha256: str
    """Of all that was read of the run, feedback included: equal hashes mean that nothing changed since an earlier import."""
    recorded_at: datetime | None
    """With time zone; a recorded time without one was taken as local time of the importing machine."""
    config_id: str | None
    context: str | None
    """The recorded context prompt: authoritative over the config's, which may have been edited for this run."""
    context_lang: str | None
    language: str | None
    """Of the input: "de", "en", or None when it cannot be told."""
    input: str | None
    output: str | None
    """The model's own interception, before anybody edited it."""
    accepted: str | None
    """The interception that went into the image, edited or not; None when no image was asked for."""
    exclusion: str | None
    """Why the run must stay out of training; None when it may be used."""
    feedback: list[Feedback] = field(default_factory=list)

    @property
    def may_train(self) -> bool:
        return self.exclusion is None


_TEXTS = ("context", "context_lang", "input", "output", "accepted")


def save_runs(conn: psycopg.Connection[dict[str, Any]], job_id: UUID, attempt: int, runs: Sequence[RecordedRun]) -> None:
    """Write runs with their feedback in one transaction; a run that the job saved before (an earlier attempt) is replaced.

    Raises `FencedOut` when the attempt was given up for dead.
    """
    with conn.transaction():
        for run in runs:
            row = conn.execute(
                """
                INSERT INTO runs
                    (job_id, run_id, device_id, content_sha256, config_id, recorded_at, language, may_train, exclusion, data)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
                ON CONFLICT (job_id, run_id) DO UPDATE SET
                    device_id = excluded.device_id, content_sha256 = excluded.content_sha256, config_id = excluded.config_id,
                    recorded_at = excluded.recorded_at, language = excluded.language, may_train = excluded.may_train,
                    exclusion = excluded.exclusion, data = excluded.data
                RETURNING id
                """,
                (
                    job_id,
                    run.run_id,
                    run.device_id,
                    run.content_sha256,
                    run.config_id,
                    run.recorded_at,
                    run.language,
                    run.may_train,
                    run.exclusion,
                    Jsonb({name: getattr(run, name) for name in _TEXTS}),
                ),
            ).fetchone()
            assert row is not None  # an upsert without WHERE always returns its row
            conn.execute("DELETE FROM feedback WHERE run_id = %s", (row["id"],))
            with conn.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO feedback (run_id, signal, data, recorded_at) VALUES (%s, %s, %s, %s)",
                    [(row["id"], each.signal, Jsonb(each.data), each.recorded_at) for each in run.feedback],
                )
        jobs.fence(conn, job_id, attempt)


def runs_of(conn: psycopg.Connection[dict[str, Any]], job_id: UUID) -> Iterator[RecordedRun]:
    """The runs that an import job saved, oldest first; those without a time come last, in order of their id."""
    rows = conn.execute(
        """
        SELECT r.run_id, r.device_id, r.content_sha256, r.recorded_at, r.config_id, r.language, r.exclusion, r.data,
               coalesce(f.feedback, '[]') AS feedback
        FROM runs r
        LEFT JOIN LATERAL (
            SELECT jsonb_agg(
                jsonb_build_object('signal', signal, 'data', data, 'recorded_at', recorded_at) ORDER BY id
            ) AS feedback
            FROM feedback WHERE run_id = r.id
        ) f ON true
        WHERE r.job_id = %s
        ORDER BY r.recorded_at NULLS LAST, r.run_id
        """,
        (job_id,),
    )
    for row in rows:
        data, feedback = row.pop("data"), row.pop("feedback")
        yield RecordedRun(
            **row,
            **{name: data.get(name) for name in _TEXTS},
            feedback=[
                Feedback(each["signal"], each["data"], each["recorded_at"] and datetime.fromisoformat(each["recorded_at"]))
                for each in feedback
            ],
        )
