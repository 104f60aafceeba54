"""A log is uploaded, and what is in quarantine is listed and let through: by the command line, and by the SDK below it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from typer.testing import Result

from goldsmith.cli import output
from goldsmith.client import Client
from goldsmith.db import Connection
from goldsmith.sessions import Session, save_sessions
from tests.client.server import Api


def test_quarantine_is_listed_and_left(
    goldsmith: Callable[..., Result], api: Api, conn: Connection, job_factory: Callable[..., UUID]
) -> None:
    job = job_factory(kind="sessions")
    reason = "feedback: it advertises"
    save_sessions(
        conn, job, 1,
        [Session(n, f"s-{n}", "chat", "q", "a", f"Feedback 1: [buy] {n}", "turns", status="quarantined", reason=reason) for n in range(3)],
    )  # fmt: skip
    listed = goldsmith("quarantine", "list", "--job", f"job:{job}")
    assert listed.exit_code == output.OK
    assert "feedback: it advertises" in listed.stdout
    assert "[buy] 1" in listed.stdout
    entry = json.loads(goldsmith("quarantine", "list", "--json").stdout)[0]
    assert goldsmith("quarantine", "release", entry["id"]).stdout == f"released: session of {entry['session_id']}\n"
    assert goldsmith("quarantine", "release", entry["id"]).exit_code == output.WRONG_INPUT
    with Client() as client:
        assert [one["ordinal"] for one in client.sessions(f"job:{job}", limit=2)] == [0, 1, 2]
        assert len(list(client.quarantine(limit=1))) == len(list(client.sessions(str(job), status="quarantined"))) == 2


def test_a_log_is_uploaded_as_sessions(goldsmith: Callable[..., Result], api: Api, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"messages": [{"role": "user", "content": "a"}], "model": "m"}\n{"text": "b", "score": 1}\n')
    sent = goldsmith("uploads", "add", str(log), "--kind", "sessions")
    assert sent.exit_code == output.OK
    assert ": 2 sessions\nnot read: model\n" in sent.stdout
    log.write_text('{"messages": []}\n{"text": "b", "score": "good"}\n')
    wrong = goldsmith("uploads", "add", str(log), "--kind", "sessions")
    assert wrong.exit_code == output.WRONG_INPUT
    assert "line 1: messages" in wrong.stderr
    assert "line 2: score" in wrong.stderr
    assert goldsmith("uploads", "add", str(log), "--kind", "logs").exit_code == output.WRONG_INPUT
