"""A run moves an alias only while the job is its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from goldsmith import adapters
from goldsmith.adapters import NewAdapter
from goldsmith.db import Connection, Database
from goldsmith.errors import FencedOut, ReferenceNotUsable
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from worker.context import RunContext


@pytest.fixture
def job_id(conn: Connection, job_factory: Callable[..., UUID], tmp_path: Path) -> UUID:
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    job_id = job_factory("deploy")
    hashes = {"base_sha256": "b" * 64, "tokenizer_sha256": "a" * 64, "template_sha256": "c" * 64}
    new = NewAdapter(name="prose", folder=folder, base_model="m", dataset="dataset:gold@1", method={}, **hashes)
    adapters.register(conn, Storage(tmp_path), job_id, 1, new)
    return job_id


def test_it_is_moved_and_removed_and_not_by_an_attempt_that_was_given_up(
    conn: Connection, database: Database, job_id: UUID, tmp_path: Path
) -> None:
    settings = Settings(_env_file=None, state_dir=tmp_path, OLLAMA_HOST="0.0.0.0:11500")
    run, late = (
        RunContext(database, settings, job_id=job_id, kind="deploy", attempt=attempt, scratch=tmp_path) for attempt in (1, 2)
    )

    run.move_alias("prose", "deployed", 1)
    assert adapters.resolve(conn, "adapter:prose@deployed") == "adapter:prose@1"
    with pytest.raises(FencedOut):
        late.move_alias("prose", "deployed", None)
    assert adapters.resolve(conn, "adapter:prose@deployed") == "adapter:prose@1"
    run.move_alias("prose", "deployed", None)
    run.move_alias("prose", "deployed", None)
    with pytest.raises(ReferenceNotUsable):
        adapters.resolve(conn, "adapter:prose@deployed")
    assert run.ollama().url == "http://127.0.0.1:11500"
