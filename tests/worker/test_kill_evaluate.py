"""An evaluation is killed with -9 while its judge is asked: the next attempt answers nothing again, and pays for nothing again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from bench.metering import MeteringServer
from goldsmith import adapters, artifacts, datasets, jobs, submit
from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.datasets import Example, Message
from goldsmith.db import Connection, Database
from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.queue import Queue
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from tests.conftest import wait_until
from tests.fakes import FakeContext
from tests.tiny import make_model
from tests.trained import add_adapter
from worker.supervisor import Supervisor

CONTEXT = "Paint with oil and name the pigments."
ROWS, EXAMINATION = 40, 64


def rows() -> list[Example]:
    return [
        Example(
            split="heldout",
            messages=[Message(role="user", content=f"thing {number}"), Message(role="assistant", content="oil on canvas")],
            config_id="oil",
            context_lang="en",
            context_sha256=hashlib.sha256(CONTEXT.encode()).hexdigest(),
            template_version="0" * 12,
            input=f"thing {number}",
            language="en",
            group=str(number),
            source=f"run-{number}",
        )
        for number in range(ROWS)
    ]


@pytest.mark.timeout(400)
def test_after_kill_9_nothing_is_answered_again_and_nothing_paid_again_but_what_was_on_the_wire(
    conn: Connection,
    database: Database,
    database_url: str,
    valkey: EmbeddedValkey,
    tmp_path: Path,
    job_factory: Callable[..., UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = Storage(tmp_path)
    made = job_factory(kind="gold")
    oil = InterceptionConfig(config_id="oil", name={}, context={"en": CONTEXT}, parameters={}, meta={})
    checkout = Checkout(template="{{CONTEXT}}\n{{INPUT_TEXT}}", task="", configs=[oil]).model_dump_json().encode()
    contexts = artifacts.save(conn, storage, made, 1, "contexts.json", checkout, "application/json")
    manifest = {"contexts": contexts, "config": {"min_words": 1, "max_words": 60}}
    datasets.save_version(conn, storage, made, 1, "gold", rows(), manifest=manifest, parents=[], rehearsal=False)

    class Context(FakeContext):
        def register_adapter(self, adapter: NewAdapter) -> AdapterVersion:
            return adapters.register(conn, storage, job_factory(kind="train"), 1, adapter)

    adapter = add_adapter(Context(tmp_path / "fake"), str(make_model(tmp_path / "tiny")), cache=tmp_path)

    with MeteringServer(latency_s=0.1) as server:
        for name, value in {
            "DATABASE_URL": database_url, "BROKER_URL": valkey.url, "STATE_DIR": str(tmp_path), "REHEARSAL_URL": server.url,
            "MODEL_ROOTS": str(tmp_path),
        }.items():  # fmt: skip
            monkeypatch.setenv(f"GOLDSMITH_{name}", value)
        settings = Settings()
        body = {
            "kind": "evaluate", "dataset": "dataset:gold@1", "adapter": adapter.ref, "max_new_tokens": 8, "speed_prompts": 0,
            "judge": "graded", "judge_samples": 1, "teacher": "rehearsal", "budget_usd": 5, "concurrency": 4,
        }  # fmt: skip
        config, options = submit.parse(body)
        job_id = submit.submit(conn, config, options, body=body)[0].id

        def run() -> None:
            Supervisor(database, Queue(settings.broker), settings, worker="w", gpu_id="GPU-test").run(job_id)

        first = threading.Thread(target=run, daemon=True)
        first.start()

        def judging() -> bool:
            job = jobs.get(conn, job_id)
            assert job.status in ("queued", "running"), job.error
            return server.meter.tokens["requests"] >= EXAMINATION + 10

        wait_until(judging, "the tenth opinion on a row", 120)
        billed = server.meter.tokens["requests"]
        os.kill(_run_of(job_id), signal.SIGKILL)
        first.join(60)
        assert jobs.get(conn, job_id).status == "scheduled"
        kept = artifacts.newest_checkpoint(storage, job_id)
        assert kept is not None
        answered = json.loads((kept / "answered.json").read_text())["arms"]
        conn.execute("UPDATE jobs SET run_at = now() WHERE id = %s", (job_id,))
        jobs.wake_due(conn)
        run()
        told = server.report()

    job = jobs.get(conn, job_id)
    assert job.status == "completed", job.error
    assert job.result is not None
    assert (job.attempt, job.result["resumed"], job.result["judge"]["judged"]) == (2, 2 * ROWS, ROWS)
    assert {arm: len(one["texts"]) for arm, one in answered.items()} == {"base": ROWS, "lora": ROWS}
    assert EXAMINATION < billed < EXAMINATION + 2 * ROWS
    ledger = conn.execute(
        "SELECT sum(cost_usd)::float AS usd, count(*) FILTER (WHERE answer IS NULL AND status = 'settled') AS lost,"
        " count(*) FILTER (WHERE answer IS NOT NULL) AS answers, count(*) FILTER (WHERE status = 'reserved') AS reserved"
        " FROM teacher_calls"
    ).fetchone()
    assert ledger is not None
    assert ledger["reserved"] == 0
    assert ledger["lost"] <= config.concurrency  # type: ignore[attr-defined]
    assert told["requests"] <= ledger["answers"] + ledger["lost"]
    assert ledger["answers"] <= EXAMINATION + 2 * ROWS
    assert told["usd"] <= ledger["usd"] + 1e-9
    assert job.result["judge"]["spent_usd"] == pytest.approx(ledger["usd"])


def _run_of(job_id: UUID) -> int:
    """The process that does it: it has the folder of the attempt in its environment."""
    for child in psutil.Process().children(recursive=True):
        if str(job_id) in child.environ().get("GOLDSMITH_SCRATCH", ""):
            return child.pid
    raise AssertionError(f"no process does {job_id}")
