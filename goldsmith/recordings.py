"""Recorded runs: what children typed, what the model made of it, what they thought of it. Types and SQL."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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


_COLUMNS = ("run_id", "device_id", "content_sha256", "config_id", "recorded_at", "language", "exclusion")
_TEXTS = ("context", "context_lang", "input", "output", "accepted")


def save_runs(conn: psycopg.Connection[dict[str, Any]], job_id: UUID, attempt: int, runs: Sequence[RecordedRun]) -> None:
    """Write runs with their feedback in one transaction; a run that the job saved before (an earlier attempt) is replaced.

    Runs of a device whose data was erased are left out. Raises `FencedOut` when the attempt was given up for dead.
    """
    rows = [
        {name: getattr(run, name) for name in _COLUMNS} | {"data": {name: getattr(run, name) for name in _TEXTS}}
        for run in runs
    ]
    feedback = [
        {"run_id": run.run_id, "place": place, "signal": each.signal, "data": each.data, "recorded_at": each.recorded_at}
        for run in runs
        for place, each in enumerate(run.feedback)
    ]
    with conn.transaction():
        conn.execute(
            """
            INSERT INTO runs (job_id, run_id, device_id, content_sha256, config_id, recorded_at, language, may_train, exclusion, data)
            SELECT %s, run_id, device_id, content_sha256, config_id, recorded_at, language, exclusion IS NULL, exclusion, data
            FROM jsonb_to_recordset(%s) AS run (run_id text, device_id text, content_sha256 text, config_id text,
                recorded_at timestamptz, language text, exclusion text, data jsonb)
            WHERE NOT EXISTS (
                SELECT 1 FROM erasures e WHERE e.device_sha256 = encode(sha256(convert_to(run.device_id, 'UTF8')), 'hex')
            )
            ON CONFLICT (job_id, run_id) DO UPDATE SET
                device_id = excluded.device_id, content_sha256 = excluded.content_sha256, config_id = excluded.config_id,
                recorded_at = excluded.recorded_at, language = excluded.language, may_train = excluded.may_train,
                exclusion = excluded.exclusion, data = excluded.data
            """,
            (job_id, _jsonb(rows)),
        )
        ids = [run.run_id for run in runs]
        conn.execute(
            "DELETE FROM feedback USING runs r WHERE feedback.run_id = r.id AND r.job_id = %s AND r.run_id = ANY(%s)",
            (job_id, ids),
        )
        conn.execute(
            """
            INSERT INTO feedback (run_id, signal, data, recorded_at)
            SELECT r.id, said.signal, said.data, said.recorded_at
            FROM jsonb_to_recordset(%s) AS said (run_id text, place int, signal text, data jsonb, recorded_at timestamptz)
            JOIN runs r ON r.job_id = %s AND r.run_id = said.run_id
            ORDER BY said.run_id, said.place
            """,
            (_jsonb(feedback), job_id),
        )
        jobs.fence(conn, job_id, attempt)


def carry_runs(conn: psycopg.Connection[dict[str, Any]], job_id: UUID, attempt: int, contents: Mapping[str, str]) -> set[str]:
    """Take over what earlier imports saved: run id to content hash in, the run ids whose rows are there now out.

    They count as this job's runs from now on (`runs_of`), written once. Raises `FencedOut` as `save_runs` does.
    """
    with conn.transaction():
        rows = conn.execute(
            """
            INSERT INTO run_imports (job_id, run_id)
            SELECT %(job)s, there.id
            FROM unnest(%(runs)s::text[], %(contents)s::text[]) AS wanted (run_id, content)
            CROSS JOIN LATERAL (
                SELECT id FROM runs WHERE run_id = wanted.run_id AND content_sha256 = wanted.content AND job_id <> %(job)s
                ORDER BY id LIMIT 1
            ) AS there
            ON CONFLICT (job_id, run_id) DO UPDATE SET job_id = excluded.job_id
            RETURNING (SELECT r.run_id FROM runs r WHERE r.id = run_imports.run_id)
            """,
            {"job": job_id, "runs": list(contents), "contents": list(contents.values())},
        ).fetchall()
        jobs.fence(conn, job_id, attempt)
    return {row["run_id"] for row in rows}


def import_index(conn: psycopg.Connection[dict[str, Any]], root: str) -> dict[str, Any]:
    """What the last import of the folder `root` kept for the next one: path of each run to its entry."""
    rows = conn.execute("SELECT path, entry FROM import_index WHERE root = %s", (root,))
    return {row["path"]: row["entry"] for row in rows}


def save_import_index(
    conn: psycopg.Connection[dict[str, Any]],
    job_id: UUID,
    attempt: int,
    root: str,
    entries: Mapping[str, Any],
    gone: Sequence[str],
) -> None:
    """Keep `entries` for the next import of `root`, forget the paths in `gone`."""
    with conn.transaction():
        conn.execute(
            """
            INSERT INTO import_index (root, path, entry) SELECT %s, key, value FROM jsonb_each(%s)
            ON CONFLICT (root, path) DO UPDATE SET entry = excluded.entry
            """,
            (root, _jsonb(dict(entries))),
        )
        conn.execute("DELETE FROM import_index WHERE root = %s AND path = ANY(%s)", (root, list(gone)))
        jobs.fence(conn, job_id, attempt)


def reported(conn: psycopg.Connection[dict[str, Any]]) -> dict[str, list[Feedback]]:
    """What live experiments were told of recorded runs and no recording shows: exports, abandons, blocks; by run id."""
    found: dict[str, list[Feedback]] = defaultdict(list)
    for row in conn.execute(
        """
        SELECT interception_run_id AS run_id, event, data, occurred_at FROM ab_events
        WHERE event IN ('export', 'abandon', 'stage_block') AND interception_run_id IS NOT NULL
        ORDER BY occurred_at, event_id
        """
    ):
        found[row["run_id"]].append(Feedback(row["event"], row["data"], row["occurred_at"]))
    return dict(found)


def _jsonb(value: object) -> Jsonb:
    return Jsonb(value, dumps=_dumps)


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=datetime.isoformat)


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
        WHERE r.job_id = %(job)s OR r.id IN (SELECT run_id FROM run_imports WHERE job_id = %(job)s)
        ORDER BY r.recorded_at NULLS LAST, r.run_id
        """,
        {"job": job_id},
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
