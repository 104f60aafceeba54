from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from goldsmith.db import Connection
from goldsmith.errors import FencedOut
from goldsmith.sessions import Session, save_sessions, sessions_of, sessions_ref

JobFactory = Callable[..., UUID]
SESSIONS = [
    Session(0, "chat-1", "chat", "Ein Wal\tim \\Lift", "Ein Wal.", "Feedback 1: kürzer\nFeedback 2: bunter", "turns"),
    Session(1, "run-1", "run", "a kite", "A kite.", None, "none", "Write prose.", "run-1", "device", "loom", "en", 0.5),
    Session(2, "chat-2", "chat", "a", "b", "Feedback 1: c", "turns", status="quarantined", reason="it speaks to the reader"),
]


def test_sessions_come_back_as_they_were_saved_without_the_quarantined(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory(kind="sessions")
    save_sessions(conn, job_id, 1, SESSIONS)
    assert list(sessions_of(conn, job_id)) == SESSIONS[:2]
    assert list(sessions_of(conn, job_factory())) == []


def test_saving_again_replaces_and_keeps_what_was_released(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory(kind="sessions")
    save_sessions(conn, job_id, 1, SESSIONS)
    conn.execute("UPDATE sessions SET status = 'active' WHERE job_id = %s AND session_id = 'chat-2'", (job_id,))
    save_sessions(conn, job_id, 1, SESSIONS[1:])
    assert list(sessions_of(conn, job_id)) == [SESSIONS[1], replace(SESSIONS[2], status="active")]


def test_an_attempt_that_was_given_up_writes_nothing(conn: Connection, job_factory: JobFactory) -> None:
    job_id = job_factory(kind="sessions", attempt=2)
    save_sessions(conn, job_id, 2, SESSIONS)
    with pytest.raises(FencedOut):
        save_sessions(conn, job_id, 1, [])
    assert list(sessions_of(conn, job_id)) == SESSIONS[:2]


def test_clustering_reads_the_system_prompt_too() -> None:
    assert [session.query_text for session in SESSIONS[:2]] == ["Ein Wal\tim \\Lift", "Write prose.\n\na kite"]


def test_the_sessions_of_a_rules_job_lie_where_it_read_them() -> None:
    assert sessions_ref("job:r", {"sessions": "job:s"}) == "job:s"
    assert sessions_ref("job:r", {"runs": "job:i", "sessions": None}) == "job:r"
