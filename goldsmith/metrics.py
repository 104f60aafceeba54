"""The numbers of the queue, from the database: the same whichever process is asked, and however many there are.

What happened is counted from `job_events`. Events older than a minute are added up in `job_totals` by whoever asks next, and
the rest is counted each time: so a question costs the events since the last one and a minute, and the totals only rise, also
when old jobs are deleted. An event whose transaction takes longer than that minute to commit is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from goldsmith.db import Connection
from goldsmith.tables import COUNTED

BUCKETS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)
"""Upper bounds of run times, from a live answer to a day of training. Other bounds need a migration that empties `job_totals`."""

Place = tuple[str, str]
"""Queue and kind."""


@dataclass
class Happened:
    count: int = 0
    run_seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    """How many runs took at most so long, for each bound and at last for any length."""

    def add(self, row: Mapping[str, Any]) -> None:
        self.count += row["count"]
        self.run_seconds += float(row["run_seconds"])
        self.buckets = [ours + theirs for ours, theirs in zip(self.buckets, row["buckets"], strict=True)]


@dataclass(frozen=True)
class Numbers:
    unfinished: Mapping[tuple[str, str, str], int]
    """Jobs that have not ended, by queue, kind and status."""
    oldest_s: Mapping[Place, float]
    """How long the oldest queued job has been waiting since it could have run."""
    happened: Mapping[tuple[str, str, str], Happened]
    """Events since the beginning, by queue, kind and event."""
    spent_usd: Mapping[tuple[str, str, bool], float]
    """By provider, model, and whether it was a rehearsal: then nobody was paid."""
    failed_attempts: Mapping[tuple[str, str, str], int]
    """By queue, kind and cause: the title of what went wrong, one of a few."""
    webhook_tries: Mapping[str, int]
    """By outcome: delivered, put_off, given_up."""
    limiter_unavailable: Mapping[str, int]
    """By provider: how often a process asked a teacher without the limit that all share."""


_UNFINISHED = """
SELECT queue, kind, status, count(*) AS n,
    extract(epoch FROM now() - min(greatest(created_at, run_at, started_at)))::float AS oldest_s
FROM jobs WHERE completed_at IS NULL GROUP BY queue, kind, status
"""

_UNTIL = "now() - interval '1 minute'"


def _sums(moments: str) -> str:
    bounds = ", ".join(f"count(*) FILTER (WHERE seconds <= {bound})" for bound in BUCKETS_S)
    return f"""
SELECT j.queue, j.kind, e.event, count(*) AS count, coalesce(sum(seconds), 0) AS run_seconds, ARRAY[{bounds}, count(seconds)] AS buckets
FROM (
    SELECT job_id, event, (data->>'seconds')::float AS seconds FROM job_events
    WHERE event IN ({", ".join(repr(event) for event in COUNTED)}) AND {moments}
) e JOIN jobs j ON j.id = e.job_id
GROUP BY j.queue, j.kind, e.event
"""


_ADD_UP = f"""
INSERT INTO job_totals (queue, kind, event, count, run_seconds, buckets)
{_sums(f"created_at >= %(since)s AND created_at < {_UNTIL}")}
ON CONFLICT (kind, queue, event) DO UPDATE SET count = job_totals.count + excluded.count,
    run_seconds = job_totals.run_seconds + excluded.run_seconds,
    buckets = (SELECT array_agg(a + b ORDER BY i) FROM unnest(job_totals.buckets, excluded.buckets) WITH ORDINALITY AS u (a, b, i))
"""

_LATEST = _sums("created_at >= %(since)s")

_SPENT = """
SELECT provider, model, rehearsal, sum(cost_usd) AS usd FROM teacher_calls WHERE status = 'settled'
GROUP BY provider, model, rehearsal
"""

_FAILED_ATTEMPTS = "SELECT queue, kind, cause, count FROM failed_attempts"


def read(conn: Connection) -> Numbers:
    """All numbers as they are now; adds up what is older than a minute on the way."""
    happened: dict[tuple[str, str, str], Happened] = {}
    with conn.transaction():
        conn.execute("INSERT INTO job_totals_until (until) VALUES ('epoch') ON CONFLICT DO NOTHING")
        # the next one waits here, sees what we added, and goes on from there
        since = _moment(conn.execute("SELECT until FROM job_totals_until FOR UPDATE"))
        conn.execute(_ADD_UP, {"since": since})
        until = _moment(conn.execute(f"UPDATE job_totals_until SET until = greatest(until, {_UNTIL}) RETURNING until"))
        for rows in (
            conn.execute("SELECT queue, kind, event, count, run_seconds, buckets FROM job_totals"),
            conn.execute(_LATEST, {"since": until}),
        ):
            _add(happened, rows)
    unfinished = conn.execute(_UNFINISHED).fetchall()
    return Numbers(
        {(row["queue"], row["kind"], row["status"]): row["n"] for row in unfinished},
        {(row["queue"], row["kind"]): row["oldest_s"] for row in unfinished if row["status"] == "queued"},
        happened,
        {(row["provider"], row["model"], row["rehearsal"]): float(row["usd"]) for row in conn.execute(_SPENT)},
        {(row["queue"], row["kind"], row["cause"]): row["count"] for row in conn.execute(_FAILED_ATTEMPTS)},
        {row["outcome"]: row["count"] for row in conn.execute("SELECT outcome, count FROM webhook_tries")},
        {row["provider"]: row["count"] for row in conn.execute("SELECT provider, count FROM limiter_unavailable")},
    )


def limiter_was_unavailable(conn: Connection, provider: str, times: int) -> None:
    conn.execute(
        "INSERT INTO limiter_unavailable AS l (provider, count) VALUES (%s, %s)"
        " ON CONFLICT (provider) DO UPDATE SET count = l.count + excluded.count",
        (provider, times),
    )


def _moment(found: psycopg.Cursor[dict[str, Any]]) -> datetime:
    row = found.fetchone()
    assert row is not None
    moment: datetime = row["until"]
    return moment


def _add(happened: dict[tuple[str, str, str], Happened], rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        happened.setdefault((row["queue"], row["kind"], row["event"]), Happened()).add(row)
